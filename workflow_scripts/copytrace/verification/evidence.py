"""Evidence for a pair: the region of the query that was copied, and where it lies in the reference (section 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copytrace.verification.features import Features
from copytrace.verification.frames import area, corners, overlap, project, resizing
from copytrace.verification.geometry import Geometry


@dataclass(frozen=True)
class Evidence:
    """The shared region of a pair, in pixels of the pictures as they are, not reduced.

    Attributes:
        transform: float64 [3, 3], from the reference to the query, pixel centres; its last entry is 1.
        query_region, reference_region: float64 [n, 2], the reference's frame in the query, clipped, and back: polygons
            in pixels from the upper left corner; n is at least 3, or 0 where nothing is shared.
        query_frame, reference_frame: float64 [4, 2], each picture's own frame in the other one, not clipped.
    """

    transform: np.ndarray
    query_region: np.ndarray
    reference_region: np.ndarray
    query_frame: np.ndarray
    reference_frame: np.ndarray


def evidence(geometry: Geometry, query: Features, reference: Features) -> Evidence:
    """The evidence of a located reference."""
    transform = (
        resizing(query.size, query.full_size)
        @ geometry.transform
        @ np.linalg.inv(resizing(reference.size, reference.full_size))
    )
    in_query, in_reference = overlap(transform, query.full_size, reference.full_size)
    return Evidence(
        transform / transform[2, 2],
        in_query + 0.5,
        in_reference + 0.5,
        project(transform, corners(reference.full_size)) + 0.5,
        project(np.linalg.inv(transform), corners(query.full_size)) + 0.5,
    )


def share(region: np.ndarray, size: tuple[int, int]) -> float:
    """The share of a picture of `size` (width, height) that a region [n, 2] covers."""
    return area(region) / (size[0] * size[1]) if len(region) else 0.0
