"""The edits that make copies (D²LV, section 2.2 of the fact sheet), as plain functions by name.

Each operation is `operation(image, rng, scene, **parameters) -> image`, RGB in and RGB out. A parameter
given as a pair `(low, high)` is drawn uniformly from that range, from `rng` alone: AugLy's and Pillow's
functions are called with every value given, so that no global generator plays a part. AugLy's perspective
and pixel shuffling are constant in secret and its text ignores the opacity (section 2.4); those three are
ours, and `Faithful` brings the old ways back. torchvision's crop and colour jitter are written out on
Pillow, which they call themselves, so that synthesis needs neither torchvision nor torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from PIL.Image import Resampling

from copytrace import compat

augly: Any = compat.ensure_augly()
from augly.utils import SMILEY_EMOJI_DIR  # noqa: E402  (only after ensure_augly)

Range = tuple[float, float]
Colour = tuple[int, int, int]

EMOJI = sorted(str(path) for path in Path(SMILEY_EMOJI_DIR).glob("*.png"))

# The normals of AugLy's default seed 42: x, y of the corners top left, top right, bottom right, bottom left.
CORNER_NORMALS = np.random.RandomState(42).normal(size=(4, 2))
SHUFFLE_SEED = 10  # AugLy's, for every call


@dataclass(frozen=True)
class Faithful:
    """Oddities of the published system that change its training sets; all off is the better behaviour."""

    constant_noise: bool = False
    """T1: perspective always moves the corners by σ times the same normals; equal fractions shuffle alike."""
    opaque_text: bool = False
    """T2: the opacity of text is drawn but has no effect."""
    partial_grey: bool = False
    """T4: a grey family turns grey where its published script does, not once at the end."""


@dataclass(frozen=True)
class Scene:
    """What operations need to know besides their parameters."""

    side: int
    """Side of a rendered copy in pixels (256 in the paper)."""
    scale: float
    """Multiplies every constant in pixels: `side` ÷ the side that those constants were published for."""
    foreign: Callable[[Generator], Image.Image]
    """Draws another picture, in RGB, at its real size."""
    foreign_side: float | None = None
    """Longer side in pixels, before `scale`, that a foreign picture is taken to have; None: its real one."""
    faithful: Faithful = Faithful()


def resized_crop(image: Image.Image, rng: Generator, scene: Scene, *, area: Range, aspect: Range) -> Image.Image:
    """Step 2: cut out `area` of the picture at a log-uniform width ÷ height, squash it to the side.

    Bilinear. Ten tries that a box fits, then the largest central one of an allowed aspect, as in torchvision.
    """
    width, height = image.size
    for _ in range(10):
        size = rng.uniform(*area) * width * height
        ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
        w, h = round(math.sqrt(size * ratio)), round(math.sqrt(size / ratio))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            break
    else:
        ratio = min(max(width / height, aspect[0]), aspect[1])
        w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
        x, y = (width - w) // 2, (height - h) // 2
    # Not resize(box=...): that lets what lies beside the box bleed into its edge.
    return resize(image.crop((x, y, x + w, y + h)), rng, scene)


def rotation(image: Image.Image, rng: Generator, scene: Scene, *, degrees: Range) -> Image.Image:
    """Step 3: turn counter-clockwise about the centre; canvas kept, black outside, nearest pixel."""
    return image.rotate(rng.uniform(*degrees), Resampling.NEAREST)


def pixelisation(image: Image.Image, rng: Generator, scene: Scene, *, ratio: Range) -> Image.Image:
    """Step 4: shrink to `ratio` of the side and enlarge back, both bicubic: smooth rather than blocky."""
    return augly.pixelization(image, ratio=rng.uniform(*ratio))


def pixel_shuffling(image: Image.Image, rng: Generator, scene: Scene, *, fraction: Range) -> Image.Image:
    """Step 5: ⌊fraction · pixels⌋ pixels, drawn without replacement, change places among themselves."""
    pixels = np.array(image).reshape(-1, 3)
    count = int(rng.uniform(*fraction) * len(pixels))
    if scene.faithful.constant_noise:
        constant = np.random.RandomState(SHUFFLE_SEED)
        places = constant.permutation(len(pixels))[:count]
        order = constant.permutation(count)
    else:
        places = rng.choice(len(pixels), count, replace=False, shuffle=False)
        order = rng.permutation(count)
    pixels[places] = pixels[places[order]]
    return Image.fromarray(pixels.reshape(image.height, image.width, 3))


def perspective(image: Image.Image, rng: Generator, scene: Scene, *, sigma: Range) -> Image.Image:
    """Step 6: each corner moves by σ px times two standard normals; canvas kept, black outside, bicubic.

    Corners whose quadrangle is not convex are drawn again: they would fold the picture over. (AugLy's
    constant corners are convex.)
    """
    width, height = image.size
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=np.float64)
    spread = rng.uniform(*sigma) * scene.scale
    if scene.faithful.constant_noise:
        moved = corners + spread * CORNER_NORMALS
    else:
        moved = corners + spread * rng.normal(size=(4, 2))
        while not _is_convex(moved):
            moved = corners + spread * rng.normal(size=(4, 2))
    # Pillow asks for the way back: where in the source each output pixel comes from.
    back = cv2.getPerspectiveTransform(moved.astype(np.float32), corners.astype(np.float32))
    return image.transform(image.size, Image.Transform.PERSPECTIVE, back.ravel()[:8].tolist(), Resampling.BICUBIC)


def _is_convex(corners: np.ndarray) -> bool:
    """Whether the corners [4, 2], in the order of the picture's, turn the same way at each of them."""
    edges = np.roll(corners, -1, axis=0) - corners
    following = np.roll(edges, -1, axis=0)
    return bool((edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0] > 0).all())


def padding(image: Image.Image, rng: Generator, scene: Scene, *, width: Range, height: Range) -> Image.Image:
    """Step 7: a frame of one random colour, ⌊factor · side⌋ px at either end: the picture grows."""
    return augly.pad(image, w_factor=rng.uniform(*width), h_factor=rng.uniform(*height), color=_random_colour(rng))


def paste_foreign(image: Image.Image, rng: Generator, scene: Scene, *, scale: Range, x: Range, y: Range) -> Image.Image:
    """Step 8, "underlay" in the original: a foreign picture at `scale` of its own size, pasted on top.

    `x`, `y`: its top left corner relative to the image's width and height.
    """
    picture = scene.foreign(rng)
    size = _own_size(picture, scene, rng.uniform(*scale))
    result = image.copy()
    result.paste(picture.resize(size, Resampling.BICUBIC), _corner(image, rng, x, y))
    return result


def colour_jitter(
    image: Image.Image,
    rng: Generator,
    scene: Scene,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
) -> Image.Image:
    """Step 9: four changes in random order: factors 1 ± brightness, contrast, saturation; a turn of ± hue.

    Hue is in turns of the colour wheel, at most 0.5. Factors stop at 0, as in torchvision.
    """
    strengths = {
        ImageEnhance.Brightness: brightness,
        ImageEnhance.Contrast: contrast,
        ImageEnhance.Color: saturation,
        None: hue,
    }
    steps = list(strengths.items())
    for i in rng.permutation(len(steps)):
        enhance, strength = steps[i]
        if enhance is None:
            image = _turn_hue(image, rng.uniform(-strength, strength))
        else:
            image = enhance(image).enhance(rng.uniform(max(0.0, 1 - strength), 1 + strength))
    return image


def _turn_hue(image: Image.Image, turn: float) -> Image.Image:
    """Shift the hue by a part of the colour wheel, −0.5 to 0.5, in 255ths of it as torchvision does."""
    hue, saturation, value = image.convert("HSV").split()
    hue = hue.point([(level + int(turn * 255)) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def gaussian_blur(image: Image.Image, rng: Generator, scene: Scene, *, radius: Range) -> Image.Image:
    """Step 10: Gaussian blur; `radius` = standard deviation in px (times the scene's scale)."""
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(*radius) * scene.scale))


def greyscale(image: Image.Image, rng: Generator, scene: Scene) -> Image.Image:
    """Step 11: luminance in all three channels."""
    return image.convert("L").convert("RGB")


def horizontal_flip(image: Image.Image, rng: Generator, scene: Scene) -> Image.Image:
    """Step 12: mirror left and right."""
    return ImageOps.mirror(image)


def emoji(
    image: Image.Image, rng: Generator, scene: Scene, *, opacity: Range, size: Range, x: Range, y: Range
) -> Image.Image:
    """Step 13: one of AugLy's 92 smileys, `size` of the image's height, its top left corner at `x`, `y`."""
    return augly.overlay_emoji(
        image,
        emoji_path=EMOJI[rng.integers(len(EMOJI))],
        opacity=rng.uniform(*opacity),
        emoji_size=rng.uniform(*size),
        x_pos=rng.uniform(*x),
        y_pos=rng.uniform(*y),
    )


def text(
    image: Image.Image,
    rng: Generator,
    scene: Scene,
    *,
    length: tuple[int, int],
    glyphs: int,
    opacity: Range,
    size: Range,
    x: Range,
    y: Range,
) -> Image.Image:
    """Step 14: a line of `length` characters (both ends included) in a random colour.

    Characters are the first `glyphs` of AugLy's default font (Noto Naskh Arabic); `size` is relative to the
    shorter side.
    """
    colour = _random_colour(rng)
    drawn_opacity = rng.uniform(*opacity)
    # Drawn on a transparent layer of the text's own colour, so that edges and opacity mix properly.
    layer = augly.overlay_text(
        Image.new("RGBA", image.size, (*colour, 0)),
        text=rng.integers(glyphs, size=rng.integers(length[0], length[1] + 1)).tolist(),
        # A size below 1 px is refused by Pillow: 1.5 ends as 1, whatever the rounding.
        font_size=min(1.0, max(rng.uniform(*size), 1.5 / min(image.size))),
        opacity=1.0 if scene.faithful.opaque_text else drawn_opacity,
        color=colour,
        x_pos=rng.uniform(*x),
        y_pos=rng.uniform(*y),
    )
    result = image.copy()
    result.paste(layer, mask=layer)
    return result


def colourise(image: Image.Image, rng: Generator, scene: Scene) -> Image.Image:
    """Colour families: grey levels 0, 127, 255 take three independent random colours, linear between."""
    black, mid, white = (_random_colour(rng) for _ in range(3))
    return ImageOps.colorize(image.convert("L"), black=black, mid=mid, white=white)


def solarise(image: Image.Image, rng: Generator, scene: Scene) -> Image.Image:
    """Invert levels from 128 up; not in the training sets, but in the views of Barlow Twins (section 3.1)."""
    return ImageOps.solarize(image)


def darken(image: Image.Image, rng: Generator, scene: Scene, *, factor: Range) -> Image.Image:
    """Dark family: brightness times `factor`."""
    return ImageEnhance.Brightness(image).enhance(rng.uniform(*factor))


def blend_foreign(image: Image.Image, rng: Generator, scene: Scene, *, weight: Range) -> Image.Image:
    """Opacity family: `weight` of the image, the rest a foreign picture, both squashed (bicubic)."""
    size = (scene.side, scene.side)
    picture = scene.foreign(rng).resize(size, Resampling.BICUBIC)
    return Image.blend(picture, image.resize(size, Resampling.BICUBIC), rng.uniform(*weight))


def onto_background(
    image: Image.Image, rng: Generator, scene: Scene, *, enlarge: Range, x: Range, y: Range
) -> Image.Image:
    """Step 15, "overlay" in the original: the enlarged image on a foreign picture; what hangs over is cut.

    `x`, `y`: its top left corner relative to the background's width and height. The result has the
    background's size.
    """
    picture = scene.foreign(rng)
    background = picture.resize(_own_size(picture, scene, 1.0), Resampling.BICUBIC)
    factor = rng.uniform(*enlarge)
    size = (round(image.width * factor), round(image.height * factor))
    background.paste(image.resize(size, Resampling.BICUBIC), _corner(background, rng, x, y))
    return background


def resize(image: Image.Image, rng: Generator, scene: Scene) -> Image.Image:
    """Step 16: squash to the side (bilinear)."""
    return image.resize((scene.side, scene.side), Resampling.BILINEAR)


def _own_size(picture: Image.Image, scene: Scene, factor: float) -> tuple[int, int]:
    """`factor` times the foreign picture's own size (width, height) as the scene has it, at least 1 px."""
    if scene.foreign_side is not None:
        factor *= scene.foreign_side * scene.scale / max(picture.size)
    return max(1, round(picture.width * factor)), max(1, round(picture.height * factor))


def _corner(canvas: Image.Image, rng: Generator, x: Range, y: Range) -> tuple[int, int]:
    return int(rng.uniform(*x) * canvas.width), int(rng.uniform(*y) * canvas.height)


def _random_colour(rng: Generator) -> Colour:
    red, green, blue = rng.integers(256, size=3).tolist()
    return red, green, blue


Operation = Callable[..., Image.Image]

OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        resized_crop,
        rotation,
        pixelisation,
        pixel_shuffling,
        perspective,
        padding,
        paste_foreign,
        colour_jitter,
        gaussian_blur,
        greyscale,
        horizontal_flip,
        emoji,
        text,
        colourise,
        solarise,
        darken,
        blend_foreign,
        onto_background,
        resize,
    )
}
