"""Local features of a picture: RootSIFT descriptors, a small grey picture and perceptual hashes (sections 2 to 4).

RootSIFT is SIFT divided by its sum, then its root (Arandjelović and Zisserman, "Three things everyone should know to
improve object retrieval", CVPR 2012), so that Euclidean distances compare SIFT's histograms by the Hellinger kernel.

A picture and its negative have the same features. SIFT's keypoints are blobs brighter or darker than what surrounds
them; in a negative each gradient, and with it the keypoint's angle, is turned by 180°, which turns the patch that is
described, too, and changes nothing else. So dark blobs are described as they would be in the negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from copytrace import pdq

#: A RootSIFT descriptor has length 1; it is stored as whole numbers in this unit, none of which reaches 256 / 512.
UNIT = 512

DIMENSIONS = 128
CELLS = 4  # of a picture, each way, over which half of the keypoints are spread
_LAYOUT = (4, 4, 8)  # of SIFT in OpenCV: rows and columns of the patch as its keypoint turns it, and directions
_INNER, _OUTER = 1.0, 2.2  # half sides, in radii of a keypoint, of a square in a blob and of one with what surrounds it


@dataclass(frozen=True)
class FeatureSettings:
    """How pictures are described: sides in pixels; larger pictures are reduced to them, none is enlarged."""

    keypoints: int = 600
    contrast: float = 0.01
    longer_side: int = 320
    grey_side: int = 160


@dataclass(frozen=True)
class Features:
    """What verification knows of a picture.

    Attributes:
        descriptors: uint8 [n, 128], RootSIFT times `UNIT`; of any number the first ones are half the strongest, half
            spread over the picture.
        geometry: float32 [n, 4], of each keypoint x, y (the first pixel's centre is 0), diameter and angle in degrees
            clockwise, in pixels of a frame of `size`; a dark blob's angle is that in the negative.
        size: width and height of that frame.
        full_size: width and height of the picture itself.
        grey: uint8 [height, width], the picture in grey, smaller.
        hashes: uint8 [8, 32], `pdq.dihedral_hashes`; all zeros for a picture without content.
    """

    descriptors: np.ndarray
    geometry: np.ndarray
    size: tuple[int, int]
    full_size: tuple[int, int]
    grey: np.ndarray
    hashes: np.ndarray


def extract(picture: np.ndarray, settings: FeatureSettings) -> Features:
    """Describe a picture, uint8 RGB [height, width, 3] of at least one pixel.

    The same picture gives the same features in the same order, whatever the number of threads. A picture without
    keypoints (one colour, a few pixels) has n = 0.
    """
    frame = _reduce(picture, settings.longer_side)
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    found, vectors = _detector(settings.contrast).detectAndCompute(grey, None)
    keypoints = np.array([(*k.pt, k.size, k.angle, k.response) for k in found], np.float32).reshape(-1, 5)
    order = _strong_and_spread(keypoints, (frame.shape[1], frame.shape[0]))[: settings.keypoints]
    geometry = np.ascontiguousarray(keypoints[order, :4])
    descriptors = root_sift(vectors[order]) if len(found) else np.empty((0, DIMENSIONS), np.uint8)
    dark = _dark(grey, geometry)
    geometry[dark, 3] = (geometry[dark, 3] + 180) % 360
    descriptors[dark] = turn_descriptors(descriptors[dark])
    quality = pdq.pdq_hash(frame)[1]
    return Features(
        descriptors,
        geometry,
        (frame.shape[1], frame.shape[0]),
        (picture.shape[1], picture.shape[0]),
        _reduce(grey, settings.grey_side),
        pdq.dihedral_hashes(frame) if quality else np.zeros((8, pdq.HASH_BYTES), np.uint8),
    )


@lru_cache(maxsize=1)
def _detector(contrast: float) -> Any:
    """SIFT; without the precise upscaling every x and y is a quarter of a pixel off, and a mirrored x half a pixel."""
    return cv2.SIFT.create(contrastThreshold=contrast, enable_precise_upscale=True)


def _strong_and_spread(keypoints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The order [n] of keypoints [n, 5], x, y, diameter, angle and response, in a picture of `size` (width, height).

    Taken alone, the strongest all lie on the hardest edges, and few on a soft picture that is pasted beside them. So
    each keypoint has two places: that by its response, and that in a list in which the strongest of every one of
    `CELLS` × `CELLS` cells come first, then the second of each, and so on. It stands by the smaller of the two.
    """
    by_response = np.lexsort((*keypoints.T[3::-1], -keypoints[:, 4]))
    column, row = np.clip(keypoints[by_response, :2] * CELLS // size, 0, CELLS - 1).T
    cell = row * CELLS + column
    place = np.arange(len(keypoints))
    by_cell = np.argsort(cell, kind="stable")
    in_cell = np.empty_like(place)  # 0 for the strongest of each cell
    in_cell[by_cell] = place - np.searchsorted(cell[by_cell], cell[by_cell])
    spread = np.empty_like(place)
    spread[np.lexsort((place, in_cell))] = place
    return by_response[np.lexsort((place, np.minimum(place, spread)))]


def _reduce(picture: np.ndarray, longer_side: int) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = longer_side / max(height, width)
    if scale >= 1:
        return picture
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def root_sift(sift: np.ndarray) -> np.ndarray:
    """RootSIFT in steps of 1 / `UNIT`, uint8 [n, 128], of SIFT descriptors [n, 128], none of them negative."""
    shares = sift / np.maximum(sift.sum(axis=1, keepdims=True), 1e-12)
    return np.minimum(np.rint(np.sqrt(shares) * UNIT), 255).astype(np.uint8)


def _dark(grey: np.ndarray, geometry: np.ndarray) -> np.ndarray:
    """Whether keypoints [n, 4] of a grey picture are darker than what surrounds them: bool [n].

    SIFT knows, and OpenCV does not tell. Means over squares of two sizes stand for its Gaussians; where a keypoint is
    found again in an edited picture, they say the same but for one of ten thousand.
    """
    height, width = grey.shape
    sums = cv2.integral(grey).astype(np.int64)
    x, y, diameter, _ = geometry.astype(np.float64).T

    def mean(radius: np.ndarray) -> np.ndarray:
        left, right = (np.clip(np.rint(x + side * radius), 0, width - 1).astype(np.int64) for side in (-1, 1))
        top, bottom = (np.clip(np.rint(y + side * radius), 0, height - 1).astype(np.int64) for side in (-1, 1))
        total = sums[bottom + 1, right + 1] - sums[top, right + 1] - sums[bottom + 1, left] + sums[top, left]
        return total / ((bottom + 1 - top) * (right + 1 - left))

    return mean(_INNER * diameter / 2) < mean(_OUTER * diameter / 2)


def turn_descriptors(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors [n, 128] of the same keypoints in the negative: their patches turned by 180°, and all in them."""
    return descriptors.reshape(-1, *_LAYOUT)[:, ::-1, ::-1].reshape(descriptors.shape)


def mirror_descriptors(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors [n, 128] of the same keypoints in the picture mirrored left to right (section 3).

    Seen along a keypoint's angle, mirroring swaps the rows of its patch and reverses the sense of all directions.
    """
    patches = descriptors.reshape(-1, *_LAYOUT)[:, ::-1]
    return patches[..., -np.arange(_LAYOUT[2]) % _LAYOUT[2]].reshape(descriptors.shape)


def mirror_geometry(geometry: np.ndarray, width: int) -> np.ndarray:
    """Geometry [n, 4], as in `Features`, of the same keypoints in the mirrored picture of that width."""
    x, y, diameter, angle = geometry.T
    return np.stack([width - 1 - x, y, diameter, (180 - angle) % 360], axis=1)
