"""A family's chain of edits: built from the configuration, applied to a picture (D²LV, sections 2.2, 2.3)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from PIL import Image
from PIL.Image import Resampling

from copytrace.runtime import InputError, generator
from copytrace.synthesis.operations import OPERATIONS, Faithful, Operation, Scene

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One link of a chain: an operation that happens with a probability."""

    name: str
    operation: Operation
    probability: float
    parameters: dict[str, Any]


def build_chain(base: Settings, family: str, delta: Settings, grey: bool, faithful: Faithful) -> list[Step]:
    """The steps of a family, in order.

    Args:
        base: the section `synthesis.chain`: `order`, a list of step names, and `steps`, a mapping of each
        name to its
            probability, its parameters and, where it differs from the name, its `operation`.
        family: its name, for messages. delta: the section `family_table.FAMILY.chain`, what the family does
        otherwise: `remove` a list of steps,
            `insert` steps (with a step to stand `before` or `after`), `set` values of steps.
            `published_grey` says where the published script turns a grey family grey: {before | after |
            replace: step}.
        grey: whether the family is grey: its last step then is greyscale and the random one is gone, unless
            `faithful.partial_grey` asks for the published position.
        faithful: the switches.

    Raises:
        InputError: a key, step, operation or parameter that does not exist, or a value out of range.
    """
    where = f"family_table.{family}.chain"
    for key in delta:
        if key not in ("insert", "remove", "set", "published_grey"):
            raise InputError(f"{where}.{key} is unknown: give insert, remove, set or published_grey.")
    order = list(base["order"])
    steps = {}
    for name in order:
        if name not in base["steps"]:
            raise InputError(f"synthesis.chain.order names {name}, which synthesis.chain.steps lacks: add it there.")
        steps[name] = dict(base["steps"][name])
    for name in delta.get("remove", ()):
        del order[_position(order, name, f"{where}.remove")]
    for name, settings in delta.get("insert", {}).items():
        _insert(order, name, settings, f"{where}.insert.{name}")
        steps[name] = {key: value for key, value in settings.items() if key not in ("before", "after")}
    for name, settings in delta.get("set", {}).items():
        _position(order, name, f"{where}.set")
        steps[name] |= settings
    if grey:
        steps["grey"] = {"operation": "greyscale", "probability": 1.0}
        _place_grey(order, delta.get("published_grey", {}) if faithful.partial_grey else {}, where)
    return [_step(name, steps[name], f"step {name} of family {family}") for name in order]


def _place_grey(order: list[str], published: Settings, where: str) -> None:
    """Put the step `grey` where the published script has it, or at the end; the random greyscale goes."""
    if "replace" in published:
        order[_position(order, published["replace"], f"{where}.published_grey")] = "grey"
    elif published:
        _insert(order, "grey", published, f"{where}.published_grey")
    else:
        order.append("grey")
    if "greyscale" in order:
        order.remove("greyscale")


def _insert(order: list[str], name: str, settings: Settings, where: str) -> None:
    places = [key for key in ("before", "after") if key in settings]
    if len(places) != 1:
        raise InputError(f"{where} needs either before or after, with the name of a step.")
    if name in order:
        raise InputError(f"{where}: the chain has a step of this name: choose another and give its operation.")
    position = _position(order, settings[places[0]], where)
    order.insert(position + (places[0] == "after"), name)


def _position(order: Sequence[str], name: str, where: str) -> int:
    if name not in order:
        raise InputError(f"{where}: the chain has no step {name}; it has {', '.join(order)}.")
    return order.index(name)


def _step(name: str, settings: Settings, where: str) -> Step:
    """Check one step's settings against its operation's parameters."""
    parameters = dict(settings)
    operation_name = parameters.pop("operation", name)
    probability = parameters.pop("probability", 1.0)
    if operation_name not in OPERATIONS:
        raise InputError(f"{where}: there is no operation {operation_name}; choose from {', '.join(OPERATIONS)}.")
    if not 0 <= probability <= 1:
        raise InputError(f"{where}: probability {probability} is not between 0 and 1.")
    operation = OPERATIONS[operation_name]
    wanted = [p.name for p in inspect.signature(operation).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if sorted(wanted) != sorted(parameters):
        raise InputError(
            f"{where}: {operation_name} takes {', '.join(wanted) or 'no parameters'}, "
            f"but {', '.join(parameters) or 'nothing'} was given."
        )
    hints = get_type_hints(operation)
    for key, value in parameters.items():
        if hints[key] in (int, float):
            if not isinstance(value, int | float):
                raise InputError(f"{where}: {key} is {value}, but should be one number.")
        elif not isinstance(value, list | tuple) or len(value) != 2 or value[0] > value[1]:
            raise InputError(f"{where}: {key} is {value}, but should be a range [low, high].")
    return Step(name, operation, probability, parameters)


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
