"""What a run has come to, in a sentence or two: its lists, and the pictures that could not be used.

The standard library alone: Snakemake loads it with the workflow.
"""

from __future__ import annotations

import csv
from collections.abc import Container
from pathlib import Path


def outcome(results: str, made: Container[str]) -> list[str]:
    """One sentence on the lists, one on rejected pictures; those of which `made`, paths of files, has something."""

    def has(name: str) -> bool:
        return f"{results}/{name}" in made and Path(results, name).is_file()

    lists = [f"{results}/matching.csv (the ranked list)"] if has("matching.csv") else []
    if has("matching_second.csv"):
        lists.append(f"{results}/matching_second.csv (with models of known pairs)")
    if has("matches.csv"):
        decisions = [row["decision"] for row in _rows(results, "matches.csv")]
        called, pairs = decisions.count("true"), len(decisions)
        copies = "is called a copy" if called == 1 else "are called copies"
        evidence = f", evidence in {results}/report/matches" if has("report/matches/copies.png") else ""
        lists.append(
            f"{results}/matches.csv (verified: {called:,} of {pairs:,} {_plural('pair', pairs)} {copies}{evidence})"
        )
    if has("descriptors.h5"):
        lists.append(f"{results}/descriptors.h5 (the descriptor track)")
    said = [f"The results are {lists[0]}" + "".join(f",\n  {name}" for name in lists[1:]) + "."] if lists else []
    if has("images/rejected.csv"):
        rejected = len(_rows(results, "images/rejected.csv"))
        if rejected:
            verb = "was" if rejected == 1 else "were"
            said.append(
                f"{rejected:,} {_plural('picture', rejected)} {verb} rejected, {results}/images/rejected.csv says why."
            )
        elif lists:
            said.append("No picture was rejected.")
    return said


def _rows(results: str, name: str) -> list[dict[str, str]]:
    with Path(results, name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _plural(thing: str, count: int) -> str:
    return thing if count == 1 else f"{thing}s"
