"""From a decoded picture to what a network takes in: blur and grey flags, parts, scales, ImageNet statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

#: What cutting needs of the parts table.
CUT = ["x0", "y0", "x1", "y1", "rotation", "mirrored"]


@dataclass(frozen=True)
class Preprocessing:
    """How a family's pictures of one role are changed before anything is cut out (D²LV sheet, 5.4).

    `blur`: radius of the Gaussian blur in pixels of a picture whose longer side is `reference_side`
    (None: absolute pixels, as published); 0 for none. `grey`: three equal channels of luminance.
    """

    grey: bool = False
    blur: float = 0.0
    reference_side: int | None = None

    def apply(self, picture: np.ndarray) -> Image.Image:
        """`picture` uint8 [h, w, 3] RGB → a Pillow image of mode RGB, or L where grey."""
        image = Image.fromarray(picture)
        if self.blur:
            scale = max(image.size) / self.reference_side if self.reference_side else 1.0
            image = image.filter(ImageFilter.GaussianBlur(self.blur * scale))
        return image.convert("L") if self.grey else image


def cut_to_scale(image: Image.Image, parts: np.ndarray, scale: int) -> np.ndarray:
    """Every part of a picture, squashed to `scale` × `scale` (bicubic): uint8 [parts, scale, scale, 3].

    `parts`: the columns `CUT` of the parts table, int [parts, 6]. Rotation (counter-clockwise quarter turns) and mirror
    follow the resizing: on a square the two orders give the same picture.
    """
    out = np.empty((len(parts), scale, scale, 3), np.uint8)
    squares: dict[tuple[int, ...], np.ndarray] = {}
    for i, (x0, y0, x1, y1, rotation, mirrored) in enumerate(parts.tolist()):
        box = (x0, y0, x1, y1)
        if box not in squares:
            # Cut first: Pillow's own `box` lets pixels from outside of it in.
            square = image.crop(box).resize((scale, scale), Image.Resampling.BICUBIC)
            squares[box] = np.asarray(square).reshape(scale, scale, -1)
        part = np.rot90(squares[box], rotation // 90)
        out[i] = part[:, ::-1] if mirrored else part
    return out


def to_network_input(batch: torch.Tensor, device: torch.device) -> torch.Tensor:
    """uint8 [n, h, w, 3] → float32 [n, 3, h, w] on `device`, channels last, minus ImageNet's mean, over its std."""
    n, height, width, _ = batch.shape
    # One row of pixels at a time: broadcast over the three channels alone, it takes several times as long.
    mean = torch.tensor(IMAGENET_MEAN, device=device).mul(255).repeat(width)
    std = torch.tensor(IMAGENET_STD, device=device).mul(255).repeat(width)
    rows = batch.to(device).reshape(n, height, 3 * width)
    return (rows - mean).div_(std).view(n, height, width, 3).permute(0, 3, 1, 2)
