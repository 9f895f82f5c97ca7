"""A family's chain of edits as the configuration has it, checked: names, order, values (D²LV, sections 2.2, 2.3).

Standard library only: Snakemake checks the chains while it parses the workflow. `chain` carries them out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from copytrace.errors import InputError
from copytrace.suggestions import closest, hint

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """Of a parameter: a range [low, high] within these limits, or one number where `single`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    """`low` itself is too little."""
    single: bool = False
    whole: bool = False

    def admits(self, value: object) -> bool:
        """Whether a value of the configuration is of this form and within the limits."""
        numbers = [value] if self.single else value
        if not isinstance(numbers, list | tuple) or len(numbers) != (1 if self.single else 2):
            return False
        kinds = int if self.whole else (int, float)
        if not all(isinstance(number, kinds) and not isinstance(number, bool) for number in numbers):
            return False
        low, high = numbers[0], numbers[-1]
        return (low > self.low if self.above else low >= self.low) and low <= high <= self.high and math.isfinite(high)

    def __str__(self) -> str:
        number = "whole number" if self.whole else "number"
        bounds = [f"{'above' if self.above else 'not below'} {self.low:g}"] if self.low > -math.inf else []
        bounds += [f"not above {self.high:g}"] if self.high < math.inf else []
        form = f"one {number}" if self.single else f"a range [low, high] of {number}s"
        return " ".join([form, " and ".join(bounds)]).strip()


@dataclass(frozen=True)
class OperationForm:
    """What the configuration can say about an operation, and what follows from it."""

    parameters: Mapping[str, Limits] = field(default_factory=dict)
    size: Literal["keeps", "changes", "squashes"] = "keeps"
    """What becomes of the picture's size; `squashes`: it is `side` × `side` afterwards."""
    foreign: bool = False
    """It draws a foreign picture."""


_ANY, _SHARE, _POSITIVE, _FROM_0 = Limits(), Limits(0, 1), Limits(0, above=True), Limits(0)
_STRENGTH = Limits(0, single=True)
_LEAST = 1 / 16  # of a side of 16 pixels, the smallest that synthesis.side can be, one is left

#: Every operation of `operations.OPERATIONS`; limits are AugLy's and Pillow's, or where a value means nothing.
FORMS: dict[str, OperationForm] = {
    "resized_crop": OperationForm({"area": Limits(0, 1, above=True), "aspect": _POSITIVE}, size="squashes"),
    "rotation": OperationForm({"degrees": _ANY}),
    "pixelisation": OperationForm({"ratio": Limits(_LEAST, 1)}),
    "pixel_shuffling": OperationForm({"fraction": _SHARE}),
    "perspective": OperationForm({"sigma": _FROM_0}),
    "padding": OperationForm({"width": _FROM_0, "height": _FROM_0}, size="changes"),
    "paste_foreign": OperationForm({"scale": _FROM_0, "x": _ANY, "y": _ANY}, foreign=True),
    "colour_jitter": OperationForm(
        {
            "brightness": _STRENGTH,
            "contrast": _STRENGTH,
            "saturation": _STRENGTH,
            "hue": Limits(0, 0.5, single=True),
        }
    ),
    "gaussian_blur": OperationForm({"radius": _FROM_0}),
    "greyscale": OperationForm(),
    "horizontal_flip": OperationForm(),
    "emoji": OperationForm({"opacity": _SHARE, "size": _SHARE, "x": _SHARE, "y": _SHARE}),
    "text": OperationForm(
        {
            "length": Limits(0, whole=True),
            "glyphs": Limits(1, 1020, single=True, whole=True),  # AugLy's default font has 1,020
            "opacity": _SHARE,
            "size": _SHARE,
            "x": _SHARE,
            "y": _SHARE,
        }
    ),
    "colourise": OperationForm(),
    "solarise": OperationForm(),
    "darken": OperationForm({"factor": _FROM_0}),
    "blend_foreign": OperationForm({"weight": _SHARE}, size="squashes", foreign=True),
    "onto_background": OperationForm({"enlarge": Limits(_LEAST), "x": _ANY, "y": _ANY}, size="changes", foreign=True),
    "resize": OperationForm(size="squashes"),
}

#: Operations that leave everything where it is in the picture: boxes in it stay true.
STILL = (
    "pixelisation",
    "colour_jitter",
    "gaussian_blur",
    "greyscale",
    "text",
    "colourise",
    "solarise",
    "darken",
)


@dataclass(frozen=True)
class Step:
    """One link of a chain: the name of an operation, how likely it is, and its parameters."""

    name: str
    operation: str
    probability: float
    parameters: dict[str, Any]


def plan_chain(base: Settings, family: str, delta: Settings, grey: bool, partial_grey: bool) -> list[Step]:
    """The steps of a family, in order.

    Args:
        base: the section `synthesis.chain`: `order`, a list of step names, and `steps`, a mapping of each name to
            its probability, its parameters and, where it differs from the name, its `operation`.
        family: its name, for messages.
        delta: the section `family_table.FAMILY.chain`, what the family does otherwise: `remove` a list of steps,
            `insert` steps (with a step to stand `before` or `after`), `set` values of steps.
            `published_grey` says where the published script turns a grey family grey: {before | after |
            replace: step}.
        grey: whether the family is grey: its last step then is greyscale and the random one is gone, unless
            `partial_grey` asks for the published position.
        partial_grey: the switch `synthesis.faithful.partial_grey`.

    Raises:
        InputError: a key, step, operation or parameter that does not exist, or a value out of range.
    """
    where = f"family_table.{family}.chain"
    for key in delta:
        if key not in ("insert", "remove", "set", "published_grey"):
            raise InputError(f"{where}.{key} is unknown: give insert, remove, set or published_grey")
    order = list(base["order"])
    twice = next((name for name in order if order.count(name) > 1), None)
    if twice:
        raise InputError(
            f"synthesis.chain.order names {twice} twice: give the second a name and an operation of its own"
        )
    steps = {}
    for name in order:
        if name not in base["steps"]:
            raise InputError(
                f"synthesis.chain.order names {name}, which is not in synthesis.chain.steps; "
                f"{hint(name, base['steps'])}"
            )
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
        _place_grey(order, delta.get("published_grey", {}) if partial_grey else {}, where)
    return [plan_step(name, steps[name], f"step {name} of family {family}") for name in order]


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
        raise InputError(f"{where} needs either before or after, with the name of a step")
    if name in order:
        raise InputError(f"{where}: the chain has a step of this name: choose another and give its operation")
    position = _position(order, settings[places[0]], where)
    order.insert(position + (places[0] == "after"), name)


def _position(order: Sequence[str], name: str, where: str) -> int:
    if name not in order:
        raise InputError(f"{where}: the chain has no step {name}; {hint(str(name), order)}")
    return order.index(name)


def plan_step(name: str, settings: Settings, where: str) -> Step:
    """One step, checked against its operation's form; `where` begins the sentence of an InputError."""
    parameters = dict(settings)
    operation = str(parameters.pop("operation", name))
    probability = parameters.pop("probability", 1.0)
    if operation not in FORMS:
        raise InputError(f"{where}: there is no operation {operation}; {hint(operation, FORMS)}")
    if not Limits(0, 1, single=True).admits(probability):
        raise InputError(f"{where}: probability {probability} is not between 0 and 1")
    wanted = FORMS[operation].parameters
    for key in parameters:
        if key not in wanted:
            known = ", ".join(wanted) or "no parameters"
            meant = closest(str(key), [*wanted, "probability", "operation"])
            question = f"; did you mean {meant}?" if meant else ""
            raise InputError(f"{where}: {operation} has no parameter {key}, it takes {known}{question}")
    for key, limits in wanted.items():
        if key not in parameters:
            raise InputError(f"{where}: {operation} needs the parameter {key}, {limits}")
        if not limits.admits(parameters[key]):
            raise InputError(f"{where}: {key} is {parameters[key]}, but should be {limits}")
    return Step(name, operation, probability, parameters)


def check_sizes(steps: Sequence[Step], where: str) -> None:
    """Raise InputError unless every draw of the steps ends at side × side: a batch has one size."""
    wrong: str | None = "the original size"
    for step in steps:
        effect = FORMS[step.operation].size
        if effect == "changes" and step.probability > 0:
            wrong = f"the size that {step.name} gives it"
        elif effect == "squashes" and step.probability == 1:
            wrong = None
    if wrong:
        raise InputError(f"{where} can leave a picture at {wrong}: end with the step resize, of probability 1")
