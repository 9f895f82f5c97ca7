"""One query and its candidates: geometry, alignment and hash of each pair, in the order in which they are measured."""

from __future__ import annotations

from typing import Any

import numpy as np

from copytrace import pdq
from copytrace.verification.alignment import Agreement, compare_aligned, compare_thumbnails
from copytrace.verification.evidence import evidence
from copytrace.verification.features import Features
from copytrace.verification.frames import bounding_box, project, resizing
from copytrace.verification.geometry import locate
from copytrace.verification.matching import Query

#: Differing bits of the hashes of two pictures that have nothing in common; what a pair without a hash gets.
UNRELATED_BITS = 4 * pdq.HASH_BYTES

BOX = ["x0", "y0", "x1", "y1"]


def verify(prepared: Query, query: Features, reference: Features) -> dict[str, Any]:
    """All that is measured of a pair, by the names of the columns it becomes.

    `mirrored`, `inliers`, `weighted_inliers` (section 3); `local_ncc`, `agreeing_share`, `global_ncc`, `query_share`,
    `reference_share` (section 4); `thumbnail_ncc`; `hash_distance` in bits, 0 to 128; the shared region's boxes
    `query_x0` … `reference_y1` in pixels of the pictures as they are, and `transform`, nine numbers row by row, from
    reference to query; `query_points` and `reference_points`, x and y of each inlier in turn, in pixels from the upper
    left corner. Without geometry the boxes and the transform are not-a-number, inliers and agreement 0, and there are
    no points.
    """
    geometry = locate(prepared, reference, query.size)
    found = None if geometry is None else evidence(geometry, query, reference)
    agreement = Agreement() if geometry is None else compare_aligned(query, reference, geometry.transform)
    query_box = bounding_box(found.query_region if found else np.empty((0, 2)))
    reference_box = bounding_box(found.reference_region if found else np.empty((0, 2)))
    return {
        "mirrored": geometry is not None and geometry.mirrored,
        "inliers": 0 if geometry is None else geometry.inliers,
        "weighted_inliers": 0.0 if geometry is None else geometry.weighted,
        **vars(agreement),
        "thumbnail_ncc": compare_thumbnails(query, reference),
        "hash_distance": hash_distance(query.hashes, reference.hashes),
        **{f"query_{name}": value for name, value in zip(BOX, query_box)},
        **{f"reference_{name}": value for name, value in zip(BOX, reference_box)},
        "transform": found.transform.ravel().tolist() if found else [np.nan] * 9,
        "query_points": _in_picture(geometry.query_points, query) if geometry else [],
        "reference_points": _in_picture(geometry.reference_points, reference) if geometry else [],
    }


def _in_picture(points: np.ndarray, features: Features) -> list[float]:
    """Points [n, 2] of the keypoints' frame in the picture as it is: x, y, x, y …, from the upper left corner."""
    return (project(resizing(features.size, features.full_size), points) + 0.5).ravel().tolist()


def hash_distance(query: np.ndarray, reference: np.ndarray) -> int:
    """Bits by which the nearest of a query's eight hashes, uint8 [8, 32], or its negative's differs from a reference.

    A negative's hash has all bits reversed: each is a coefficient compared with the median. A picture without content
    has no hash, and is as far as pictures that have nothing in common.
    """
    if not query.any() or not reference.any():
        return UNRELATED_BITS
    bits = np.bitwise_count(query ^ reference[0]).sum(axis=1)
    return int(min(bits.min(), 8 * pdq.HASH_BYTES - bits.max()))
