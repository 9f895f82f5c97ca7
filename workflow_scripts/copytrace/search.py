"""Inner-product search with FAISS, on GPUs where there are any, on the processor otherwise.

The one place that decides; callers see two exact functions.
"""

from __future__ import annotations

import faiss
import numpy as np

GPU_MAX_NEIGHBOURS = 1024  # faiss.knn_gpu's flat search returns at most 2048


def on_gpu() -> bool:
    """Whether FAISS sees a GPU (`faiss-gpu` without one answers 0)."""
    return faiss.get_num_gpus() > 0


def nearest(queries: np.ndarray, references: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k largest inner products per query: (values float32 [q, k] descending, rows int64 [q, k]). Exact."""
    if on_gpu() and k <= GPU_MAX_NEIGHBOURS:
        resources = faiss.StandardGpuResources()
        return faiss.knn_gpu(resources, queries, references, k, metric=faiss.METRIC_INNER_PRODUCT)
    return faiss.knn(queries, references, k, metric=faiss.METRIC_INNER_PRODUCT)


def at_least(
    queries: np.ndarray, references: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair whose inner product is `threshold` or more: (query rows, reference rows, values). Exact.

    On a GPU the nearest neighbours come first; only queries whose list is full of hits are searched again.
    """
    if not on_gpu():
        return _range_search(queries, references, threshold)
    k = min(GPU_MAX_NEIGHBOURS, len(references))
    values, rows = nearest(queries, references, k)
    hit = values >= threshold
    overflowing = hit[:, -1] & (k < len(references))
    hit[overflowing] = False
    query_rows, column = np.nonzero(hit)
    found = query_rows, rows[query_rows, column], values[query_rows, column]
    again = np.flatnonzero(overflowing)
    if not len(again):
        return found
    more = _range_search(queries[again], references, threshold)
    return (
        np.concatenate([found[0], again[more[0]]]),
        np.concatenate([found[1], more[1]]),
        np.concatenate([found[2], more[2]]),
    )


def _range_search(
    queries: np.ndarray, references: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    index = faiss.IndexFlatIP(queries.shape[1])
    index.add(references)
    just_below = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))  # FAISS keeps what is above
    limits, values, rows = index.range_search(queries, just_below)
    limits = limits.astype(np.int64)
    return np.repeat(np.arange(len(queries)), limits[1:] - limits[:-1]), rows, values
