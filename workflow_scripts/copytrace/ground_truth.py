"""The ground truth: which query was made from which reference (benchmark sheet, 1.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from copytrace.errors import InputError
from copytrace.suggestions import closest
from copytrace.tables import read_two_columns

PAIR = ["query_id", "reference_id"]


def read(path: str | Path) -> pd.DataFrame:
    """Read a ground truth CSV: `query_id, reference_id`, with "" for a query without source.

    The header is optional: of the Image Similarity Challenge's lists some have one and some have none. A pair
    that is given twice counts once. Raises InputError, also for a query that has both a source and none.
    """
    table = read_two_columns(path, "the ground truth", PAIR)
    table = table[~(table == PAIR).all(axis=1)]
    broken = table.index[table["query_id"] == ""]
    if broken.size:
        raise InputError(f"row {broken[0] + 1} of the ground truth {path} is not of the form query_id,reference_id")
    if positive_pairs(table).empty:
        raise InputError(f"the ground truth {path} names no pair: at least one query needs a source")
    table = table.drop_duplicates(ignore_index=True)
    without = table.loc[table["reference_id"] == "", "query_id"]
    contradicted = without[without.isin(positive_pairs(table)["query_id"])]
    if contradicted.size:
        first = repr(contradicted.iloc[0])
        several = (
            f"{contradicted.size} queries both that they have a source and that they have none; the first is {first}"
        )
        one = f"the query {first} both that it has a source and that it has none"
        raise InputError(f"the ground truth {path} says of {one if contradicted.size == 1 else several}")
    return table


def check(truth: pd.DataFrame, query_ids: Iterable[str], reference_ids: Iterable[str]) -> None:
    """Raise InputError if the ground truth names a query or a reference that is not among the pictures."""
    queries, references = list(query_ids), list(reference_ids)
    unknown = {
        "query": truth.loc[~truth["query_id"].isin(queries), "query_id"].drop_duplicates(),
        "reference": truth.loc[~truth["reference_id"].isin(["", *references]), "reference_id"].drop_duplicates(),
    }
    # A header of other words is unknown in both columns, and mostly nothing else is.
    if all(0 in names.index for names in unknown.values()):
        words = ",".join(truth.iloc[0])
        if unknown["query"].size == 1 or re.search("query.*,.*ref", words, re.IGNORECASE):
            raise InputError(
                f"the ground truth begins with {words!r}, which are no ids of pictures: if that is the header, it must "
                f"be {','.join(PAIR)} or left out"
            )
    for kind, kinds, ids in (("query", "queries", queries), ("reference", "references", references)):
        names = unknown[kind]
        if names.size:
            first = names.iloc[0]
            without_ending = first.rpartition(".")[0]
            meant = without_ending if without_ending in ids else closest(first, ids)
            several = f"{names.size} {kinds} that are not among the pictures; the first is {first!r}"
            one = f"a {kind} that is not among the pictures: {first!r}"
            raise InputError(
                f"the ground truth names {one if names.size == 1 else several}"
                f"{f', did you mean {meant!r}?' if meant else ''} "
                "(an id is the picture's path below its folder without the ending)"
            )


def positive_pairs(truth: pd.DataFrame) -> pd.DataFrame:
    """The rows of a ground truth that name a source."""
    return truth[truth["reference_id"] != ""].reset_index(drop=True)
