"""A family's chain of edits: built from the configuration, applied to a picture (D²LV, sections 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from PIL.Image import Resampling

from copytrace.runtime import generator
from copytrace.synthesis.operations import OPERATIONS, Faithful, Operation, Scene
from copytrace.synthesis.plan import Settings, plan_chain


@dataclass(frozen=True)
class Step:
    """One link of a chain: an operation that happens with a probability."""

    name: str
    operation: Operation
    probability: float
    parameters: dict[str, Any]


def build_chain(base: Settings, family: str, delta: Settings, grey: bool, faithful: Faithful) -> list[Step]:
    """The steps of a family, in order: `plan.plan_chain`, which has the arguments and mistakes, with operations."""
    planned = plan_chain(base, family, delta, grey, faithful.partial_grey)
    return [Step(step.name, OPERATIONS[step.operation], step.probability, step.parameters) for step in planned]


def render_original(source: Image.Image, side: int, grey: bool) -> Image.Image:
    """Copy 0 of a class: the source (RGB) squashed to [side, side], bicubic, grey for the grey families."""
    image = source.resize((side, side), Resampling.BICUBIC)
    return image.convert("L").convert("RGB") if grey else image


def render_copy(
    source: Image.Image, chain: Sequence[Step], scene: Scene, seed_identity: tuple[object, ...]
) -> Image.Image:
    """One draw of the chain from the full-size source (RGB); equal `seed_identity`, equal pixels."""
    rng = generator(*seed_identity)
    image = source
    for step in chain:
        if rng.random() < step.probability:
            image = step.operation(image, rng, scene, **step.parameters)
    return image
