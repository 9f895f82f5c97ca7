"""Synthetic scenes for the overlay detector: pictures and emoji pasted on a picture, boxes and classes known.

The generator of the published training set was not published (D²LV sheet, 5.2); this one is ours. A scene is a
crop of a background, sometimes with things that look like a paste and are none, on which crops of other pictures and
emoji are laid one after the other. A box encloses what can still be seen of a paste at the end.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from PIL.Image import Resampling

from copytrace import counts
from copytrace.runtime import generator
from copytrace.synthesis.foreign import ForeignPictures, load_rgb
from copytrace.synthesis.operations import EMOJI, OPERATIONS, Range, Scene
from copytrace.synthesis.plan import plan_step

CLASSES = ("overlay", "emoji")
TRIES = 10  # places tried for a paste before it is left out
SPLIT = (0.3, 0.7)  # where a collage's two pictures meet, as a share of the side
FRAME_WIDTH = (0.01, 0.08)  # of the scene's longer side
OUTLINE_WIDTH = (0.003, 0.02)  # likewise
OUTLINE_SIZE = (0.1, 0.7)  # of the scene's width and height


@dataclass(frozen=True)
class SceneSettings:
    """The section `detection.scenes` of the configuration; pairs are ranges to draw from uniformly."""

    aspect: Range
    crop: Range
    distractors: Mapping[str, float]
    pictures: Mapping[str, Any]
    emoji: Mapping[str, Any]
    overhang: float
    visible: float
    edits: Mapping[str, Mapping[str, Any]]
    quality: tuple[int, int]


class Labelled(NamedTuple):
    """A scene with what was pasted on it."""

    picture: np.ndarray
    """uint8 [h, w, 3], the longer side being the detector's."""
    boxes: np.ndarray
    """float32 [n, 4], (x0, y0, x1, y1) in pixels, exclusive ends."""
    labels: np.ndarray
    """int64 [n], positions in `CLASSES`."""


class Layer(NamedTuple):
    """Something to be pasted."""

    picture: Image.Image
    """RGBA; transparent are the corners of a turned picture and what an emoji leaves free."""
    mask: np.ndarray
    """bool [h, w], where it is at least half opaque: what its box has to enclose."""
    opacity: float
    """Of the whole, in [0, 1]."""


def pools(count: int, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of `count` things (pictures, emoji) to train with and of those held out, both int64 and rising.

    Raises:
        InputError: one of the two would have too few, see `counts.check_held_out`.
    """
    counts.check_held_out(held_out, count)
    order = generator(seed, "detection", "held out", count).permutation(count)
    apart = counts.held_out(held_out, count)
    return np.sort(order[apart:]), np.sort(order[:apart])


@dataclass
class SceneRenderer:
    """Draws scenes by number; plain data, so that worker processes can have it.

    `identity` is what the draws depend on beside a scene's number; `emoji` are paths of PNGs.
    """

    identity: tuple[object, ...]
    pictures: ForeignPictures
    emoji: Sequence[str]
    side: int
    settings: SceneSettings

    def __call__(self, number: int) -> Labelled:
        """Scene `number`, the same whenever it is asked for."""
        rng = generator(*self.identity, number)
        canvas, boxes, labels = self.compose(rng)
        scene = Scene(self.side, 1.0, _no_foreign)
        for name, values in self.settings.edits.items():
            step = plan_step(name, values, "detection.scenes.edits")
            if rng.random() < step.probability:
                canvas = OPERATIONS[step.operation](canvas, rng, scene, **step.parameters)
        low, high = self.settings.quality
        return Labelled(_through_jpeg(canvas, int(rng.integers(low, high + 1))), boxes, labels)

    def compose(self, rng: Generator) -> tuple[Image.Image, np.ndarray, np.ndarray]:
        """Background and pastes, before the scene as a whole is edited: picture, boxes, labels."""
        path = self.pictures.paths[int(rng.integers(len(self.pictures.paths)))]
        foreign = self.pictures.without(path)
        ratio = math.exp(rng.uniform(*np.log(self.settings.aspect)))
        size = max(1, round(self.side * min(ratio, 1))), max(1, round(self.side / max(ratio, 1)))
        canvas = cut(load_rgb(path), rng, self.settings.crop, size)
        canvas = add_distractors(canvas, rng, self.settings.distractors, foreign)

        kinds = [label for label, kind in enumerate(CLASSES) for _ in range(self._count(rng, kind))]
        visible: list[np.ndarray] = []  # per paste bool [h, w]
        areas: list[int] = []
        labels: list[int] = []
        for label in rng.permutation(np.array(kinds, dtype=np.int64)).tolist():
            layer = self._emoji(rng, canvas) if CLASSES[label] == "emoji" else self._picture(rng, canvas, foreign(rng))
            place = self._place(rng, layer, canvas.size, visible, areas)
            if place is None:
                continue
            mask = on_canvas(layer.mask, place, canvas.size)
            alpha = layer.picture.getchannel("A").point(lambda level, by=layer.opacity: round(level * by))
            canvas.paste(layer.picture.convert("RGB"), place, alpha)
            visible = [seen & ~mask for seen in visible] + [mask]
            areas.append(int(layer.mask.sum()))
            labels.append(label)
        boxes = np.array([enclosing(seen) for seen in visible], np.float32).reshape(-1, 4)
        return canvas, boxes, np.array(labels, np.int64)

    def _count(self, rng: Generator, kind: str) -> int:
        low, high = (self.settings.emoji if kind == "emoji" else self.settings.pictures)["count"]
        return int(rng.integers(low, high + 1))

    def _picture(self, rng: Generator, canvas: Image.Image, picture: Image.Image) -> Layer:
        """A crop of a picture, squashed by up to `aspect`, of the drawn size."""
        of = self.settings.pictures
        ratio = picture.width / picture.height * math.exp(rng.uniform(*np.log(of["aspect"])))
        size = _within(canvas.size, ratio, rng.uniform(*of["size"]))
        crop = cut(picture, rng, of["crop"], size)
        return self._turned(rng, crop.convert("RGBA"), of)

    def _emoji(self, rng: Generator, canvas: Image.Image) -> Layer:
        of = self.settings.emoji
        with Image.open(self.emoji[int(rng.integers(len(self.emoji)))]) as file:
            emoji = file.convert("RGBA")
        size = _within(canvas.size, emoji.width / emoji.height, rng.uniform(*of["size"]))
        return self._turned(rng, emoji.resize(size, Resampling.BICUBIC), of)

    def _turned(self, rng: Generator, layer: Image.Image, of: Mapping[str, Any]) -> Layer:
        """`layer` (RGBA) turned with the probability `turned`, with an opacity."""
        if rng.random() < of["turned"]:
            layer = layer.rotate(rng.uniform(*of["degrees"]), Resampling.BICUBIC, expand=True)
        return Layer(layer, np.asarray(layer.getchannel("A")) >= 128, rng.uniform(*of["opacity"]))

    def _place(
        self,
        rng: Generator,
        layer: Layer,
        size: tuple[int, int],
        visible: Sequence[np.ndarray],
        areas: Sequence[int],
    ) -> tuple[int, int] | None:
        """Where the layer's top left corner goes so that enough is seen of it and of all under it; None: nowhere.

        It may hang over each side of the canvas (`size`: width, height).
        """
        least, area = self.settings.visible, int(layer.mask.sum())
        ranges = []
        for side, drawn in zip(size, layer.picture.size):
            over = self.settings.overhang * drawn
            ends = -over, side - drawn + over
            ranges.append((min(ends), max(ends)))  # turned, it can be larger than the canvas
        for _ in range(TRIES):
            x, y = (round(rng.uniform(*between)) for between in ranges)
            mask = on_canvas(layer.mask, (x, y), size)
            left = [(seen & ~mask).sum() for seen in visible]
            if 0 < least * area <= mask.sum() and all(n >= least * whole for n, whole in zip(left, areas)):
                return x, y
        return None


def add_distractors(
    canvas: Image.Image, rng: Generator, probabilities: Mapping[str, float], foreign: Any
) -> Image.Image:
    """What looks like the edge of a paste and is none: a second picture beside the first, a frame, an outline.

    `probabilities`: of `collage`, `frame` and `outline`, each on its own. `foreign`: draws another picture.
    """
    width, height = canvas.size
    if rng.random() < probabilities["collage"]:
        share, beside = rng.uniform(*SPLIT), bool(rng.integers(2))
        corner = (round(share * width), 0) if beside else (0, round(share * height))
        size = max(1, width - corner[0]), max(1, height - corner[1])
        canvas.paste(cut(foreign(rng), rng, (0.5, 1.0), size), corner)
    pen = ImageDraw.Draw(canvas)
    if rng.random() < probabilities["frame"]:
        line = max(1, round(rng.uniform(*FRAME_WIDTH) * max(canvas.size)))
        pen.rectangle((0, 0, width - 1, height - 1), outline=_colour(rng), width=line)
    if rng.random() < probabilities["outline"]:
        line = max(1, round(rng.uniform(*OUTLINE_WIDTH) * max(canvas.size)))
        w, h = (rng.uniform(*OUTLINE_SIZE) * side for side in canvas.size)
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        pen.rectangle((x, y, x + w, y + h), outline=_colour(rng), width=line)
    return canvas


def cut(picture: Image.Image, rng: Generator, share: Range, size: tuple[int, int]) -> Image.Image:
    """A random box of the aspect of `size`, resized to it (bicubic).

    `share`: of the largest such box in the picture, how much the drawn one has of its area.
    """
    scale = min(picture.width / size[0], picture.height / size[1]) * math.sqrt(rng.uniform(*share))
    w, h = (max(1, int(side * scale)) for side in size)
    x, y = int(rng.integers(picture.width - w + 1)), int(rng.integers(picture.height - h + 1))
    return picture.crop((x, y, x + w, y + h)).resize(size, Resampling.BICUBIC)


def on_canvas(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A mask [h, w] laid with its top left corner at `corner` on an empty one of `size` (width, height)."""
    out = np.zeros(size[::-1], bool)
    (x, y), (height, width) = corner, mask.shape
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, size[0]), min(y + height, size[1])
    if left < right and top < bottom:
        out[top:bottom, left:right] = mask[top - y : bottom - y, left - x : right - x]
    return out


def enclosing(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The smallest box (x0, y0, x1, y1), exclusive ends, around what is set in a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _within(size: tuple[int, int], ratio: float, share: float) -> tuple[int, int]:
    """The box of width / height `ratio` that takes `share` of the sides of the largest one that fits in `size`."""
    width = share * min(size[0], size[1] * ratio)
    return max(1, round(width)), max(1, round(width / ratio))


def _colour(rng: Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(256, size=3).tolist()
    return red, green, blue


def _through_jpeg(picture: Image.Image, quality: int) -> np.ndarray:
    """As a query comes: edges of pastes lie under the same compression as the rest."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def _no_foreign(_: Generator) -> Image.Image:
    raise RuntimeError("the edits of a scene use no foreign pictures")


def training_and_held_out(
    paths: Sequence[str], side: int, settings: SceneSettings, held_out: float, seed: int
) -> tuple[SceneRenderer, SceneRenderer]:
    """Scenes to train with and scenes to measure with: they share no picture and no emoji.

    Args:
        paths: the pictures that scenes are made of.
        side: longer side of a scene, pixels.
        settings: how scenes look.
        held_out: share of the pictures, and of the emoji, that is kept apart.
        seed: the configuration's.

    Raises:
        InputError: one of the two would have too few pictures.
    """
    renderers = []
    for purpose, chosen, emoji in zip(
        ("training", "held out"), pools(len(paths), held_out, seed), pools(len(EMOJI), held_out, seed), strict=True
    ):
        pictures = ForeignPictures([paths[position] for position in chosen])
        smileys = [EMOJI[position] for position in emoji]
        renderers.append(SceneRenderer((seed, "detection", purpose), pictures, smileys, side, settings))
    return renderers[0], renderers[1]
