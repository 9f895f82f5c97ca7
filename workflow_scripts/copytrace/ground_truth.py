"""The ground truth: which query was made from which reference (benchmark sheet, 1.2)."""

from __future__ import annotations

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
        raise InputError(
            f"the ground truth {path} says of {contradicted.size} queries both that they have a source and that they "
            f"have none; the first is {contradicted.iloc[0]!r}"
        )
    return table


def check(truth: pd.DataFrame, query_ids: Iterable[str], reference_ids: Iterable[str]) -> None:
    """Raise InputError if the ground truth names a query or a reference that is not among the pictures."""
    references = truth.loc[truth["reference_id"] != "", "reference_id"]
    for kind, named, known in (
        ("queries", truth["query_id"], query_ids),
        ("references", references, reference_ids),
    ):
        ids = list(known)
        unknown = named[~named.isin(ids)].drop_duplicates()
        if unknown.size:
            first = unknown.iloc[0]
            without_ending = first.rpartition(".")[0]
            meant = without_ending if without_ending in ids else closest(first, ids)
            raise InputError(
                f"the ground truth names {unknown.size} {kind} that are not among the pictures; the first is "
                f"{first!r}{f', did you mean {meant!r}?' if meant else ''} "
                "(an id is the picture's path below its folder without the ending)"
            )


def positive_pairs(truth: pd.DataFrame) -> pd.DataFrame:
    """The rows of a ground truth that name a source."""
    return truth[truth["reference_id"] != ""].reset_index(drop=True)
