"""Where a reference lies in a query: an estimator in which every match is one hypothesis, without random numbers.

Section 3 of the fact sheet. A match of two keypoints, with their places, sizes and angles, proposes a similarity; the
hypotheses with most support are refined to affine maps, and the best of them to a homography where it has enough
matches. Lengths in per cent are of the query's longer side, in pixels those of `Features.size`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from copytrace.verification.features import Features
from copytrace.verification.frames import corners, project
from copytrace.verification.matching import Matches, Query, match

SUPPORT = 0.06  # a match supports a hypothesis that puts it this close,
SCALE = np.log(1.8)  # whose scale is at most this factor off
ANGLE = np.radians(30)  # and whose angle
HYPOTHESES = 4  # are refined
REFINED_SUPPORT = 0.036
INLIER, INLIER_PIXELS = 0.015, 3.0  # the larger of the two
GRID = 2.0  # pixels: inliers lie in different squares of this side, in the query and in the reference

SMALLEST, LARGEST = 0.04, 25.0  # singular values of an affine map
ANISOTROPY = 3.5  # their ratio
LEAST_INLIERS = 3  # an affine map has six parameters

HOMOGRAPHY_SUPPORT = 0.12
HOMOGRAPHY_INLIERS = 12
HOMOGRAPHY_PIXELS = 3.0

# A least-squares fit is held to its hypothesis as if by so many matches, at the distance of one query side: too
# little to be seen, but it decides what points on a line leave open.
HOLD = 1e-3


@dataclass(frozen=True)
class Geometry:
    """How a reference lies in a query.

    Attributes:
        transform: float64 [3, 3], from the reference to the query, pixel centres in the frames of their keypoints.
        mirrored: whether the reference lies mirrored in the query; `transform` then has a negative determinant.
        query_points: float32 [k, 2], the matches that agree, one in each square of `GRID`.
        reference_points: float32 [k, 2], where they lie in the reference.
        weighted: their weights' sum, 0 to k: matches that are no closer than background count nothing.
    """

    transform: np.ndarray
    mirrored: bool
    query_points: np.ndarray
    reference_points: np.ndarray
    weighted: float

    @property
    def inliers(self) -> int:
        """How many matches agree, k."""
        return len(self.query_points)


def locate(query: Query, reference: Features, query_size: tuple[int, int]) -> Geometry | None:
    """Where a reference lies in a query of `query_size` (width, height), as it is or mirrored; None: nowhere.

    The orientation with more inliers counts, of equal ones the one as it is.
    """
    plain, mirrored = (estimate(matches, query_size, reference.size) for matches in match(query, reference))
    if mirrored is None or (plain is not None and plain.inliers >= mirrored.inliers):
        return plain
    flip = np.array([[-1.0, 0, query_size[0] - 1], [0, 1, 0], [0, 0, 1]])
    points = project(flip, mirrored.query_points).astype(np.float32)
    return Geometry(flip @ mirrored.transform, True, points, mirrored.reference_points, mirrored.weighted)


def estimate(matches: Matches, query_size: tuple[int, int], reference_size: tuple[int, int]) -> Geometry | None:
    """The transform that most matches agree with, or None where fewer than `LEAST_INLIERS` do.

    The same matches give the same transform. Sizes are (width, height) of the frames of the matches' keypoints.
    """
    if len(matches.query) < LEAST_INLIERS:
        return None
    side = max(query_size)
    target, source = matches.query[:, :2].astype(np.float64), matches.reference[:, :2].astype(np.float64)
    affine, agrees = _affine_maps(matches, target, source, side)
    squared = _squared_errors(affine, source, target)
    tolerance = max(INLIER_PIXELS, INLIER * side)
    inside = agrees & (squared < tolerance**2) & _plausible(affine[:, :, :2])[:, None]
    best, chosen = np.empty(0, np.int64), 0
    for candidate in np.argsort(-inside.sum(axis=1), kind="stable"):
        if inside[candidate].sum() > len(best):  # else it can't have more distinct ones
            distinct = _distinct(np.flatnonzero(inside[candidate]), target, source)
            if len(distinct) > len(best):
                best, chosen = distinct, candidate
    if len(best) < LEAST_INLIERS:
        return None
    transform = np.vstack([affine[chosen], [0, 0, 1]])
    near = agrees[chosen] & (squared[chosen] < (HOMOGRAPHY_SUPPORT * side) ** 2)
    homography = _homography(source[near], target[near], reference_size)
    if homography is not None:
        bent = np.linalg.norm(project(homography, source) - target, axis=1)
        inliers = _distinct(np.flatnonzero(agrees[chosen] & (bent < tolerance)), target, source)
        if len(inliers) >= max(HOMOGRAPHY_INLIERS, len(best)):
            transform, best = homography, inliers
    return Geometry(
        transform, False, matches.query[best, :2], matches.reference[best, :2], float(matches.weights[best].sum())
    )


def _affine_maps(
    matches: Matches, target: np.ndarray, source: np.ndarray, side: float
) -> tuple[np.ndarray, np.ndarray]:
    """The best-supported hypotheses, refined: [h, 2, 3], and which matches have their scale and angle, bool [h, m]."""
    log_scale = np.log(matches.query[:, 2] / matches.reference[:, 2], dtype=np.float64)
    angle = np.radians(matches.query[:, 3] - matches.reference[:, 3], dtype=np.float64)
    direction = np.stack([np.cos(angle), np.sin(angle)])
    a, b = np.exp(log_scale) * direction
    (x, y), (u, v) = source.T, target.T
    hypotheses = np.stack([[a, -b, u - a * x + b * y], [b, a, v - b * x - a * y]]).transpose(2, 0, 1)

    agrees = (np.abs(log_scale - log_scale[:, None]) < SCALE) & (direction.T @ direction > np.cos(ANGLE))
    support = agrees & (_squared_errors(hypotheses, source, target) < (SUPPORT * side) ** 2)
    best = np.argsort(-support.sum(axis=1), kind="stable")[:HYPOTHESES]
    affine = hypotheses[best]
    agrees, inside = agrees[best], support[best]
    for tolerance in (REFINED_SUPPORT * side, max(INLIER_PIXELS, INLIER * side)):
        affine = _least_squares(affine, source, target, inside, side)
        inside = agrees & (_squared_errors(affine, source, target) < tolerance**2)
    return _least_squares(affine, source, target, inside, side), agrees


def _squared_errors(maps: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """How far maps [h, 2, 3] put matches [m, 2] from where they are, squared: [h, m], in pixels."""
    points = np.vstack([source.T, np.ones(len(source))])
    x, y = (maps[:, axis] @ points - target[:, axis] for axis in (0, 1))
    return x * x + y * y


def _least_squares(
    affine: np.ndarray, source: np.ndarray, target: np.ndarray, inside: np.ndarray, side: float
) -> np.ndarray:
    """Affine maps [h, 2, 3] that fit the matches `inside` [h, m], each held to the map it was by `HOLD`."""
    columns = np.column_stack([source / side, np.ones(len(source))])
    before = affine * [side, side, 1]
    weighted = columns.T * inside[:, None]
    hold = HOLD * np.eye(3)
    right = weighted @ target + hold @ before.transpose(0, 2, 1)
    return np.linalg.solve(weighted @ columns + hold, right).transpose(0, 2, 1) / [side, side, 1]


def _plausible(linear: np.ndarray) -> np.ndarray:
    """Whether maps [h, 2, 2] keep the sense of rotation and stretch within the limits: bool [h]."""
    a, b, c, d = linear.reshape(-1, 4).T
    turning, reflecting = np.hypot(a + d, c - b), np.hypot(a - d, b + c)
    largest, smallest = (turning + reflecting) / 2, (turning - reflecting) / 2  # singular values; < 0: mirrored
    return (smallest >= SMALLEST) & (largest <= LARGEST) & (largest <= ANISOTROPY * smallest)


def _distinct(chosen: np.ndarray, target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Of the chosen matches the first in each square of the grid, in the query, then in the reference; in order."""
    for points in (target, source):
        cells = np.floor(points[chosen] / GRID).astype(np.int64)
        chosen = chosen[np.sort(np.unique(cells[:, 0] * 2**32 + cells[:, 1], return_index=True)[1])]
    return chosen


def _homography(source: np.ndarray, target: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """MAGSAC's homography through matches [m, 2], if there are enough and it shows the whole frame from one side.

    OpenCV starts its random numbers anew at every call, so that the result is the same.
    """
    if len(source) < HOMOGRAPHY_INLIERS:
        return None
    homography, _ = cv2.findHomography(source, target, cv2.USAC_MAGSAC, HOMOGRAPHY_PIXELS)
    if homography is None or np.linalg.det(homography) <= 0:
        return None
    depth = corners(size) @ homography[2, :2] + homography[2, 2]
    return homography if depth.min() > 0 else None
