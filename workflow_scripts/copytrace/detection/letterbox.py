"""A picture on the square canvas that the detector takes in, and boxes from there back to the picture's own pixels.

The picture is resized so that its longer side is the canvas's, also enlarging, and lies at the top left; the rest
is grey. So the way back is one factor for x and one for y, and boxes fit the picture at its full resolution (the
published crops do not: E1 of the D²LV sheet).
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from PIL.Image import Resampling

GREY = 114  # level of the canvas beside the picture, as published


def fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height in pixels that a picture of `width` × `height` has on a canvas of side `side`."""
    longer = max(width, height)
    return max(1, round(width * side / longer)), max(1, round(height * side / longer))


def on_canvas(picture: np.ndarray, side: int) -> np.ndarray:
    """`picture` uint8 [h, w, 3] → uint8 [side, side, 3], resized (bicubic) and laid at the top left."""
    height, width = picture.shape[:2]
    size = fitted(width, height, side)
    if size != (width, height):
        picture = np.asarray(Image.fromarray(picture).resize(size, Resampling.BICUBIC))
    canvas = np.full((side, side, 3), GREY, np.uint8)
    canvas[: size[1], : size[0]] = picture
    return canvas


def boxes_in_picture(boxes: np.ndarray, width: int, height: int, side: int) -> np.ndarray:
    """Boxes on the canvas → boxes in the picture, clipped to it.

    Args:
        boxes: [n, 4], (x0, y0, x1, y1) in pixels of the canvas.
        width: of the picture, pixels.
        height: likewise.
        side: of the canvas.

    Returns:
        float64 [n, 4], (x0, y0, x1, y1) in pixels of the picture; empty where a box lies beside it.
    """
    own, shown = np.array([width, height] * 2), np.array(fitted(width, height, side) * 2)
    return np.clip(np.asarray(boxes, np.float64) * own / shown, 0, own)
