"""Selective search: boxes of a query that may hold a pasted picture (D²LV, section 5.1 of the fact sheet).

Three steps, each a plain function: `find_regions` grows regions (the package selectivesearch does), `choose`
keeps those worth searching for, `propose` does both at a bearable size and in the picture's own pixels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from copytrace.runtime import InputError

ORDERS = ("area", "rectangularity")


@dataclass(frozen=True)
class SearchSettings:
    """Settings of the search; the defaults are the published ones, where there are any.

    `scale`, `min_size` and `min_region` hold for a picture whose longer side is `reference_side`; None: as
    they are, in every picture, as published. The sizes, which are areas, go with the square of the side.
    `scale` goes with the side itself: a picture seen at half the size has differences twice as large between
    neighbours, and this keeps the number of segments nearly constant. `sigma` stays: it smooths the noise of
    single pixels.
    """

    scale: float = 500.0  # preference for large segments (Felzenszwalb and Huttenlocher's k)
    sigma: float = 0.9  # pixels
    min_size: float = 10.0  # smallest segment, pixels
    reference_side: float | None = None  # pixels
    min_region: float = 2000.0  # smallest merged region, pixels (of the region, not of its box)
    min_region_fraction: float = 0.0  # of the picture's pixels, inclusive
    max_region_fraction: float | None = None  # of the picture's pixels, exclusive
    aspect: tuple[float, float] = (0.5, 2.0)  # width / height, inclusive
    nms_iou: float = 0.5  # a box that overlaps a better one by more than this goes
    order: str = "area"  # what makes a box better: larger, or filled more completely by its region
    limit: int | None = None  # boxes per picture
    max_side: int | None = None  # longer pictures are searched at this size, pixels

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> SearchSettings:
        """Settings from the configuration's `parts.selective_search`.

        Raises:
            InputError: for an unknown key or an `order` that does not exist.
        """
        unknown = sorted(set(table) - {field.name for field in fields(cls)})
        if unknown:
            raise InputError(f"parts.selective_search has no key {unknown[0]!r}: remove it.")
        settings = cls(**table)
        if settings.order not in ORDERS:
            raise InputError(f"parts.selective_search.order is {settings.order!r}, not one of {', '.join(ORDERS)}.")
        return settings


def propose(image: np.ndarray, settings: SearchSettings) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of a picture that may hold something of their own, best first.

    Args:
        image: uint8 [height, width, 3], RGB.
        settings: see `SearchSettings`.

    Returns:
        boxes int32 [n, 4], (x0, y0, x1, y1) in pixels of `image`, exclusive ends, no two alike; and
        rectangularity float32 [n], the share of each box that its region fills, in (0, 1].
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    if settings.max_side is not None and longer > settings.max_side:
        shrunk = [max(1, round(side * settings.max_side / longer)) for side in (width, height)]
        image = cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)
    searched_height, searched_width = image.shape[:2]

    # Constants in pixels hold at the reference side; without one, at the side of the picture as it came.
    factor = max(searched_height, searched_width) / (settings.reference_side or longer)
    min_size = max(1, round(settings.min_size * factor**2))
    boxes, sizes = find_regions(image, settings.scale * factor, settings.sigma, min_size)
    kept = choose(boxes, sizes, searched_height * searched_width, settings.min_region * factor**2, settings)
    boxes, sizes = boxes[kept], sizes[kept]
    filled = sizes / _areas(boxes)
    # Back to the picture's own pixels, to the nearest pixel border, in whole numbers.
    own = np.array([width, height, width, height], dtype=np.int64)
    searched = np.array([searched_width, searched_height, searched_width, searched_height], dtype=np.int64)
    boxes = (2 * boxes * own + searched) // (2 * searched)
    return boxes.astype(np.int32), filled.astype(np.float32)


def find_regions(image: np.ndarray, scale: float, sigma: float, min_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every region of selective search's hierarchy (Uijlings et al., 2013), in the package's order.

    The package's rectangles span first to last pixel and so lack their last column and row as slices;
    here the ends are exclusive and nothing is lacking (E3 in section 8 of the fact sheet).

    Args:
        image: uint8 [height, width, 3], RGB.
        scale: preference for large segments.
        sigma: smoothing before the segmentation, pixels.
        min_size: smallest segment, pixels.

    Returns:
        boxes int64 [n, 4] (x0, y0, x1, y1) and region sizes int64 [n] in pixels. Boxes repeat where a
        region grew without leaving its rectangle.
    """
    import selectivesearch  # loads most of scikit-image

    with warnings.catch_warnings():
        # Once per picture; the package computes its texture from floats on purpose.
        warnings.filterwarnings("ignore", message="Applying `local_binary_pattern`")
        _, found = selectivesearch.selective_search(image, scale=scale, sigma=sigma, min_size=min_size)
    boxes = np.array([region["rect"] for region in found], dtype=np.int64)
    boxes[:, 2:] += boxes[:, :2] + 1
    return boxes, np.array([region["size"] for region in found], dtype=np.int64)


def choose(
    boxes: np.ndarray, sizes: np.ndarray, picture_area: int, min_region: float, settings: SearchSettings
) -> np.ndarray:
    """Which regions become parts: large enough, neither too long nor too high, no two nearly alike.

    The published system ranks all boxes the same, so that chance decides which of two similar ones stays
    (E3); here the better one by `settings.order` stays, and ties go to the larger, then to the left,
    then to the upper box.

    Args:
        boxes: int [n, 4].
        sizes: pixels of the regions [n].
        picture_area: pixels of the searched picture.
        min_region: smallest region in pixels of the searched picture.
        settings: the other limits.

    Returns:
        indices into `boxes`, best first.
    """
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    narrowest, widest = settings.aspect
    good = (sizes >= min_region) & (sizes >= settings.min_region_fraction * picture_area)
    good &= (width >= narrowest * height) & (width <= widest * height)
    if settings.max_region_fraction is not None:
        good &= sizes < settings.max_region_fraction * picture_area

    candidates = np.flatnonzero(good)
    boxes, sizes = boxes[candidates], sizes[candidates]
    areas = _areas(boxes)
    value = areas if settings.order == "area" else sizes / areas
    # The last key counts most. Among regions with the same box the fullest comes first and stays.
    order = np.lexsort((-sizes, boxes[:, 3], boxes[:, 2], boxes[:, 1], boxes[:, 0], -areas, -value))
    order = order[_first_of_each(boxes[order])]
    order = non_maximum_suppression(boxes, order, settings.nms_iou)
    return candidates[order[: settings.limit]]


def non_maximum_suppression(boxes: np.ndarray, order: np.ndarray, iou: float) -> np.ndarray:
    """Boxes that no better box overlaps by more than `iou`.

    With exclusive ends the areas are those of the pixels, the published "+1" of inclusive ends.

    Args:
        boxes: int [n, 4], (x0, y0, x1, y1), exclusive ends, none empty.
        order: indices into `boxes`, best first.
        iou: intersection over union, in [0, 1].

    Returns:
        The surviving part of `order`.
    """
    areas = _areas(boxes)
    survivors = []
    while len(order):
        best, rest = order[0], order[1:]
        survivors.append(best)
        ends = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        starts = np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.maximum(ends - starts, 0).prod(axis=1)
        order = rest[shared <= iou * (areas[best] + areas[rest] - shared)]
    return np.array(survivors, dtype=np.intp)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).astype(np.int64).prod(axis=1)


def _first_of_each(rows: np.ndarray) -> np.ndarray:
    """Ascending indices [m] of the first of each group of equal rows [n, k]."""
    return np.sort(np.unique(rows, axis=0, return_index=True)[1])
