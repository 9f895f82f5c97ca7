"""Inner products of queries with a block of references: every pair that reaches its query's bound. Exact.

This is the one place that decides where they are computed: by FAISS on a GPU where it sees one, by NumPy otherwise.
`low_precision` has a third way, for large searches on processors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import faiss
import numpy as np

# Queries and references whose products exist at a time: 16 MB of them.
QUERY_ROWS, REFERENCE_ROWS = 1024, 4096

# The same where a GPU computes them, and neighbours of each query that it is asked for: first, and at most
# (faiss.knn_gpu's flat search returns at most 2048).
GPU_QUERY_ROWS, GPU_REFERENCE_ROWS = 4096, 16_384
FEW_NEIGHBOURS, MOST_NEIGHBOURS = 64, 1024

#: Rows of the queries, rows of the references (both int64) and their inner products (float32).
Hits = tuple[np.ndarray, np.ndarray, np.ndarray]


class Index(Protocol):
    """A block of references, float32 [r, d], that can be searched, best by `query_rows` queries at a time."""

    query_rows: int

    def at_least(self, queries: np.ndarray, bounds: Callable[[], np.ndarray]) -> Iterator[Hits]:
        """Some references at a time, the pairs whose inner product is at least the query's bound.

        `queries` is float32 [q, d]; `bounds()`, float32 [q], is asked anew each time, so that it may rise between.
        """


def on_gpu() -> bool:
    """Whether FAISS sees a GPU (`faiss-gpu` without one answers 0)."""
    return faiss.get_num_gpus() > 0


def index(references: np.ndarray) -> Index:
    """An index of `references`, float32 [r, d], r > 0."""
    return Neighbours(references) if on_gpu() else Products(references)


class Products:
    """All products, and those among them that reach the bound."""

    query_rows = QUERY_ROWS

    def __init__(self, references: np.ndarray):
        self.references = references

    def at_least(self, queries: np.ndarray, bounds: Callable[[], np.ndarray]) -> Iterator[Hits]:
        """See `Index`."""
        for start in range(0, len(self.references), REFERENCE_ROWS):
            products = queries @ self.references[start : start + REFERENCE_ROWS].T
            rows, columns = reaching(products, bounds())
            yield rows, columns + start, products[rows, columns]


def reaching(products: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, int64, of the entries of `products` [q, r] that are at least `bounds` [q] of their row."""
    rows, columns = np.divmod(np.flatnonzero(products >= bounds[:, None]), products.shape[1])
    return rows, columns


class Neighbours:
    """The nearest neighbours by FAISS: more and more for the queries all of whose neighbours reach the bound.

    A GPU lists no more than `MOST_NEIGHBOURS`: where that is not enough, each half of the references is asked.
    """

    query_rows = GPU_QUERY_ROWS

    def __init__(self, references: np.ndarray):
        self.references = references

    def at_least(self, queries: np.ndarray, bounds: Callable[[], np.ndarray]) -> Iterator[Hits]:
        """See `Index`."""
        for start in range(0, len(self.references), GPU_REFERENCE_ROWS):
            block = self.references[start : start + GPU_REFERENCE_ROWS]
            for rows, columns, products in _by_neighbours(queries, block, bounds()):
                yield rows, columns + start, products


def _by_neighbours(queries: np.ndarray, references: np.ndarray, bounds: np.ndarray) -> Iterator[Hits]:
    left = np.arange(len(queries))
    few = FEW_NEIGHBOURS
    while len(left):
        k = min(few, len(references))
        products, columns = _nearest(queries[left], references, k)
        hit = products >= bounds[left, None]
        full = hit[:, -1] & (k < len(references))
        row, place = np.nonzero(hit & ~full[:, None])
        yield left[row], columns[row, place], products[row, place]
        left = left[full]
        if few >= MOST_NEIGHBOURS:
            break
        few = min(4 * few, MOST_NEIGHBOURS)
    if len(left):
        half = len(references) // 2
        for first, part in ((0, references[:half]), (half, references[half:])):
            for rows, columns, products in _by_neighbours(queries[left], part, bounds[left]):
                yield left[rows], columns + first, products


def _nearest(queries: np.ndarray, references: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest inner products per query: (values float32 [q, k] descending, rows int64 [q, k])."""
    if on_gpu():
        resources = faiss.StandardGpuResources()
        return faiss.knn_gpu(resources, queries, references, k, metric=faiss.METRIC_INNER_PRODUCT)
    return faiss.knn(queries, references, k, metric=faiss.METRIC_INNER_PRODUCT)
