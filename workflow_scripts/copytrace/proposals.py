"""Selective search: boxes of a query that may hold a pasted picture (D²LV, section 5.1 of the fact sheet).

Three steps, each a plain function: `find_regions` grows regions, `choose` keeps those worth searching for,
`propose` does both at a bearable size and in the picture's own pixels.

The published system grows regions with the package selectivesearch 0.4, whose loops over pixels and pairs of
regions are Python's. `find_regions` computes the same with arrays. The package is the reference, not a part of
the workflow: the tests and `benchmarks/proposals.py` ask for the same regions, bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import felzenszwalb

from copytrace.errors import InputError

ORDERS = ("area", "rectangularity")

# Histograms of a region: 25 bins of brightness over [0, 255]; then, for each channel, two texture patterns.
BRIGHTNESS_BINS = 25
BRIGHTNESS_EDGES = np.linspace(0, 255, BRIGHTNESS_BINS + 1)[1:-1]
PATTERNS = 6

DIAGONAL = 0.70711  # of a unit step, rounded as in scikit-image's local binary patterns
PAIRS_AT_A_TIME = 10_000_000  # of segments compared, so that memory stays small where there are many


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


@dataclass(frozen=True)
class Regions:
    """What the hierarchy knows of its regions, with room for those still to come.

    `extents` int64 [n, 4] are (-x0, -y0, x1, y1), last pixels inclusive, so that the rectangle around two is
    their maximum. `sizes` int64 [n] are pixels. `histograms` float64 [n, 25 + 6] are shares of the region's
    pixels: of brightness, then of texture. `pixels` is the picture's area.
    """

    extents: np.ndarray
    sizes: np.ndarray
    histograms: np.ndarray
    pixels: int

    def merge(self, first: int, second: int, new: int) -> None:
        """Write the union of two regions to row `new`."""
        a, b = self.sizes[first], self.sizes[second]
        self.extents[new] = np.maximum(self.extents[first], self.extents[second])
        self.sizes[new] = a + b
        self.histograms[new] = (self.histograms[first] * a + self.histograms[second] * b) / (a + b)

    def similarity(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Similarity of pairs of regions [m]: of colour, texture, size and fit, added as the package adds.

        Equal similarities decide what merges first, so each sum runs from left to right (`cumsum` does,
        `sum` does not).
        """
        shared = np.minimum(self.histograms[first], self.histograms[second])
        # The package's hue and saturation are at most 1 and its bins 10 wide: each always adds exactly 1.
        shared[:, 0] += 2.0
        colour = shared[:, :BRIGHTNESS_BINS].cumsum(axis=1)[:, -1]
        texture = shared[:, BRIGHTNESS_BINS:].cumsum(axis=1)[:, -1]
        together = self.sizes[first] + self.sizes[second]
        left, upper, right, lower = np.maximum(self.extents[first], self.extents[second]).T
        rectangle = (right + left) * (lower + upper)
        return colour + texture + (1.0 - together / self.pixels) + (1.0 - (rectangle - together) / self.pixels)


def find_regions(image: np.ndarray, scale: float, sigma: float, min_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every region of selective search's hierarchy (Uijlings et al., 2013), as the package selectivesearch has it.

    Segments (Felzenszwalb and Huttenlocher, 2004) come first, in the order of their first pixels, then each
    union of the two most similar neighbours. Same regions in the same order as the package's for pictures of up
    to 65,536 pixels a side. The package's rectangles span first to last pixel and so lack their last column and
    row as slices; here the ends are exclusive and nothing is lacking (E3 in section 8 of the fact sheet).

    Args:
        image: uint8 [height, width, 3], RGB.
        scale: preference for large segments.
        sigma: smoothing before the segmentation, pixels.
        min_size: smallest segment, pixels.

    Returns:
        boxes int64 [n, 4] (x0, y0, x1, y1) and region sizes int64 [n] in pixels. Boxes repeat where a
        region grew without leaving its rectangle. A picture without pixels has no region.
    """
    if not image.size:
        return np.empty((0, 4), dtype=np.int64), np.empty(0, dtype=np.int64)
    # Numbered from 0, in the order of their first pixels.
    segments = felzenszwalb(image, scale=scale, sigma=sigma, min_size=min_size)
    count = int(segments.max()) + 1
    regions = _describe(image, segments, count)
    first, second = _neighbours(regions.extents[:count])
    similarity = regions.similarity(first, second)
    while len(similarity):
        best = len(similarity) - 1 - similarity[::-1].argmax()  # of equal ones the latest
        one, other = first[best], second[best]
        regions.merge(one, other, count)
        # Neighbours of the two become neighbours of their union, in the order of the pairs that go.
        in_first = (first == one) | (first == other)
        in_second = (second == one) | (second == other)
        touching = np.where(in_first, second, first)[in_first != in_second]
        touching = np.array(list(dict.fromkeys(touching.tolist())), dtype=np.int64)
        union = np.full_like(touching, count)
        rest = ~(in_first | in_second)
        first = np.concatenate([first[rest], union])
        second = np.concatenate([second[rest], touching])
        similarity = np.concatenate([similarity[rest], regions.similarity(union, touching)])
        count += 1
    left, upper, right, lower = regions.extents[:count].T
    return np.stack([-left, -upper, right + 1, lower + 1], axis=1), regions.sizes[:count]


def _describe(image: np.ndarray, segments: np.ndarray, count: int) -> Regions:
    """The segments' extents, sizes and histograms, followed by rows for all unions there can be."""
    regions = Regions(
        extents=np.empty((2 * count - 1, 4), dtype=np.int64),
        sizes=np.empty(2 * count - 1, dtype=np.int64),
        histograms=np.empty((2 * count - 1, BRIGHTNESS_BINS + PATTERNS)),
        pixels=segments.size,
    )
    regions.extents[:count] = [
        (-columns.start, -rows.start, columns.stop - 1, rows.stop - 1)
        for rows, columns in ndimage.find_objects(segments + 1)
    ]
    regions.sizes[:count] = np.bincount(segments.ravel())
    red, green, blue = np.moveaxis(image, 2, 0)
    bins = np.searchsorted(BRIGHTNESS_EDGES, np.arange(256), side="right")[np.maximum(np.maximum(red, green), blue)]
    brightness = np.bincount((BRIGHTNESS_BINS * segments + bins).ravel(), minlength=BRIGHTNESS_BINS * count)
    row, column, pattern = _patterns(image)
    texture = np.bincount(PATTERNS * segments[row, column] + pattern, minlength=PATTERNS * count)
    counts = np.concatenate([brightness.reshape(count, -1), texture.reshape(count, -1)], axis=1)
    regions.histograms[:count] = counts / regions.sizes[:count, None]
    return regions


def _patterns(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a channel's local binary pattern is 0 or 1: row, column, and 2 * channel + pattern, each [n].

    The pattern is 0 where all eight neighbours at distance 1 are darker than the pixel, 1 where all but the
    right one are; beyond the border all is 0. The package counts patterns in ten bins over [0, 1] and so sees
    no others. The diagonal neighbours are interpolated; where they equal the pixel but for rounding, rounding
    decides, so the steps are those of scikit-image.
    """
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    darker = (padded[1:-1, :-2] < image) & (padded[:-2, 1:-1] < image) & (padded[2:, 1:-1] < image)
    row, column, channel = np.nonzero(darker)
    for down in (-DIAGONAL, DIAGONAL):
        for right in (-DIAGONAL, DIAGONAL):
            neighbour = _interpolate(padded, row + down, column + right, channel)
            darker = neighbour < image[row, column, channel]
            row, column, channel = row[darker], column[darker], channel[darker]
    right_is_not = padded[row + 1, column + 2, channel] >= image[row, column, channel]
    return row, column, 2 * channel + right_is_not


def _interpolate(padded: np.ndarray, y: np.ndarray, x: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """Bilinear values float64 [n] at the places (y, x) of a picture that has a border of one pixel around it."""
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, right = y - top, x - left
    # The border shifts rows and columns by one.
    upper = (1 - right) * padded[top + 1, left + 1, channel] + right * padded[top + 1, left + 2, channel]
    lower = (1 - right) * padded[top + 2, left + 1, channel] + right * padded[top + 2, left + 2, channel]
    return (1 - down) * upper + down * lower


def _neighbours(extents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of segments [m], the earlier first: a corner of the later one's rectangle lies inside the earlier's.

    That is the package's notion of neighbours. Sides do not count as inside.
    """
    left, upper, right, lower = -extents[:, 0], -extents[:, 1], extents[:, 2], extents[:, 3]
    pairs = []
    rows = max(1, PAIRS_AT_A_TIME // len(extents))
    for begin in range(0, len(extents), rows):
        x0, y0, x1, y1 = (side[begin : begin + rows, None] for side in (left, upper, right, lower))
        within_x = ((x0 < left) & (left < x1)) | ((x0 < right) & (right < x1))
        within_y = ((y0 < upper) & (upper < y1)) | ((y0 < lower) & (lower < y1))
        first, second = np.nonzero(np.triu(within_x & within_y, begin + 1))
        pairs.append((first + begin, second))
    first, second = np.concatenate(pairs, axis=1)
    return first, second


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
