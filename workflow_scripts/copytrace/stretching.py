"""From descriptors at several scales to one vector per picture that plain Euclidean distance ranks (BoT sheet, 5.3, 6).

The contest compares submitted vectors by their distance over all queries together. With references of length 1 and a
query of length α, −‖αq − r‖² = 2α·(⟨q, r⟩ − α/2) − 1: within a query the order of the references is that of the inner
products, whatever α is; between queries α/2 is what score normalisation subtracts, and the rest is multiplied by 2α.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from copytrace import descriptor_files, matching
from copytrace.errors import InputError
from copytrace.whitening import unit_length


@dataclass(frozen=True)
class Stretching:
    """The section `descriptor_track.stretching` of the configuration."""

    neighbours: int
    factor: float
    minimum_mean: float


def average_scales(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The unit vectors in the direction of the mean, float32 [n, d], of the unit vectors [n, d] of each scale."""
    return unit_length(np.stack(vectors).mean(axis=0))


def averaged(path: str, model: str, scales: Sequence[int]) -> np.ndarray:
    """A descriptor file's rows, one vector each over some of its scales: float32 [n, d]."""
    return average_scales([descriptor_files.read_vectors(path, model, scale) for scale in scales])


def background(
    paths: Sequence[str], model: str, scales: Sequence[int], excluded: Collection[str]
) -> Iterator[np.ndarray]:
    """The vectors of training pictures, a block [·, d] per descriptor file, without those that are `excluded` by id."""
    for path in paths:
        kept = ~descriptor_files.read_rows([path]).image_id.isin(excluded).to_numpy()
        yield averaged(path, model, scales)[kept]


def query_lengths(
    queries: np.ndarray, training: Iterable[np.ndarray], settings: Stretching
) -> tuple[np.ndarray, np.ndarray]:
    """α = c·μ of each query, float32 [q], and whether its μ was raised to the minimum, bool [q].

    μ is the mean of the n largest inner products of a query with the training pictures; `queries` [q, d] and the blocks
    of `training` [·, d] are unit vectors. Without a minimum a μ of 0 would make the vector vanish and a negative one
    would turn it around. InputError with fewer than n training pictures.
    """
    blocks = list(training)
    there = sum(map(len, blocks))
    if there < settings.neighbours:
        raise InputError(
            f"{there} training pictures are left as background for the descriptor track, but "
            f"descriptor_track.stretching.neighbours is {settings.neighbours}: name more training pictures, or set "
            "matching.exclude_trained: false"
        )
    means = matching.query_bias(queries, blocks, settings.neighbours, weight=1.0)
    raised = means < settings.minimum_mean
    return np.float32(settings.factor) * np.maximum(means, np.float32(settings.minimum_mean)), raised


def nearest_pairs(queries: np.ndarray, references: Callable[[], Iterable[np.ndarray]], count: int) -> matching.Pairs:
    """The `count` pairs of the smallest Euclidean distance over all queries and references; the score is −‖q − r‖².

    Vectors [·, d] of any length. As an inner product for `matching.best_pairs`: −‖q − r‖²/2 = ⟨(q, 1), (r, −‖r‖²/2)⟩ −
    ‖q‖²/2.
    """

    def extended() -> Iterator[np.ndarray]:
        for block in references():
            yield np.column_stack([block, -0.5 * np.square(block).sum(axis=1)])

    bias = 0.5 * np.square(queries).sum(axis=1)
    with_one = np.column_stack([queries, np.ones(len(queries), queries.dtype)])
    pairs = matching.best_pairs(with_one, bias, extended, count)
    return matching.Pairs(pairs.query, pairs.reference, 2 * pairs.score)


def named(pairs: matching.Pairs, query_ids: Sequence[str], reference_ids: Sequence[str]) -> pd.DataFrame:
    """Pairs as a ranked list `query_id, reference_id, score`, by the ids of the rows."""
    queries, references = (np.array(ids, dtype=object) for ids in (query_ids, reference_ids))
    return pd.DataFrame(
        {"query_id": queries[pairs.query], "reference_id": references[pairs.reference], "score": pairs.score}
    )
