"""Settings that ask for more pictures than there are. Standard library only."""

from __future__ import annotations

import math
from typing import Any

from copytrace.errors import InputError


def check(demand: dict[str, Any], pictures: dict[str, int]) -> None:
    """Raise InputError for the first setting that the numbers of pictures can't meet.

    `demand` comes from `configuration.demand`; `pictures` is {role: number}. Pictures that turn out to be
    unreadable and faces that are found later are not known yet: what is refused here is refused for certain.
    """
    for role, number in pictures.items():
        if demand["shards"][role] > number:
            raise InputError(
                f"images.shards.{role} asks for {demand['shards'][role]} jobs, but there are only {number} pictures"
            )
    training = pictures["training"]
    sampled = min(demand["samples"], training)
    if demand["dimensions"] >= sampled:
        found = "there are only" if sampled == training else "whitening.samples takes only"
        raise InputError(
            f"whitening.dimensions is {demand['dimensions']} and needs more training pictures than that, "
            f"but {found} {sampled}"
        )
    role = "pretraining" if "pretraining" in pictures else "training"
    for key, batch in demand["pretraining_batches"].items():
        if batch > pictures[role]:
            raise InputError(f"{key} is {batch}, but there are only {pictures[role]} {role} pictures")
    if "pairs" in pictures and demand["pairs_per_batch"] > pictures["pairs"] // 2:
        raise InputError(
            f"training.classes_per_batch is {demand['pairs_per_batch']}, but the pairs to train on have only "
            f"{pictures['pairs']} pictures"
        )
    classes = -(-training // demand["class_stride"])
    for key, wanted in (
        ("training.classes_per_batch", demand["classes_per_batch"]),
        ("synthesis.shards", demand["synthesis_shards"]),
    ):
        if wanted > classes:
            raise InputError(
                f"{key} is {wanted}, but with synthesis.class_stride {demand['class_stride']} "
                f"only {classes} of {training} training pictures are classes"
            )
    background = sampled if demand["background"] == "sample" else training
    left = min(background, training - classes) if demand["exclude_trained"] else background
    if demand["neighbours"] > left:
        reason = " that matching.exclude_trained leaves in it" if left < background else ""
        raise InputError(
            f"matching.neighbours is {demand['neighbours']}, "
            f"but the background has only {left} training pictures{reason}"
        )
    if demand["rows_per_query"] * pictures["queries"] < 1:
        raise InputError(
            f"ensembling.rows_per_query is {demand['rows_per_query']}, which for {pictures['queries']} queries is not "
            "even one row"
        )
    check_trial_pictures(demand["trial_pictures"], min(demand["background_pictures"], training), training)
    if demand["held_out"] is not None:
        check_held_out(demand["held_out"], pictures.get("backgrounds", training))


def check_trial_pictures(sizes: dict[str, int], background: int, training: int) -> None:
    """Raise InputError unless there are training pictures for all parts of fitting, beside those in the background."""
    wanted, left = sum(sizes.values()), training - background
    if wanted > left:
        raise InputError(
            f"verification.fitting asks for {wanted} training pictures ({', '.join(sizes)}), but beside the "
            f"{background} of verification.background_pictures there are only {left}"
        )


def held_out(share: float, count: int) -> int:
    """How many of `count` pictures are kept apart to measure the overlay detector with."""
    return math.ceil(share * count)


def check_held_out(share: float, count: int) -> None:
    """Raise InputError unless a scene can be made of each part: a background and a picture to lay on it."""
    apart = held_out(share, count)
    if min(apart, count - apart) < 2:
        raise InputError(
            f"detection.held_out is {share}: of {count} pictures {apart} would be held out and {count - apart} left to "
            "train with, but scenes need 2 of each"
        )
