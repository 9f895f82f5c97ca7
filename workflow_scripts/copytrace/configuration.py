"""What the configuration says, looked up and checked beyond what its schema can.

Standard library only: Snakemake calls this while it parses the workflow.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from copytrace.runtime import InputError

Config = dict[str, Any]


def uses_sample(config: Config) -> bool:
    """Whether the pictures are the built-in sample: no picture source is named."""
    return not any(config["images"][role] for role in ("training", "references", "queries"))


def training_of(config: Config, family: str) -> dict[str, Any]:
    """The section `training` as it holds for a family: its steps times the table's `steps_factor`."""
    factor = config["family_table"][family].get("steps_factor", 1)
    return config["training"] | {"steps": round(config["training"]["steps"] * factor)}


def units_of(config: Config, family: str) -> dict[str, list[str]]:
    """The units of a family: {unit: its models}; a model is named FAMILY.BACKBONE."""
    models = [f"{family}.{backbone}" for backbone in config["backbones"]]
    if config["descriptors"]["unit"] == "family":
        return {family: models}
    return {model: [model] for model in models}


def preprocessing_of(config: Config, model: str, role: str) -> dict[str, Any]:
    """Grey and blur flags of a model for pictures of a role (D²LV sheet, 5.4 and E9)."""
    family = config["family_table"][model.split(".", 1)[0]]
    return {
        "grey": family["grey"],
        "blur": family["query_blur" if role in ("queries", "validation") else "blur"],
        "blur_reference_side": config["descriptors"]["blur_reference_side"],
    }


def check(config: Config) -> None:
    """Raise InputError with one sentence for the first value that can't work with the others."""
    _check_names(config, "families", "family_table")
    _check_names(config, "backbones", "backbone_table")
    for name in config["evaluation"]["untrained_families"]:
        if name not in config["family_table"]:
            raise InputError(f"evaluation.untrained_families names {name}, which is not in family_table")
    for name in config["tiles"]["families"]:
        if name not in config["families"]:
            raise InputError(f"tiles.families names {name}, which is not among families: its models are not made")
    for scale in config["tiles"]["scales"]:
        if scale not in config["scales"]:
            raise InputError(f"tiles.scales names {scale}, which is not among scales: queries are not described at it")
    for key in ("vote", "tile_vote"):
        wanted, there = config["ensembling"][key], len(config["backbones"])
        if wanted > there:
            raise InputError(f"ensembling.{key} asks for {wanted} agreeing backbones, but backbones names {there}")
    for name in config["backbones"]:
        weights = config["backbone_table"][name]["weights"]
        if weights["source"] == "file" and not weights.get("path"):
            raise InputError(f"backbone_table.{name}.weights has source file, but no path")
    for name in config["evaluation"]["untrained_families"]:
        if training_of(config, name)["steps"]:
            raise InputError(f"evaluation.untrained_families names {name}, whose steps_factor is not 0: it is trained")
    if config["tiles"]["families"] and not config["tiles"]["scales"]:
        raise InputError("tiles.scales is empty: name a scale, or leave tiles out by an empty tiles.families")
    for key in ("parts", "tiles"):
        if config[key]["kinds"][0] != "whole":
            raise InputError(f"{key}.kinds must begin with whole: part 0 of every picture is the picture itself")
    for kind in config["parts"]["kinds"]:
        if kind not in config["ensembling"]["penalties"]:
            raise InputError(
                f"ensembling.penalties has no penalty for parts of the kind {kind}, which parts.kinds names"
            )
    images = config["images"]
    missing = [role for role in ("training", "references", "queries") if not images[role]]
    if missing and not uses_sample(config):
        raise InputError(f"images.{missing[0]} is not set: name all of training, references and queries, or none")
    results = Path(config["results"]).resolve()
    for role in ("training", "references", "queries", "backgrounds"):
        source = Path(os.path.expandvars(images[role])).resolve() if images[role] else None
        if source and source.is_dir() and results.is_relative_to(source):
            raise InputError(
                f"results ({results}) lies in the folder of images.{role}: its own pictures would be found"
            )
    if uses_sample(config) and (images["backgrounds"] or images["ground_truth"]):
        raise InputError("images.backgrounds and images.ground_truth go with pictures of your own, not with the sample")


def _check_names(config: Config, key: str, table: str) -> None:
    names = config[key]
    for name in names:
        if name not in config[table]:
            raise InputError(f"{key} names {name}, which is not in {table} ({', '.join(config[table])})")
    if len(set(names)) != len(names):
        raise InputError(f"{key} names {next(n for n in names if names.count(n) > 1)} twice")
