"""Noise and textures, in the statistics of photographs: the material that `scenes` is built from.

Lengths are in *units*: the longer side of a picture is 256 units, however many pixels it has. Every function
that draws takes a `Frame`, the piece of the picture to fill, so an object renders only its own rectangle.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

LONG_SIDE = 256  # units along the longer side of every picture
FIELD_SIDE = 512
FIELD_EXPONENTS = np.linspace(0.8, 1.7, 20)

Plane = NDArray[np.float32]  # [height, width], or [3, height, width] for colour: planar, one contiguous plane each
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Frame:
    """A rectangle of pixels: its corner and size in pixels, and the pixels per unit.

    With a `floor` (eye height, focal length, and x and y of the vanishing point, in units) textures lie on a
    plane seen in perspective instead of facing the camera.
    """

    left: int
    top: int
    width: int
    height: int
    unit: float
    floor: tuple[float, float, float, float] | None = None

    def matrix(self) -> NDArray[np.float64]:
        """The homography [3, 3] from pixel numbers (column, row, 1) to the texture's coordinates in units."""
        offset = np.array([(1, 0, self.left + 0.5), (0, 1, self.top + 0.5), (0, 0, self.unit)]) / self.unit
        if self.floor is None:
            return offset
        eye, focal, x, y = self.floor  # depth = eye / (row below the vanishing line)
        return np.array([(eye, x, -x * (eye + y)), (0, 0, eye * focal), (0, 1, -y)]) @ offset

    def axes(self) -> tuple[Plane, Plane]:
        """Coordinates of the pixel centres in units: x [1, width], with a floor full, and y [height, 1]."""
        matrix = self.matrix()
        column, row = np.arange(self.width)[None, :], np.arange(self.height)[:, None]
        if self.floor is None:
            x, y = matrix[0, 0] * column + matrix[0, 2], matrix[1, 1] * row + matrix[1, 2]
        else:
            depth = matrix[2, 1] * row + matrix[2, 2]
            x = (matrix[0, 0] * column + matrix[0, 1] * row + matrix[0, 2]) / depth
            y = matrix[1, 2] / depth
        return x.astype(np.float32), y.astype(np.float32)


@dataclass(frozen=True)
class Noise:
    """A view into one of the tiling noise fields: which, how coarse, how turned, and from where."""

    field: int
    scale: float
    angle: float
    x: float
    y: float


@dataclass(frozen=True)
class Texture:
    """Two colours, the pattern that mixes them, and the grain on top."""

    pattern: str
    colours: tuple[Colour, Colour]
    period: float
    angle: float
    warp: float
    grain: Noise
    mixing: Noise


PATTERNS = {"fractal": 0.42, "stripes": 0.16, "dots": 0.12, "bricks": 0.10, "plain": 0.12, "veins": 0.08}


def choose(rng: np.random.Generator, table: dict[str, float]) -> str:
    """One of the names of `table`, with its probability."""
    return str(rng.choice(list(table), p=list(table.values())))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number between `low` and `high` whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@lru_cache(maxsize=1)
def noise_fields() -> tuple[Plane, ...]:
    """Twenty tiling fields [512, 512] with amplitude spectra 1/f^a, a = 0.8 … 1.7, values 0.5 ± 0.2 in 0 … 1.

    Photographs have a near 1 (Field 1987). The fields are the same for every seed: what a seed chooses is
    where and how each is looked at.
    """
    frequency = np.hypot(np.fft.fftfreq(FIELD_SIDE)[:, None], np.fft.rfftfreq(FIELD_SIDE)[None, :])
    frequency[0, 0] = np.inf  # no mean
    fields = []
    for number, exponent in enumerate(FIELD_EXPONENTS):
        white = np.random.default_rng([1987, number]).standard_normal((FIELD_SIDE, FIELD_SIDE))
        field = np.fft.irfft2(np.fft.rfft2(white) * frequency**-exponent, s=(FIELD_SIDE, FIELD_SIDE))
        fields.append(np.clip(0.5 + 0.2 * field / field.std(), 0, 1).astype(np.float32))
    return tuple(fields)


def draw_noise(rng: np.random.Generator, scale: tuple[float, float] = (0.3, 2.0), smooth: bool = False) -> Noise:
    """A random view; `smooth` takes one of the five steepest spectra."""
    field = int(rng.integers(15 if smooth else 0, len(FIELD_EXPONENTS)))
    x, y = rng.uniform(0, FIELD_SIDE, 2)
    return Noise(field, log_uniform(rng, *scale), float(rng.uniform(0, 2 * np.pi)), float(x), float(y))


def sample_noise(noise: Noise, frame: Frame) -> Plane:
    """The view [height, width] of the noise through the frame, values 0 … 1."""
    c, s = np.cos(noise.angle) / noise.scale, np.sin(noise.angle) / noise.scale
    matrix = np.array([(c, -s, noise.x), (s, c, noise.y), (0, 0, 1)]) @ frame.matrix()
    field, size = noise_fields()[noise.field], (frame.width, frame.height)
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_WRAP
    if frame.floor is None:
        return cv2.warpAffine(field, matrix[:2], size, flags=flags, borderMode=border)  # type: ignore[return-value]
    return cv2.warpPerspective(field, matrix, size, flags=flags, borderMode=border)  # type: ignore[return-value]


def draw_hue(rng: np.random.Generator) -> float:
    """A hue in 0 … 1: two thirds are earth, plants, sky and water, as in photographs, the rest is free."""
    if rng.random() < 0.35:
        return float(rng.uniform())
    return float(rng.normal(*((0.09, 0.035), (0.28, 0.05), (0.58, 0.04))[rng.integers(3)])) % 1


def _draw_colour(rng: np.random.Generator, hue: float) -> tuple[float, float, float]:
    """Hue, saturation, value; what is both bright and saturated is rare outside of drawings."""
    saturation, value = float(rng.beta(1.6, 2.2)), float(rng.uniform(0.15, 0.95))
    return hue % 1, saturation * (1 - 0.35 * value), value


def draw_colours(rng: np.random.Generator, hue: float | None = None) -> tuple[Colour, Colour]:
    """Two colours: the first free or near `hue`, the second in 60 % of cases a darker neighbour of it."""
    hue = draw_hue(rng) if hue is None else hue + float(rng.normal(0, 0.03))
    first = _draw_colour(rng, hue)
    if rng.random() < 0.6:
        second = (hue + float(rng.normal(0, 0.04))) % 1, first[1], first[2] * float(rng.uniform(0.35, 0.8))
    else:
        second = _draw_colour(rng, draw_hue(rng))
    return colorsys.hsv_to_rgb(*first), colorsys.hsv_to_rgb(*second)


def draw_texture(rng: np.random.Generator, hue: float | None = None) -> Texture:
    """A random texture; `hue` (0 … 1) makes it share the hue of its scene."""
    pattern = choose(rng, PATTERNS)
    return Texture(
        pattern=pattern,
        colours=draw_colours(rng, hue),
        period=log_uniform(rng, 7, 36),
        angle=float(rng.uniform(0, np.pi)),
        warp=float(rng.uniform(0, 32)),
        grain=draw_noise(rng),
        mixing=draw_noise(rng) if pattern in ("fractal", "veins") else draw_noise(rng, (0.8, 3.0), smooth=True),
    )


def _pattern(texture: Texture, frame: Frame) -> Plane:
    """The share 0 … 1 of the second colour at each pixel [height, width]."""
    mixing = sample_noise(texture.mixing, frame)
    if texture.pattern == "fractal":
        return np.clip(2.2 * mixing - 0.6, 0, 1)
    if texture.pattern == "veins":
        other = sample_noise(texture.grain, frame)
        return np.clip(1.2 - 6 * np.abs(mixing - other), 0, 1)
    x, y = frame.axes()
    c, s = (
        np.float32(np.cos(texture.angle) / texture.period),
        np.float32(np.sin(texture.angle) / texture.period),
    )
    mixing -= 0.5
    mixing *= np.float32(texture.warp / texture.period)
    across = c * x + s * y + mixing
    along = c * y - s * x + mixing
    sharpness = np.float32(0.5 * texture.period * frame.unit)  # one pixel of anti-aliasing, whatever the period
    if texture.pattern == "stripes":
        return np.clip(0.5 + sharpness * (np.abs(across - np.round(across)) - 0.25), 0, 1)
    if texture.pattern == "dots":
        radius = np.hypot(across - np.round(across), along - np.round(along))
        return np.clip(0.5 + sharpness * (0.3 - radius), 0, 1)
    along *= 0.5  # bricks are twice as long as high, each course shifted by half a brick
    along += 0.5 * np.mod(np.round(across), 2)
    course, joint = np.abs(across - np.round(across)), 2 * np.abs(along - np.round(along))
    return np.clip(0.5 + sharpness * (np.maximum(course, joint - 0.5) - 0.43), 0, 1)


def render_texture(texture: Texture, frame: Frame) -> Plane:
    """The texture [3, height, width] in the frame, about 0 … 1 (the grain may overshoot)."""
    first, second = (np.array(colour, np.float32)[:, None, None] for colour in texture.colours)
    grain = sample_noise(texture.grain, frame)
    grain -= 0.5
    grain *= 0.5
    if texture.pattern == "plain":
        return first + grain
    out = (second - first) * _pattern(texture, frame)
    out += first
    out += grain
    return out


def shape_mask(outline: NDArray[np.float64], frame: Frame, blur: float) -> Plane:
    """How much of each pixel [height, width] a closed outline (corners [n, 2]) covers; blurs its edge."""
    mask = np.zeros((frame.height, frame.width), np.uint8)
    corners = np.round((outline * frame.unit - (frame.left + 0.5, frame.top + 0.5)) * 16).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, lineType=cv2.LINE_AA, shift=4)
    soft = mask.astype(np.float32)
    soft *= np.float32(1 / 255)
    return cv2.GaussianBlur(soft, (0, 0), max(blur * frame.unit, 0.3))  # type: ignore[return-value]


def bounding_frame(outline: NDArray[np.float64], whole: Frame, margin: float) -> Frame | None:
    """The part of `whole` within `margin` units of the outline, or None if the outline lies outside."""
    low = np.floor((outline.min(0) - margin) * whole.unit).astype(int)
    high = np.ceil((outline.max(0) + margin) * whole.unit).astype(int)
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    right, bottom = min(int(high[0]), whole.width), min(int(high[1]), whole.height)
    if right - left < 2 or bottom - top < 2:
        return None
    return Frame(left, top, right - left, bottom - top, whole.unit)


def gradient(first: Sequence[float], second: Sequence[float], share: Plane) -> Plane:
    """From colour `first` to `second` by `share` (0 … 1, any two-dimensional shape): [3, height, width]."""
    start, end = np.array(first, np.float32)[:, None, None], np.array(second, np.float32)[:, None, None]
    return start + (end - start) * share
