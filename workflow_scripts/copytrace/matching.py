"""Score-normalised best pairs: exact, global over all queries, in bounded memory (D²LV sheet, 6.1 and 6.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from copytrace import search

# Neighbours that every query is asked for first: most have fewer among the best pairs (benchmarks/search.py).
FEW = 64

# What two inner products of the same unit vectors differ by, at most, when they are summed in another order.
ROUNDING = 1e-5


def query_bias(queries: np.ndarray, background: Iterable[np.ndarray], neighbours: int, weight: float) -> np.ndarray:
    """β · mean of the k largest inner products of each query with the background pictures: float32 [q].

    `queries` [q, d] and the blocks of `background` [·, d] are unit vectors. Raises ValueError with fewer than k
    background vectors.
    """
    best = np.empty((len(queries), 0), np.float32)
    for block in background:
        values, _ = search.nearest(queries, block, min(neighbours, len(block)))
        best = np.concatenate([best, values], axis=1)
        best = -np.sort(-best, axis=1)[:, :neighbours]
    if best.shape[1] < neighbours:
        raise ValueError(f"score normalisation over {neighbours} neighbours, but {best.shape[1]} background vectors")
    return (weight * best.mean(axis=1)).astype(np.float32)


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


def best_pairs(
    queries: np.ndarray,
    bias: np.ndarray,
    references: Callable[[], Iterable[np.ndarray]],
    count: int,
    query_block: int = 8192,
) -> Pairs:
    """The `count` pairs with the largest score ⟨q, r⟩ − bias(q), over all queries and references together.

    `queries` [q, d], `bias` [q]; `references()` yields blocks [·, d] and may be called once. Sorted by score
    descending; equal scores by query row, then reference row, at the cut too. Returns fewer pairs only where there
    are fewer.

    The whole similarity matrix never exists. Of each block of references every query's few best are found first:
    the `count`-th best pair so far is then a bound that no pair of the result lies below. Only the queries whose
    few best all reach it can have more, and are searched again for what does. Beside the queries, a block of
    references and about three times `count` pairs are held.

    The bias rides in one more coordinate: ⟨(q, −bias), (r, 1)⟩.
    """

    def extended(rows: slice | np.ndarray) -> np.ndarray:
        return np.concatenate([queries[rows], -bias[rows, None]], axis=1, dtype=np.float32)

    held = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    few = max(FEW, -(-count // max(len(queries), 1)))
    first_row = 0
    for block in references():
        if not len(block):
            continue
        block = np.concatenate([block, np.ones((len(block), 1), np.float32)], axis=1, dtype=np.float32)
        k = min(few, len(block))
        least = np.empty(len(queries), np.float32)  # the worst of each query's few best
        for start in range(0, len(queries), query_block):
            scores, rows = search.nearest(extended(slice(start, start + query_block)), block, k)
            least[start : start + query_block] = scores[:, -1]
            query = np.repeat(np.arange(start, start + len(scores)), k)
            held = _merge(held, Pairs(query, rows.ravel() + first_row, scores.ravel()), count)
        if k < len(block):  # else these were all of them
            bound = held.score[-1]  # of `count` pairs, since few × queries is not less
            again = np.flatnonzero(least >= bound)
            held = held[~(np.isin(held.query, again) & (held.reference >= first_row))]
            for start, stop in _growing_ranges(len(again), count // len(block), query_block):
                # a second search may round otherwise, and what is held must not be lost
                rows, columns, scores = search.at_least(extended(again[start:stop]), block, float(bound) - ROUNDING)
                held = _merge(held, Pairs(again[start:stop][rows], columns + first_row, scores), count)
                if len(held) == count:
                    bound = max(bound, held.score[-1])
        first_row += len(block)
    return held


def _growing_ranges(rows: int, first: int, most: int) -> Iterable[tuple[int, int]]:
    """Query ranges: the first small enough to fill the list about once, then doubling."""
    start, size = 0, max(1, min(first, most))
    while start < rows:
        yield start, min(start + size, rows)
        start += size
        size = min(2 * size, most)


def _merge(held: Pairs, new: Pairs, count: int) -> Pairs:
    """The best `count` of both, sorted."""
    both = Pairs(
        np.concatenate([held.query, new.query]),
        np.concatenate([held.reference, new.reference]),
        np.concatenate([held.score, new.score]).astype(np.float32),
    )
    if len(both) > count:  # drop what is surely out before sorting
        both = both[both.score >= np.partition(both.score, len(both) - count)[len(both) - count]]
    return both[np.lexsort((both.reference, both.query, -both.score))[:count]]
