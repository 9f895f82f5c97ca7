"""All copies of a class, and all classes of a shard, as JPEGs (D²LV, sections 2.1 and 4.4 of the fact sheet)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
from PIL import Image

from copytrace.runtime import Throughput, in_processes
from copytrace.synthesis.chain import render_copy, render_original
from copytrace.synthesis.foreign import ForeignPictures, load_rgb
from copytrace.synthesis.operations import Faithful, Scene
from copytrace.synthesis.plan import Step, plan_chain


@dataclass
class Renderer:
    """Makes the copies of a class; plain data, so that worker processes can have it."""

    seed: int
    family: str
    grey: bool
    chain: list[Step]
    backgrounds: ForeignPictures
    side: int
    scale: float
    foreign_side: float | None
    faithful: Faithful
    copies: int
    quality: int

    @classmethod
    def from_settings(
        cls,
        seed: int,
        family: str,
        synthesis: dict[str, Any],
        family_settings: dict[str, Any],
        backgrounds: ForeignPictures,
    ) -> Renderer:
        """From the sections `synthesis` and `family_table.FAMILY` of the configuration.

        Raises:
            InputError: the chain has a mistake, see `plan_chain`.
        """
        faithful = Faithful(**synthesis["faithful"])
        grey = family_settings.get("grey", False)
        chain = plan_chain(synthesis["chain"], family, family_settings.get("chain", {}), grey, faithful.partial_grey)
        side, reference = synthesis["side"], synthesis["reference_side"]
        return cls(
            seed=seed,
            family=family,
            grey=grey,
            chain=chain,
            backgrounds=backgrounds,
            side=side,
            scale=side / reference if reference else 1.0,
            foreign_side=synthesis["foreign_side"],
            faithful=faithful,
            copies=synthesis["copies"],
            quality=synthesis["quality"],
        )

    def __call__(self, row: tuple[int, str]) -> list[tuple[int, int, bytes]]:
        """From `(class_id, path)` to `(class_id, copy, JPEG)`: the picture itself, then the chain's draws."""
        class_id, path = row
        source = load_rgb(path)
        foreign = self.backgrounds.without(path)
        scene = Scene(self.side, self.scale, foreign, self.foreign_side, self.faithful)
        pictures = [render_original(source, self.side, self.grey)]
        for copy in range(1, self.copies + 1):
            identity = (self.seed, "synthesis", self.family, class_id, copy)
            pictures.append(render_copy(source, self.chain, scene, identity))
        return [(class_id, copy, _jpeg(picture, self.quality)) for copy, picture in enumerate(pictures)]


def render_classes(renderer: Renderer, classes: pd.DataFrame, processes: int) -> Iterator[tuple[int, int, bytes]]:
    """`(class_id, copy, JPEG)` of all copies of the `classes` (`class_id, path`), in order."""
    rows = list(zip(classes["class_id"].tolist(), classes["path"].tolist()))
    with Throughput("copies", processes, len(rows) * (1 + renderer.copies)) as done:
        for copies in in_processes(renderer, rows, processes):
            yield from copies
            done.add(len(copies))


def render_unedited(
    classes: pd.DataFrame, side: int, grey: bool, quality: int, processes: int
) -> Iterator[tuple[int, int, bytes]]:
    """`(class_id, copy, JPEG)` of `classes` (`class_id, copy, path`), each as copy 0 of a synthesised class is made."""
    work = partial(_squashed, side=side, grey=grey, quality=quality)
    with Throughput("pictures", processes, len(classes)) as done:
        pictures = in_processes(work, classes["path"].tolist(), processes)
        for class_id, copy, picture in zip(classes["class_id"].tolist(), classes["copy"].tolist(), pictures):
            yield class_id, copy, picture
            done.add()


def _squashed(path: str, side: int, grey: bool, quality: int) -> bytes:
    return _jpeg(render_original(load_rgb(path), side, grey), quality)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
