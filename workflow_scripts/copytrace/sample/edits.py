"""Edits that people make before they post a picture again: what the queries of the sample have been through.

Held out from the training: the families (D²LV, sections 2.2 and 2.3 of the fact sheet) crop to at least
20 % of the area and squeeze, rotate on a kept black canvas, paste, jitter, blur, recolour, and put one
transparent emoji and random glyphs on top. None of them frames, captions or joins pictures, turns them
together with the canvas, compresses, adds noise or covers them with opaque emoji.

An edit is a function (picture, rng, foreign) → (edited picture, what was done); pictures are uint8 RGB
[height, width, 3], `foreign()` gives an unrelated one. Lengths are in units of 1/256 of the picture's longer
side, so that photographs of any size are edited alike. `KINDS` names all edits.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from copytrace.errors import InputError
from copytrace.sample.jpeg import through_file

Picture = NDArray[np.uint8]
Rng = np.random.Generator
Details = dict[str, Any]
Foreign = Callable[[], Picture]
Edit = Callable[[Picture, Rng, Foreign], tuple[Picture, Details]]

TEXT = (
    "when you finally find the picture that everyone was looking for and nobody believed it existed me after "
    "one coffee this is fine they said it would be easy never again best day ever look at that happy weekend "
    "breaking news you had one job same energy tell me more no way wait for it Monday mood share if you agree"
)
NAMES = (
    "mia.k",
    "jonas",
    "the_daily_frame",
    "anna & leo",
    "northwind",
    "pixelfarm",
    "sam_travels",
    "old town cafe",
)


def edit(picture: Picture, kind: str, rng: Rng, foreign: Foreign, mild: float = 0.5) -> tuple[Picture, Details]:
    """Edit a picture (uint8 RGB [height, width, 3]) by one of `KINDS`; a share `mild` gets two mild edits on top.

    Returns the edited picture and a description: kind, its parameters, and `then`, the mild edits in order.
    """
    edited, details = KINDS[kind](picture, rng, foreign)
    then = []
    if rng.random() < mild:
        for choice in rng.choice(len(MILD), 2, replace=False):
            edited, extra = MILD[choice](edited, rng, foreign)
            then.append(extra)
    return np.ascontiguousarray(edited), {"kind": kind, **details, "then": then}


# ---------------------------------------------------------------- tools


def _unit(picture: Picture) -> float:
    return max(picture.shape[:2]) / 256


def _resize(picture: Picture, width: float, height: float) -> Picture:
    size = max(round(width), 1), max(round(height), 1)
    shrinking = size[0] * size[1] < picture.shape[0] * picture.shape[1]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC)  # type: ignore[return-value]


def _fit(picture: Picture, width: int, height: int) -> Picture:
    """Scaled and cut around the centre to exactly width × height."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    scaled = _resize(picture, max(picture.shape[1] * scale, width), max(picture.shape[0] * scale, height))
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return scaled[top : top + height, left : left + width]


def _canvas(height: float, width: float, colour: int | tuple[int, ...]) -> Picture:
    return np.full((round(height), round(width), 3), colour, np.uint8)


def _sentence(rng: Rng, words: int) -> str:
    text = TEXT.split()
    start = int(rng.integers(len(text) - words))
    return " ".join(text[start : start + words])


def _wrap(text: str, font: Any, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    return ImageFont.load_default(max(size, 6))


@lru_cache(maxsize=1)
def augly_assets() -> Path:
    """The folder of AugLy's emoji, fonts and templates, found without importing the package and what it brings.

    Raises InputError if augly is not installed with its assets.
    """
    package = importlib.util.find_spec("augly")
    folders = package.submodule_search_locations if package else None
    assets = Path(folders[0], "assets") if folders else None
    if assets is None or not (assets / "twemojis" / "smileys").is_dir():
        raise InputError("augly's emoji pictures are not installed: install augly from requirements.txt.")
    return assets


@lru_cache(maxsize=1)
def emoji_files() -> tuple[Path, ...]:
    """AugLy's smileys in a fixed order."""
    return tuple(sorted((augly_assets() / "twemojis" / "smileys").glob("*.png")))


# ---------------------------------------------------------------- the twelve kinds


def screenshot(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """The picture in a phone's app or a browser's window, with the bars, names and lines around it."""
    frame = _phone if rng.random() < 0.5 else _browser
    return frame(picture, rng)


def _phone(picture: Picture, rng: Rng) -> tuple[Picture, Details]:
    """A post in a phone's app: the picture as wide as the screen."""
    u, (h, w) = _unit(picture), picture.shape[:2]
    dark = bool(rng.random() < 0.4)
    paper, ink, grey = (18, 235, 90) if dark else (255, 25, 190)
    above, below = round(46 * u), round(rng.uniform(60, 110) * u)
    page = Image.fromarray(_canvas(above + h + below, w, paper))
    draw = ImageDraw.Draw(page)
    draw.text((8 * u, 3 * u), f"{rng.integers(24)}:{rng.integers(60):02d}", (ink,) * 3, _font(round(11 * u)))
    draw.rounded_rectangle((w - 24 * u, 5 * u, w - 8 * u, 13 * u), 2 * u, outline=(ink,) * 3)
    draw.rectangle((w - 23 * u, 6 * u, w - rng.uniform(12, 20) * u, 12 * u), (ink,) * 3)
    colour = tuple(int(c) for c in rng.integers(40, 230, 3))
    draw.ellipse((8 * u, 20 * u, 28 * u, 40 * u), colour)
    draw.text((34 * u, 23 * u), str(rng.choice(NAMES)), (ink,) * 3, _font(round(12 * u)))
    y = above + h + 6 * u
    for i in range(3):
        draw.ellipse(
            (10 * u + 24 * i * u, y, 24 * u + 24 * i * u, y + 14 * u),
            outline=(ink,) * 3,
            width=max(round(1.5 * u), 1),
        )
    draw.text((10 * u, y + 20 * u), f"{rng.integers(2, 9000)} likes", (ink,) * 3, _font(round(11 * u)))
    for i, length in enumerate(rng.uniform(0.25, 0.85, 3)):
        draw.rounded_rectangle(
            (10 * u, y + (38 + 13 * i) * u, 10 * u + length * w, y + (44 + 13 * i) * u), 3 * u, (grey,) * 3
        )
    page.paste(Image.fromarray(picture), (0, above))
    return np.array(page), {"frame": "phone", "dark": dark, "box": [0, above, w, above + h]}


def _browser(picture: Picture, rng: Rng) -> tuple[Picture, Details]:
    """A page in a browser's window: the picture in the column of text."""
    u, (h, w) = _unit(picture), picture.shape[:2]
    left, right = (round(rng.uniform(20, 110) * u) for _ in range(2))
    top, below = round(rng.uniform(75, 100) * u), round(rng.uniform(20, 60) * u)
    width = left + w + right
    page = Image.fromarray(_canvas(top + h + below, width, 252))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, width, 34 * u), (222, 225, 230))
    for i, colour in enumerate(((237, 106, 94), (245, 191, 79), (98, 197, 84))):
        draw.ellipse((6 * u + 10 * i * u, 5 * u, 13 * u + 10 * i * u, 12 * u), colour)
    draw.rounded_rectangle((42 * u, 2 * u, 130 * u, 17 * u), 4 * u, (250, 250, 250))
    draw.rounded_rectangle((8 * u, 18 * u, width - 8 * u, 31 * u), 6 * u, (250, 250, 250))
    draw.text(
        (16 * u, 19 * u),
        f"https://{rng.choice(NAMES[2:6:2])}.example/{rng.integers(10**5)}",
        (90,) * 3,
        _font(round(8 * u)),
    )
    draw.text((left, 42 * u), _sentence(rng, 4), (20,) * 3, _font(round(15 * u)))
    for y in [
        *np.arange(66 * u, top - 6 * u, 8 * u),
        *np.arange(top + h + 8 * u, top + h + below - 5 * u, 8 * u),
    ]:
        draw.rectangle((left, y, left + rng.uniform(0.6, 1) * w, y + 3 * u), (175,) * 3)
    if right > 60 * u:  # an advertisement beside the column
        draw.rectangle(
            (left + w + 10 * u, top, width - 8 * u, top + 0.6 * h),
            tuple(int(c) for c in rng.integers(120, 240, 3)),
        )
    page.paste(Image.fromarray(picture), (left, top))
    return np.array(page), {"frame": "browser", "box": [left, top, left + w, top + h]}


def meme(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """A white band with black text above, below or at both sides."""
    u, w = _unit(picture), picture.shape[1]
    where = str(rng.choice(["above", "below", "both"]))
    font = _font(round(rng.uniform(16, 24) * u))
    bands, texts = [], []
    for _ in range(2 if where == "both" else 1):
        text = _sentence(rng, int(rng.integers(3, 10)))
        lines = _wrap(text, font, 0.92 * w)
        band = Image.fromarray(_canvas(1.25 * font.size * len(lines) + 14 * u, w, 255))
        for number, line in enumerate(lines):
            place = (w - font.getlength(line)) / 2, 6 * u + 1.25 * font.size * number
            ImageDraw.Draw(band).text(place, line, (0, 0, 0), font)
        bands.append(np.array(band))
        texts.append(text)
    above = bands[:1] if where != "below" else []
    below = bands[-1:] if where != "above" else []
    return np.concatenate([*above, picture, *below]), {"where": where, "text": texts}


def collage(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """Side by side or one above the other with another picture, cut to the same size, a thin line between."""
    h, w = picture.shape[:2]
    other = _fit(foreign(), w, h)
    axis = 1 if rng.random() < (0.75 if h > w else 0.4) else 0
    line = round(rng.uniform(0, 4) * _unit(picture))
    gap = _canvas(h if axis else line, line if axis else w, 255 if rng.random() < 0.7 else 0)
    first = bool(rng.random() < 0.5)
    pair = (picture, gap, other) if first else (other, gap, picture)
    return np.concatenate(pair, axis=axis), {"beside": bool(axis), "first": first}


def crop(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """A detail of 25-40 % of the area."""
    return _crop(picture, rng, 0.25, 0.40, 0.25)


def _crop(picture: Picture, rng: Rng, low: float, high: float, stretch: float) -> tuple[Picture, Details]:
    h, w = picture.shape[:2]
    share, ratio = rng.uniform(low, high), np.exp(rng.uniform(-stretch, stretch) / 2)
    height, width = (max(round(side), 1) for side in (h * min(share**0.5 * ratio, 1), w * min(share**0.5 / ratio, 1)))
    top, left = int(rng.integers(h - height + 1)), int(rng.integers(w - width + 1))
    return picture[top : top + height, left : left + width], {"box": [left, top, left + width, top + height]}


def rotation(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """A quarter turn or two, or 10-45 degrees either way on a canvas that grows with it."""
    if rng.random() < 0.5:
        turns = int(rng.integers(1, 4))
        return np.rot90(picture, turns), {"degrees": 90 * turns}
    degrees = float(rng.choice([-1, 1]) * rng.uniform(10, 45))
    fill = int(rng.choice([0, 255]))
    h, w = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((w / 2, h / 2), degrees, 1.0)
    c, s = abs(matrix[0, 0]), abs(matrix[0, 1])
    size = round(h * s + w * c), round(h * c + w * s)
    matrix[:, 2] += (size[0] - w) / 2, (size[1] - h) / 2
    turned = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderValue=(fill,) * 3)
    return turned, {"degrees": degrees, "fill": fill}  # type: ignore[return-value]


def mirror(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """Left and right exchanged."""
    return picture[:, ::-1], {}


def colour_filter(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """One of a camera app's strong filters."""
    name = str(rng.choice(["duotone", "hue", "posterised", "burnt", "faded"]))
    values = picture.astype(np.float32) / 255
    luma = values @ np.array([0.299, 0.587, 0.114], np.float32)
    details: Details = {"filter": name}
    if name == "duotone":
        dark, light = rng.uniform(0, 0.35, 3), rng.uniform(0.65, 1, 3)
        out = dark + (light - dark) * luma[..., None]
    elif name == "hue":
        details["degrees"] = degrees = int(rng.integers(60, 301))
        hsv = cv2.cvtColor(values, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + degrees) % 360
        out = np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.float64)
    elif name == "posterised":
        levels = int(rng.integers(2, 5))
        out = np.round(values * levels) / levels
        details["levels"] = levels
    elif name == "burnt":
        out = luma[..., None] + (values - luma[..., None]) * rng.uniform(1.8, 2.6)
        out = 0.5 + (out - luma.mean()) * rng.uniform(1.6, 2.2)
    else:
        out = 0.35 + 0.5 * (0.4 * values + 0.6 * luma[..., None]) + rng.uniform(-0.15, 0.15, 3)
    return np.rint(np.clip(out, 0, 1) * 255).astype(np.uint8), details


def small(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """A small copy, its longer side 28-34 % of the other picture's longer side, somewhere in that picture."""
    ground = foreign()
    scale = max(picture.shape[:2]) / max(ground.shape[:2])
    ground = _resize(ground, ground.shape[1] * scale, ground.shape[0] * scale).copy()
    share = min(rng.uniform(0.28, 0.34), 0.9 * min(ground.shape[:2]) / max(ground.shape[:2]))
    copy = _resize(picture, picture.shape[1] * share, picture.shape[0] * share)
    h, w = copy.shape[:2]
    top, left = int(rng.integers(ground.shape[0] - h + 1)), int(rng.integers(ground.shape[1] - w + 1))
    ground[top : top + h, left : left + w] = copy
    return ground, {"box": [left, top, left + w, top + h]}


def emoji(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """One emoji of 40-60 % of the shorter side, or four to eight of 15-28 %, opaque."""
    page = Image.fromarray(picture)
    single = rng.random() < 0.5
    shares = rng.uniform(0.40, 0.60, 1) if single else rng.uniform(0.15, 0.28, rng.integers(4, 9))
    files = emoji_files()
    names = []
    for share in shares:
        path = files[rng.integers(len(files))]
        size = max(round(share * min(page.size)), 1)
        with Image.open(path) as drawing:
            stamp = drawing.convert("RGBA").resize((size, size), Image.Resampling.BICUBIC)
        place = int(rng.integers(page.width - size + 1)), int(rng.integers(page.height - size + 1))
        page.paste(stamp, place, stamp)
        names.append(path.stem)
    return np.array(page), {"emoji": names}


def jpeg(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """Compressed until blocks show: quality 4-12."""
    quality = int(rng.integers(4, 13))
    return through_file(picture, quality), {"quality": quality}


def blur(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """Gaussian blur of σ 3-6 units."""
    sigma = float(rng.uniform(3, 6))
    return cv2.GaussianBlur(picture, (0, 0), sigma * _unit(picture)), {"sigma": sigma}  # type: ignore[return-value]


def noise(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    """Gaussian noise of σ 35-60 grey levels, its grain one unit (one pixel in smaller pictures)."""
    sigma, (h, w) = float(rng.uniform(35, 60)), picture.shape[:2]
    grain = max(_unit(picture), 1)
    speckle = rng.standard_normal((round(h / grain) or 1, round(w / grain) or 1, 3), dtype=np.float32) * np.float32(
        sigma
    )
    noisy = picture + cv2.resize(speckle, (w, h), interpolation=cv2.INTER_NEAREST)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8), {"sigma": sigma}


KINDS: dict[str, Edit] = {
    "screenshot": screenshot,
    "meme": meme,
    "collage": collage,
    "crop": crop,
    "rotation": rotation,
    "mirror": mirror,
    "filter": colour_filter,
    "small": small,
    "emoji": emoji,
    "jpeg": jpeg,
    "blur": blur,
    "noise": noise,
}

# ---------------------------------------------------------------- the mild edits on top


def _mild_crop(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    cut, details = _crop(picture, rng, 0.80, 1.0, 0.1)
    return cut, {"crop": details["box"]}


def _mild_gains(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    gains = rng.uniform(0.7, 1.3, 3)
    return np.clip(np.rint(picture * gains), 0, 255).astype(np.uint8), {"gains": gains.round(3).tolist()}


def _mild_jpeg(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    quality = int(rng.integers(30, 81))
    return through_file(picture, quality), {"jpeg": quality}


def _mild_text(picture: Picture, rng: Rng, foreign: Foreign) -> tuple[Picture, Details]:
    page, u = Image.fromarray(np.ascontiguousarray(picture)), _unit(picture)
    text, font = _sentence(rng, int(rng.integers(2, 5))), _font(round(rng.uniform(12, 22) * u))
    x = rng.uniform(0, max(page.width - font.getlength(text), 1))
    y = rng.uniform(0.02, 0.9) * page.height
    white = bool(rng.random() < 0.6)
    ink, edge = ((255,) * 3, (0,) * 3) if white else ((0,) * 3, (255,) * 3)
    ImageDraw.Draw(page).text((x, y), text, ink, font, stroke_width=max(round(u), 1), stroke_fill=edge)
    return np.array(page), {"text": text}


MILD: tuple[Edit, ...] = (_mild_crop, _mild_gains, _mild_jpeg, _mild_text)
