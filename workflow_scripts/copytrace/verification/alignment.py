"""Do two pictures look alike where one lies in the other? (section 4 of the fact sheet)

The reference is laid over the query, and small windows are compared by their normalised cross-correlation (NCC), which
brightness and contrast do not change. A window counts by its texture, that of the picture with less: plain sky agrees
with nothing, and a caption's strong edges on it shall not hide the rest. Where the windows rather disagree, the
reference's negative is compared instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from copytrace.verification.evidence import share
from copytrace.verification.features import Features
from copytrace.verification.frames import area, overlap, resizing

BOX_SIDE = 96  # pixels: the longer side of what both share
THUMBNAIL = 48, 48  # pixels, whatever the shape of the picture
BLUR = 1.2  # σ in pixels, over what two resamplings leave different
WINDOW = 9  # pixels
AGREES = 0.5  # NCC of a window
NOISE = 0.5  # grey levels: texture below that is none


@dataclass(frozen=True)
class Agreement:
    """How well the pixels of a pair agree.

    Attributes:
        local_ncc: mean NCC of the windows, weighted by texture, 0 to 1, of the reference or its negative.
        agreeing_share: share of the texture in windows with an NCC of more than `AGREES`, 0 to 1.
        global_ncc: absolute NCC of the shared region as one, 0 to 1.
        query_share, reference_share: the share of each picture that lies in the other, 0 to 1.
    """

    local_ncc: float = 0.0
    agreeing_share: float = 0.0
    global_ncc: float = 0.0
    query_share: float = 0.0
    reference_share: float = 0.0


def compare_aligned(query: Features, reference: Features, transform: np.ndarray) -> Agreement:
    """How the pixels agree under a transform [3, 3] from reference to query, in the frames of their keypoints."""
    query_size, reference_size = query.grey.shape[::-1], reference.grey.shape[::-1]
    transform = resizing(query.size, query_size) @ transform @ np.linalg.inv(resizing(reference.size, reference_size))
    in_query, in_reference = overlap(transform, query_size, reference_size)
    if not len(in_query) or area(in_query) < 1:
        return Agreement()
    left_top = in_query.min(axis=0)
    sides = in_query.max(axis=0) - left_top
    scale = BOX_SIDE / sides.max()
    size = max(round(sides[0] * scale), 1), max(round(sides[1] * scale), 1)
    to_box = np.array([[scale, 0, 0], [0, scale, 0], [0, 0, 1]])
    to_box[:2, 2] = -left_top * scale - 0.5
    reference_scale = scale * np.sqrt(area(in_query) / area(in_reference))
    local, agreeing, whole = _correlate(
        _warp(query.grey, to_box, scale, size),
        _warp(reference.grey, to_box @ transform, reference_scale, size),
        cv2.warpPerspective(np.ones_like(reference.grey), to_box @ transform, size),
    )
    return Agreement(local, agreeing, whole, share(in_query, query_size), share(in_reference, reference_size))


def compare_thumbnails(query: Features, reference: Features) -> float:
    """`local_ncc` of the whole pictures, squeezed to thumbnails, as they are or mirrored: the better.

    What a pair without keypoints has.
    """
    thumbnails = [cv2.resize(f.grey, THUMBNAIL, interpolation=cv2.INTER_AREA) for f in (query, reference)]
    everything = np.ones(THUMBNAIL, np.uint8)
    first, second = (thumbnail.astype(np.float32) for thumbnail in thumbnails)
    return max(_correlate(view, second, everything)[0] for view in (first, np.ascontiguousarray(first[:, ::-1])))


def _warp(picture: np.ndarray, transform: np.ndarray, scale: float, size: tuple[int, int]) -> np.ndarray:
    """A grey picture under a transform that scales it about so much: float32; shrunk by areas first, as it must be."""
    if scale < 1:
        whole = picture.shape[::-1]
        smaller = max(round(whole[0] * scale), 1), max(round(whole[1] * scale), 1)
        picture = cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA)
        transform = transform @ resizing(smaller, whole)
    return cv2.warpPerspective(picture.astype(np.float32), transform, size, borderMode=cv2.BORDER_REPLICATE)


def _correlate(one: np.ndarray, other: np.ndarray, shared: np.ndarray) -> tuple[float, float, float]:
    """Weighted mean of local NCC, weighted share that agrees, absolute NCC of all, where `shared` is not 0."""
    one, other = (cv2.GaussianBlur(picture, (0, 0), BLUR) for picture in (one, other))
    inside = cv2.erode(shared, np.ones((WINDOW, WINDOW), np.uint8)).astype(bool)
    if not inside.any():
        return 0.0, 0.0, 0.0
    a, b = one[inside] - one[inside].mean(), other[inside] - other[inside].mean()
    whole = abs(float(a @ b)) / (float(np.sqrt(a @ a) * np.sqrt(b @ b)) + NOISE**2 * len(a))

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (WINDOW, WINDOW))

    covariance = (mean(one * other) - mean(one) * mean(other))[inside]
    # of nothing, the filter's running sums can leave a rounding error below 0
    deviations = [np.sqrt(np.maximum(mean(p * p) - mean(p) ** 2, 0))[inside] for p in (one, other)]
    ncc = covariance / (deviations[0] * deviations[1] + NOISE**2)
    texture = np.minimum(*deviations)
    total = float(texture.sum()) + NOISE
    local = float((texture * ncc).sum()) / total
    if local < 0:  # a negative
        ncc = -ncc
    return abs(local), float(texture[ncc > AGREES].sum()) / total, whole
