"""Score-normalised best pairs: exact, global over all queries, in bounded memory (D²LV sheet, 6.1 and 6.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from copytrace import search

# What two inner products of the same unit vectors differ by, at most, when they are summed in another order.
ROUNDING = 1e-5

#: What makes the index of a block of references.
MakeIndex = Callable[[np.ndarray], search.Index]


def query_bias(
    queries: np.ndarray,
    background: Iterable[np.ndarray],
    neighbours: int,
    weight: float,
    index: MakeIndex = search.index,
) -> np.ndarray:
    """β · mean of the k largest inner products of each query with the background pictures: float32 [q].

    `queries` [q, d] and the blocks of `background` [·, d] are unit vectors, float32. The k-th best of a query so far is
    the bound that its next ones have to reach. Raises ValueError with fewer than k background vectors.
    """
    best = np.full((len(queries), neighbours), -np.inf, np.float32)  # each row descending
    there = 0
    for there, piece in _growing(background, neighbours):
        searched = index(piece)
        for rows in _slices(len(queries), searched.query_rows):
            some = best[rows]

            def last(some: np.ndarray = some) -> np.ndarray:
                return some[:, -1]

            for query, _, similarity in searched.at_least(queries[rows], last):
                _keep_largest(some, query, similarity)
        there += len(piece)
    if there < neighbours:
        raise ValueError(f"score normalisation over {neighbours} neighbours, but {there} background vectors")
    return (weight * best.mean(axis=1)).astype(np.float32)


def _keep_largest(best: np.ndarray, rows: np.ndarray, values: np.ndarray) -> None:
    """Put `values` [n] into their `rows` of `best` [q, k], which keep the k largest each, descending."""
    changed = np.unique(rows)
    all_rows = np.concatenate([np.repeat(changed, best.shape[1]), rows])
    all_values = np.concatenate([best[changed].ravel(), values])
    order = np.lexsort((-all_values, all_rows))
    first = np.searchsorted(all_rows[order], changed)
    best[changed] = all_values[order[first[:, None] + np.arange(best.shape[1])]]


@dataclass
class Pairs:
    """Rows of queries and of references (counted over all blocks) and their scores, float32."""

    query: np.ndarray
    reference: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, chosen: np.ndarray) -> Pairs:
        return Pairs(self.query[chosen], self.reference[chosen], self.score[chosen])

    def table(self, model: str, scale: int) -> pd.DataFrame:
        """As columns `model, scale, query, reference, score`."""
        return pd.DataFrame(
            {
                "model": model,
                "scale": np.int32(scale),
                "query": self.query,
                "reference": self.reference,
                "score": self.score,
            }
        )


def read_pairs(path: str, model: str, scale: int) -> Pairs:
    """One model's and scale's pairs of a shard's table, as `Pairs.table` wrote them."""
    table = pd.read_parquet(path, filters=[("model", "==", model), ("scale", "==", scale)])
    return Pairs(*(table[name].to_numpy() for name in ("query", "reference", "score")))


def chosen_parts(parts: pd.DataFrame, whole: bool) -> np.ndarray:
    """Which of the described rows `image_id, part` are searched for, bool [n]: whole pictures only, or all."""
    return parts["part"].to_numpy() == 0 if whole else np.ones(len(parts), bool)


def pairs_to_keep(parts: pd.DataFrame, chosen: np.ndarray, per_query: int) -> int:
    """How many pairs a model keeps at a scale: `per_query` for each picture of the `chosen` rows, over all together."""
    return per_query * parts["image_id"][chosen].nunique()


def best_pairs(
    queries: np.ndarray,
    bias: np.ndarray,
    references: Callable[[], Iterable[np.ndarray]],
    count: int,
    index: MakeIndex = search.index,
) -> Pairs:
    """The `count` pairs with the largest score ⟨q, r⟩ − bias(q), over all queries and references together.

    `queries` float32 [q, d], `bias` float32 [q]; `references()` yields blocks float32 [·, d] and is called once. Sorted
    by score descending; equal scores by query row, then reference row, at the cut too. Returns fewer pairs only where
    there are fewer.

    The whole similarity matrix never exists. The `count`-th best pair so far is a bound that runs through the search:
    no pair of the result lies below it, and none that does is kept. Beside the queries, a block of references and a
    few times `count` pairs are held.
    """
    best = BestPairs(count)
    for first_row, piece in _growing(references(), -(-count // max(len(queries), 1))):
        searched = index(piece)
        for rows in _slices(len(queries), searched.query_rows):
            subtracted = bias[rows]

            def bounds(subtracted: np.ndarray = subtracted) -> np.ndarray:
                return subtracted + np.float32(best.bound - ROUNDING)  # a tie must not be lost to rounding

            for query, reference, similarity in searched.at_least(queries[rows], bounds):
                best.add(Pairs(query + rows.start, reference + first_row, similarity - subtracted[query]))
    return best.ranked()


class BestPairs:
    """The best `count` of all pairs that were added. They wait until they are as many again, and are cut together."""

    def __init__(self, count: int):
        self.count = count
        self.bound = -np.inf  # the score of the `count`-th best at the last cut
        self.held: list[Pairs] = []
        self.waiting = 0

    def add(self, pairs: Pairs) -> None:
        """Add pairs, none of them twice."""
        self.held.append(pairs)
        self.waiting += len(pairs)
        if self.waiting >= self.count:
            self._cut()

    def ranked(self) -> Pairs:
        """The best by score descending, then by query, then by reference."""
        self._cut()
        (pairs,) = self.held
        return pairs[np.lexsort((pairs.reference, pairs.query, -pairs.score))]

    def _cut(self) -> None:
        pairs = Pairs(
            np.concatenate([np.empty(0, np.int64), *(held.query for held in self.held)]),
            np.concatenate([np.empty(0, np.int64), *(held.reference for held in self.held)]),
            np.concatenate([np.empty(0, np.float32), *(held.score for held in self.held)]),
        )
        if 0 < self.count <= len(pairs):
            self.bound = np.partition(pairs.score, len(pairs) - self.count)[len(pairs) - self.count]
            pairs = pairs[pairs.score >= self.bound]
        if len(pairs) > self.count:  # several have the last one's score
            pairs = pairs[np.lexsort((pairs.reference, pairs.query, -pairs.score))[: self.count]]
        self.held, self.waiting = [pairs], 0


def _growing(blocks: Iterable[np.ndarray], first: int) -> Iterator[tuple[int, np.ndarray]]:
    """The blocks in pieces, each with its first row: `first` rows, and from there on never more than came before.

    So that few pairs are found before there is a bound, and each bound holds for no more than as many again.
    """
    seen = 0
    for block in blocks:
        start = 0
        while start < len(block):
            piece = block[start : start + max(first, seen, 1)]
            yield seen, piece
            seen, start = seen + len(piece), start + len(piece)


def _slices(rows: int, size: int) -> Iterator[slice]:
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
