"""Copies to fit and to measure verification on: edits of known geometry, none of them one of the sample's.

The fact sheet's tuning set (its head, and sections 1 and 7): single edits of 17 kinds, and chains of two and three of
them. The kinds have the names that people have for them; the edits are not those of `copytrace.sample.edits`, on whose
queries a workflow is measured: other shares and angles, AugLy's templates, fonts and emoji that are no smileys, other
filters, another codec. Of each copy it is known where every pixel of the picture went, and which region shows it.

An edit is a function (picture, rng, foreign) → Step; pictures are uint8 RGB [height, width, 3], `foreign()` gives an
unrelated one. Points are pixel centres, the first one's (0, 0), as in `frames`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from copytrace.sample.edits import augly_assets
from copytrace.verification.frames import area, clip, corners, project, resizing

Picture = NDArray[np.uint8]
Rng = np.random.Generator
Foreign = Callable[[], Picture]

#: A copy shows at least so much of the picture, and at least so much of the copy is of it; else it is drawn again,
LEAST_SHOWN, LEAST_COVERED = 0.15, 0.02
#: but not for ever: a strip of a few pixels in height covers little of whatever it is pasted on.
DRAWS = 50

EMOJI = ("activity", "animals_and_nature", "food_and_drink", "objects", "travel_and_places")
FONTS = ("OpenSans-Bold", "Lobster_1.3", "Montserrat-Bold", "PlayfairDisplay-Bold", "Pacifico", "Ubuntu-M")
WORDS = (
    "the and for with your summer photo sale new now only today free world big small red house street music girl boy "
    "dog cat food travel winter night light love true fake news share follow like week year city river open closed"
)


@dataclass(frozen=True)
class Step:
    """What one edit did.

    Attributes:
        picture: uint8 RGB [height, width, 3].
        transform: float64 [3, 3], from the picture before to this one.
        window: x, y, width, height in pixels: the part of this picture outside which nothing of the one before shows.
    """

    picture: Picture
    transform: np.ndarray = field(default_factory=lambda: np.eye(3))
    window: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Copy:
    """An edited copy.

    Attributes:
        picture: uint8 RGB [height, width, 3].
        transform: float64 [3, 3], from the picture to the copy.
        region: float64 [n, 2], the convex polygon of the copy that shows the picture, stickers on it not taken off.
        source_region: float64 [n, 2], the same region in the picture.
    """

    picture: Picture
    transform: np.ndarray
    region: np.ndarray
    source_region: np.ndarray


Edit = Callable[[Picture, Rng, Foreign], Step]


def copy(picture: Picture, kind: str, rng: Rng, foreign: Foreign) -> Copy:
    """A copy of a picture by one of `KINDS`: a single edit, or a chain of different ones."""
    size = picture.shape[1], picture.shape[0]
    for _ in range(DRAWS):
        kinds = [kind] if kind in EDITS else rng.choice(list(EDITS), CHAINS[kind], replace=False).tolist()
        made = apply(picture, [EDITS[name] for name in kinds], rng, foreign)
        shown = area(made.source_region) / (size[0] * size[1]) if len(made.region) else 0.0
        covered = area(made.region) / (made.picture.shape[0] * made.picture.shape[1]) if shown else 0.0
        if shown >= LEAST_SHOWN and covered >= LEAST_COVERED:
            break
    return made


def apply(picture: Picture, edits: list[Edit], rng: Rng, foreign: Foreign) -> Copy:
    """Edits one after the other, the transform and the region followed through."""
    transform, region = np.eye(3), corners((picture.shape[1], picture.shape[0]))
    for edit in edits:
        step = edit(picture, rng, foreign)
        picture, transform = np.ascontiguousarray(step.picture), step.transform @ transform
        *corner, width, height = step.window or (0, 0, picture.shape[1], picture.shape[0])
        region = clip(project(step.transform, region) - corner, (width, height)) + corner
    return Copy(picture, transform / transform[2, 2], region, project(np.linalg.inv(transform), region))


# ---------------------------------------------------------------- tools


def _unit(picture: Picture) -> float:
    return max(picture.shape[:2]) / 256


def _shift(x: float, y: float) -> np.ndarray:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def _resized(picture: Picture, width: float, height: float) -> tuple[Picture, np.ndarray]:
    """A picture of another size, at least 1 pixel, and the transform."""
    old, new = (picture.shape[1], picture.shape[0]), (max(round(width), 1), max(round(height), 1))
    way = cv2.INTER_AREA if new[0] * new[1] < old[0] * old[1] else cv2.INTER_CUBIC
    return cv2.resize(picture, new, interpolation=way), resizing(old, new)  # type: ignore[return-value]


def _fit(picture: Picture, width: int, height: int) -> tuple[Picture, np.ndarray]:
    """Scaled and cut around the centre to width × height, and the transform."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    scaled, transform = _resized(picture, max(picture.shape[1] * scale, width), max(picture.shape[0] * scale, height))
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return scaled[top : top + height, left : left + width], _shift(-left, -top) @ transform


def _paste(ground: Picture, picture: Picture, x: int, y: int) -> Picture:
    out = ground.copy()
    out[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return out


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _values(picture: np.ndarray) -> Picture:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def _emoji() -> list[Any]:
    return [path for folder in EMOJI for path in sorted((augly_assets() / "twemojis" / folder).glob("*.png"))]


@lru_cache(maxsize=2)
def _template(name: str) -> tuple[Picture, tuple[int, int, int, int]]:
    """A screenshot with a hole, and the hole's x0, y0, x1, y1."""
    folder = augly_assets() / "screenshot_templates"
    holes = json.loads((folder / "bboxes.json").read_text())
    with Image.open(folder / name) as template:
        return np.array(template.convert("RGB")), tuple(holes[name])


def _font(rng: Rng, size: float) -> Any:
    path = augly_assets() / "fonts" / f"{rng.choice(FONTS)}.ttf"
    return ImageFont.truetype(str(path), max(round(size), 6))


def _text(rng: Rng, font: Any, width: float) -> str:
    """Lines of words, none wider than `width` unless it is a single word."""
    lines = [""]
    for word in rng.choice(WORDS.split(), int(rng.integers(3, 11))):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(str(word))
        else:
            lines[-1] = longer
    return "\n".join(lines)


# ---------------------------------------------------------------- edits of geometry


def crop(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """A detail of 20 to 70 % of the area, its shape up to a fifth wider or narrower."""
    h, w = picture.shape[:2]
    share, ratio = rng.uniform(0.2, 0.7), np.exp(rng.uniform(-0.4, 0.4) / 2)
    width, height = (max(round(s), 1) for s in (min(w * share**0.5 * ratio, w), min(h * share**0.5 / ratio, h)))
    x, y = int(rng.integers(w - width + 1)), int(rng.integers(h - height + 1))
    return Step(picture[y : y + height, x : x + width], _shift(-x, -y))


def rotation(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """Any angle from 5 degrees on either way, on a canvas that stays or grows, of any colour."""
    h, w = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), float(rng.uniform(5, 355)), 1.0)
    size = (w, h)
    if rng.random() < 0.5:
        c, s = abs(matrix[0, 0]), abs(matrix[0, 1])
        size = round(h * s + w * c), round(h * c + w * s)
        matrix[:, 2] += (size[0] - w) / 2, (size[1] - h) / 2
    turned = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderValue=_colour(rng))
    return Step(turned, np.vstack([matrix, [0, 0, 1]]))  # type: ignore[arg-type]


def flip(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """Left and right exchanged, or, once in four times, top and bottom."""
    h, w = picture.shape[:2]
    if rng.random() < 0.25:
        return Step(picture[::-1], np.array([[1.0, 0, 0], [0, -1, h - 1], [0, 0, 1]]))
    return Step(picture[:, ::-1], np.array([[-1.0, 0, w - 1], [0, 1, 0], [0, 0, 1]]))


def perspective(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """Each corner moved inwards by up to a quarter of the sides, as of a picture photographed from aside."""
    h, w = picture.shape[:2]
    frame = corners((w, h))
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    moved = frame + inwards * rng.uniform(0, 0.25, (4, 2)) * (w, h)
    transform = cv2.getPerspectiveTransform(frame.astype(np.float32), moved.astype(np.float32))
    seen = cv2.warpPerspective(picture, transform, (w, h), flags=cv2.INTER_LINEAR, borderValue=_colour(rng))
    return Step(seen, transform)  # type: ignore[arg-type]


def screenshot(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """In the hole of one of AugLy's two screenshots, which is stretched to it."""
    template, (x0, y0, x1, y1) = _template(str(rng.choice(["mobile.png", "web.png"])))
    h, w = picture.shape[:2]
    across, down = w / (x1 - x0), h / (y1 - y0)
    page, _ = _resized(template, template.shape[1] * across, template.shape[0] * down)
    x, y = min(round(x0 * across), page.shape[1] - w), min(round(y0 * down), page.shape[0] - h)
    return Step(_paste(page, picture, x, y), _shift(x, y), (x, y, w, h))


def collage(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """One cell of two to four, the others of foreign pictures; each is scaled and cut to its cell."""
    h, w = picture.shape[:2]
    across, down = [(2, 1), (1, 2), (3, 1), (1, 3), (2, 2)][rng.integers(5)]
    line = round(rng.uniform(0, 6) * _unit(picture))
    width, height = max(round(w * rng.uniform(0.6, 1)), 8), max(round(h * rng.uniform(0.6, 1)), 8)
    canvas = np.full((down * (height + line) + line, across * (width + line) + line, 3), _colour(rng), np.uint8)
    own = rng.integers(across * down)
    for cell in range(across * down):
        x, y = line + cell % across * (width + line), line + cell // across * (height + line)
        cut, fitting = _fit(picture if cell == own else foreign(), width, height)
        canvas[y : y + height, x : x + width] = cut
        if cell == own:
            transform, window = _shift(x, y) @ fitting, (x, y, width, height)
    return Step(canvas, transform, window)


def small_paste(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """Somewhere in a foreign picture, its longer side 20 to 45 % of that one's."""
    ground = foreign()
    scale = rng.uniform(0.2, 0.45) * max(ground.shape[:2]) / max(picture.shape[:2])
    scale = min(scale, ground.shape[1] / picture.shape[1], ground.shape[0] / picture.shape[0])
    small, transform = _resized(picture, picture.shape[1] * scale, picture.shape[0] * scale)
    h, w = small.shape[:2]
    x, y = int(rng.integers(ground.shape[1] - w + 1)), int(rng.integers(ground.shape[0] - h + 1))
    return Step(_paste(ground, small, x, y), _shift(x, y) @ transform, (x, y, w, h))


def caption(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """Words across the picture, or in a coloured band above or below it."""
    h, w = picture.shape[:2]
    font = _font(rng, rng.uniform(14, 34) * _unit(picture))
    text = _text(rng, font, 0.9 * w)
    where = str(rng.choice(["across", "above", "below"]))
    band = round(1.5 * font.size * (text.count("\n") + 1))
    above, below = (band if where == name else 0 for name in ("above", "below"))
    page = Image.new("RGB", (w, above + h + below), _colour(rng))
    page.paste(Image.fromarray(picture), (0, above))
    y = {"across": rng.uniform(0, 0.7) * h, "above": 0, "below": h}[where]
    ink = (255, 255, 255) if rng.random() < 0.5 else (0, 0, 0)
    edge = (0, 0, 0) if ink[0] else (255, 255, 255)
    ImageDraw.Draw(page).multiline_text(
        (0.05 * w, y), text, ink, font, stroke_width=max(round(_unit(picture)), 1), stroke_fill=edge
    )
    return Step(np.array(page), _shift(0, above), (0, above, w, h))


# ---------------------------------------------------------------- edits of pixels


def emoji(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """One to five emoji of 15 to 50 % of the shorter side, anywhere."""
    page, files = Image.fromarray(picture), _emoji()
    for share in rng.uniform(0.15, 0.5, rng.integers(1, 6)):
        size = max(round(share * min(page.size)), 1)
        with Image.open(files[rng.integers(len(files))]) as drawing:
            stamp = drawing.convert("RGBA").resize((size, size), Image.Resampling.BICUBIC)
        page.paste(stamp, (int(rng.integers(page.width - size + 1)), int(rng.integers(page.height - size + 1))), stamp)
    return Step(np.array(page))


def blur(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """The mean of a square of 5 to 11 units."""
    side = 2 * round(rng.uniform(5, 11) * _unit(picture) / 2) + 1
    return Step(cv2.blur(picture, (side, side)))  # type: ignore[arg-type]


def compression(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """WebP of quality 1 to 15 after a loss of half the resolution."""
    small, _ = _resized(picture, picture.shape[1] / 1.5, picture.shape[0] / 1.5)
    data = cv2.imencode(".webp", small[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, int(rng.integers(1, 16))])[1]
    back = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]
    return Step(_resized(back, picture.shape[1], picture.shape[0])[0])


def noise(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """Salt and pepper on 3 to 15 % of the pixels."""
    hit = rng.random(picture.shape[:2])
    share = rng.uniform(0.03, 0.15)
    out = picture.copy()
    out[hit < share / 2], out[hit > 1 - share / 2] = 0, 255
    return Step(out)


def grey(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """Luminance, darker or lighter."""
    values = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) / 255.0
    return Step(_values(255 * np.repeat(values[..., None] ** np.exp(rng.uniform(-0.6, 0.6)), 3, axis=2)))


def colour_filter(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """A curve of its own for each channel, channels exchanged, levels from 128 on inverted, or false colours."""
    kind = rng.integers(4)
    if kind == 0:
        return Step(_values(255 * (picture / 255.0) ** np.exp(rng.uniform(-1, 1, 3))))
    if kind == 1:
        return Step(picture[..., [[1, 2, 0], [2, 0, 1], [2, 1, 0]][rng.integers(3)]])
    if kind == 2:
        return Step(np.where(picture < 128, picture, 255 - picture).astype(np.uint8))
    maps = (cv2.COLORMAP_BONE, cv2.COLORMAP_PINK, cv2.COLORMAP_HOT, cv2.COLORMAP_OCEAN, cv2.COLORMAP_SUMMER)
    return Step(cv2.applyColorMap(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), maps[rng.integers(len(maps))]))  # type: ignore[arg-type]


def inversion(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """The negative."""
    return Step(255 - picture)


def pixelisation(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """Blocks of 3 to 5 units."""
    h, w = picture.shape[:2]
    block = rng.uniform(3, 5) * _unit(picture)
    small, _ = _resized(picture, w / block, h / block)
    return Step(cv2.resize(small, (w, h), interpolation=cv2.INTER_NEAREST))  # type: ignore[arg-type]


def sketch(picture: Picture, rng: Rng, foreign: Foreign) -> Step:
    """A pencil drawing: luminance divided by its blurred self."""
    luminance = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    blurred = cv2.GaussianBlur(luminance, (0, 0), rng.uniform(2, 6) * _unit(picture))
    drawing = np.minimum(255.0 * luminance / np.maximum(blurred, 1), 255)
    return Step(np.repeat(_values(drawing)[..., None], 3, axis=2))


EDITS: dict[str, Edit] = {
    edit.__name__: edit
    for edit in (
        crop,
        rotation,
        flip,
        perspective,
        screenshot,
        collage,
        small_paste,
        caption,
        emoji,
        blur,
        compression,
        noise,
        grey,
        colour_filter,
        inversion,
        pixelisation,
        sketch,
    )
}
CHAINS = {"two_edits": 2, "three_edits": 3}
KINDS = (*EDITS, *CHAINS)
