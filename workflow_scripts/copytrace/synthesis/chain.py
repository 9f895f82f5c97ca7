"""A family's chain of edits, applied to a picture (D²LV, sections 2.2, 2.3)."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from PIL.Image import Resampling

from copytrace.runtime import generator
from copytrace.synthesis.operations import OPERATIONS, Scene
from copytrace.synthesis.plan import Step


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
            image = OPERATIONS[step.operation](image, rng, scene, **step.parameters)
    return image
