"""Frames of pictures under a transform: corners, projections, and what of a frame lies in another.

A picture of width w and height h covers −½ … w − ½ times −½ … h − ½; the first pixel's centre is (0, 0).
"""

from __future__ import annotations

import numpy as np


def corners(size: tuple[int, int]) -> np.ndarray:
    """The corners of a picture of `size` (width, height), clockwise from the top left: float64 [4, 2]."""
    width, height = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5


def project(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [n, 2] under a homography [3, 3]: float64 [n, 2]."""
    homogeneous = points @ transform[:, :2].T + transform[:, 2]
    return homogeneous[:, :2] / homogeneous[:, 2:]


def resizing(size: tuple[int, int], new_size: tuple[int, int]) -> np.ndarray:
    """The transform [3, 3] of a picture of `size` (width, height) to the same picture of `new_size`."""
    x, y = np.array(new_size) / np.array(size)
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])


def clip(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a convex polygon [n, 2] that lies in a picture of `size` (width, height): [m, 2]; m = 0: nothing.

    By Sutherland and Hodgman's way, one side of the picture after the other.
    """
    for axis in (0, 1):
        for sign, limit in ((1, 0.5), (-1, size[axis] - 0.5)):
            if len(polygon):
                polygon = _keep(polygon, sign * polygon[:, axis] + limit)
    return polygon


def _keep(polygon: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Cut off what has a negative value; `inside` [n] are the values at the corners, linear between them."""
    following, next_inside = np.roll(polygon, -1, axis=0), np.roll(inside, -1)
    crosses = (inside < 0) != (next_inside < 0)
    share = np.divide(inside, inside - next_inside, out=np.zeros_like(inside), where=crosses)
    cuts = polygon + share[:, None] * (following - polygon)
    both = np.stack([polygon, cuts], axis=1)
    return both[np.stack([inside >= 0, crosses], axis=1)]


def area(polygon: np.ndarray) -> float:
    """The area of a polygon [n, 2], whichever way round."""
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def overlap(
    transform: np.ndarray, query_size: tuple[int, int], reference_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What two pictures share under a transform [3, 3] from reference to query: its polygon in each, [n, 2] twice.

    The reference's frame must lie in front of the transform's horizon, as `geometry` grants.
    """
    in_query = clip(project(transform, corners(reference_size)), query_size)
    return in_query, project(np.linalg.inv(transform), in_query)


def bounding_box(region: np.ndarray) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a region [n, 2]; not-a-number where n = 0."""
    if not len(region):
        return (np.nan,) * 4
    (x0, y0), (x1, y1) = region.min(axis=0), region.max(axis=0)
    return float(x0), float(y0), float(x1), float(y1)
