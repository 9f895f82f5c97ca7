"""Score-normalised best pairs: exact, global over all queries, in bounded memory (D²LV sheet, 6.1 and 6.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from copytrace import search


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


def best_pairs(
    queries: np.ndarray,
    bias: np.ndarray,
    references: Callable[[], Iterable[np.ndarray]],
    count: int,
    query_block: int = 8192,
) -> Pairs:
    """The `count` pairs with the largest score ⟨q, r⟩ − bias(q), over all queries and references together.

    `queries` [q, d], `bias` [q]; `references()` yields blocks [·, d] and may be called once. Sorted by score
    descending; equal scores by query row, then reference row, at the cut too. The whole similarity matrix never
    exists: a block of it is searched for what reaches the score of the `count`-th best pair so far, and at most
    about three times `count` pairs are held. Returns fewer pairs only where there are fewer.

    The bias rides in one more coordinate: ⟨(q, −bias), (r, 1)⟩.
    """
    extended = np.ascontiguousarray(np.concatenate([queries, -bias[:, None]], axis=1), np.float32)
    held = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    first_row = 0
    for block in references():
        if not len(block):
            continue
        block = np.ascontiguousarray(np.concatenate([block, np.ones((len(block), 1))], axis=1), np.float32)
        for start, stop in _growing_ranges(len(extended), count // len(block), query_block):
            threshold = held.score[-1] if len(held) >= count else -np.inf
            part = extended[start:stop]
            if np.isfinite(threshold):
                rows, columns, scores = search.at_least(part, block, float(threshold))
            else:
                scores = (part @ block.T).ravel()
                rows, columns = np.divmod(np.arange(scores.size), len(block))
            held = _merge(held, Pairs(rows + start, columns + first_row, scores), count)
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
    query = np.concatenate([held.query, new.query])
    reference = np.concatenate([held.reference, new.reference])
    score = np.concatenate([held.score, new.score]).astype(np.float32)
    if len(score) > count:  # drop what is surely out before sorting
        keep = score >= np.partition(score, len(score) - count)[len(score) - count]
        query, reference, score = query[keep], reference[keep], score[keep]
    order = np.lexsort((reference, query, -score))[:count]
    return Pairs(query[order], reference[order], score[order])
