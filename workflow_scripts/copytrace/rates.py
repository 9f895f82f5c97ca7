"""Rates files: how fast a machine does each kind of work, where that was measured, and what the pictures are like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from copytrace import validation
from copytrace.bill import Rate
from copytrace.configuration import Config
from copytrace.errors import InputError
from copytrace.runtime import atomic_output


@dataclass(frozen=True)
class RatesFile:
    """What a rates file holds; `schemas/rates.schema.yaml` describes it key by key."""

    rates: Mapping[str, Rate]
    starts: Mapping[str, tuple[float, float]]
    pictures: Mapping[str, float]

    def holding_for(self, config: Config) -> Mapping[str, Rate]:
        """The rates whose settings are those of `config`."""
        return {kind: rate for kind, rate in self.rates.items() if rate.settings == settings_of(kind, config)}


def settings_of(kind: str, config: Config) -> dict[str, Any]:
    """The settings that a rate depends on, beside the amount of work."""
    kind, _, of = kind.partition(".")
    methods, detection = config["pretraining"], config["detection"]
    if kind == "views":
        return {"side": methods[of]["side"]}
    if kind in methods:
        return {"precision": methods[kind]["precision"]}
    chosen = {
        "render": {"side": config["synthesis"]["side"]},
        "batch": {"side": config["synthesis"]["side"]},
        "unedited": {"side": config["synthesis"]["side"]},
        "scenes": {"side": detection["side"], "scenes": detection["scenes"]},
        "canvas": {"side": detection["side"]},
        "proposals": config["parts"]["selective_search"],
        "faces": config["faces"],
        "local_features": config["verification"]["features"],
        "neighbours": {"kind": config["verification"]["index"]["kind"]},
        "verify": {"keypoints": config["verification"]["features"]["keypoints"]},
        "forward": {"precision": config["descriptors"]["precision"]},
        "train": {"precision": config["training"]["precision"]},
        "train_detector": {key: detection[key] for key in ("channels", "precision")},
        "detect": {key: detection[key] for key in ("channels", "precision")},
    }
    return dict(chosen.get(kind, {}))


def write_rates(path: str | Path, measured: RatesFile) -> None:
    """Write a rates file as YAML."""
    content = {
        "rates": {kind: asdict(rate) for kind, rate in measured.rates.items()},
        "starts": {script: {"seconds": seconds, "bytes": held} for script, (seconds, held) in measured.starts.items()},
        "pictures": dict(measured.pictures),
    }
    with atomic_output(path) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))


def read_rates(path: str | Path, schema: str | Path) -> RatesFile:
    """Read a rates file.

    Raises:
        InputError: it cannot be read, or is not as the schema says.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as broken:
        raise InputError(f"the rates file {path} cannot be read: {' '.join(str(broken).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"the rates file {path} is not a mapping with the keys rates, starts and pictures")
    try:
        validation.check_schema(content, yaml.safe_load(Path(schema).read_text(encoding="utf-8")))
    except InputError as mistake:
        raise InputError(f"the rates file {path}: {mistake}") from None
    return RatesFile(
        {kind: Rate(**rate) for kind, rate in content["rates"].items()},
        {script: (start["seconds"], start["bytes"]) for script, start in content["starts"].items()},
        content["pictures"],
    )
