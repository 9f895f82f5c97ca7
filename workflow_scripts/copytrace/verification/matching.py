"""Local features of a query matched with those of a reference, in both orientations of the query (section 3).

Descriptors are whole numbers, and all sums of their products stay below 2^24: float32 holds them exactly, and the
matches are the same whatever order a BLAS sums in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copytrace.verification.features import Features, mirror_descriptors, mirror_geometry

#: A match counts where the nearest descriptor is closer than this share of the distance to the second nearest.
RATIO = 0.8

#: The matches kept of an orientation: those with the smallest share.
MOST_MATCHES = 200


@dataclass(frozen=True)
class Matches:
    """Matches of one orientation, the clearest first.

    Attributes:
        query: float32 [m, 4], x, y, diameter, angle of the query's keypoints, as in `Features`.
        reference: float32 [m, 4], the same of the reference's.
        weights: float64 [m], max(0, 1 − d² / d²_bg), with the distance to the background; from 0 to 1.
    """

    query: np.ndarray
    reference: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Query:
    """A query ready to be matched with many references, as it is and mirrored.

    Attributes:
        geometry: float32 [2, n, 4], x, y, diameter, angle.
        descriptors: float32 [2n, 129], and 1 in the last column.
        squares: float32 [2n], their squared lengths.
        background: float64 [2, n], squared distances to the nearest background descriptor.
    """

    geometry: np.ndarray
    descriptors: np.ndarray
    squares: np.ndarray
    background: np.ndarray


def both_orientations(features: Features) -> np.ndarray:
    """The descriptors of a picture, then those of its mirror image: uint8 [2, n, 128]."""
    return np.stack([features.descriptors, mirror_descriptors(features.descriptors)])


def prepare_query(features: Features, background: np.ndarray) -> Query:
    """Make a query ready; `background` [2, n]: squared distances as `background.squared_distances` gives them."""
    descriptors = both_orientations(features).reshape(-1, features.descriptors.shape[1]).astype(np.float32)
    return Query(
        np.stack([features.geometry, mirror_geometry(features.geometry, features.size[0])]),
        np.concatenate([descriptors, np.ones((len(descriptors), 1), np.float32)], axis=1),
        np.square(descriptors).sum(axis=1),
        background,
    )


def match(query: Query, reference: Features) -> tuple[Matches, Matches]:
    """The matches of a query as it is, and of its mirror image, with a reference.

    Each descriptor of the query with its nearest of the reference, if it passes the ratio test; equal distances go to
    the reference's stronger keypoint. A reference with fewer than two keypoints has no matches.
    """
    nearest, squared, ratio = _nearest(query, reference)
    orientations = []
    for turn in range(2):
        chosen = np.argsort(ratio[turn], kind="stable")[:MOST_MATCHES]
        chosen = chosen[ratio[turn, chosen] < RATIO**2]
        weights = 1 - squared[turn, chosen] / np.maximum(query.background[turn, chosen], 1)
        orientations.append(
            Matches(
                query.geometry[turn, chosen],
                reference.geometry[nearest[turn, chosen]],
                np.maximum(weights, 0),
            )
        )
    return orientations[0], orientations[1]


def _nearest(query: Query, reference: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[2, n] each: the nearest descriptor, its squared distance, and that divided by the second nearest's."""
    shape = query.geometry.shape[:2]
    if len(reference.descriptors) < 2:
        return np.zeros(shape, np.int64), np.zeros(shape), np.ones(shape)
    descriptors = reference.descriptors.astype(np.float32)
    squares = np.square(descriptors).sum(axis=1)
    # 2 q·r − |r|², the last term by the query's column of ones: largest where |q − r|² is smallest
    closeness = query.descriptors @ np.concatenate([2 * descriptors, -squares[:, None]], axis=1).T
    rows = np.arange(len(closeness))
    nearest = closeness.argmax(axis=1)
    first = query.squares - closeness[rows, nearest]
    closeness[rows, nearest] = -np.inf
    second = query.squares - closeness.max(axis=1)
    ratio = np.divide(first, second, out=np.ones_like(first), where=second > 0)
    return nearest.reshape(shape), first.reshape(shape).astype(np.float64), ratio.reshape(shape)
