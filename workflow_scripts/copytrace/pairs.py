"""Pairs of a query and its reference that are known before, for the second submission (D²LV sheet, 4.4 and 6.6)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from copytrace.errors import InputError
from copytrace.provenance import file_digest
from copytrace.tables import read_two_columns

HEADER = ["query", "reference"]


def read(path: str | Path) -> pd.DataFrame:
    """A CSV of pairs, `query,reference`: two paths per line, absolute or relative to the CSV's folder.

    Returns the paths with that folder before them, each pair once. Raises InputError if it is no such file, has no
    pair, or pairs a picture with itself.
    """
    what = "the list of pairs"
    table = read_two_columns(path, what, HEADER)
    if table.iloc[0].tolist() != HEADER:
        raise InputError(f"{what} {path} does not begin with the line {','.join(HEADER)}")
    table = table.iloc[1:]
    if table.empty:
        raise InputError(f"{what} {path} names no pair")
    blank = table.index[(table == "").any(axis=1)]
    if blank.size:
        raise InputError(f"row {blank[0] + 1} of {what} {path} is not of the form {','.join(HEADER)}")
    table = table.map(lambda name: str(Path(path).parent / name))
    real = table.map(os.path.realpath)
    alike = real.index[real["query"] == real["reference"]]
    if alike.size:
        raise InputError(f"row {alike[0] + 1} of {what} {path} pairs {table['query'][alike[0]]} with itself")
    return table.drop_duplicates(ignore_index=True)


def class_table(pairs: pd.DataFrame, readable: Iterable[str]) -> pd.DataFrame:
    """The pictures to train on: `class_id` (0 … n − 1), `copy` (0 … in each class) and `path`.

    A pair of `pairs` (see `read`) with a picture that is not `readable` is left out. Pairs that share a picture are
    one class: in two classes it would be its own hardest negative. Classes, and pictures in them, stand in the
    order of the pairs.
    """
    used = pairs[pairs.isin(set(readable)).all(axis=1)]
    paths = pd.Series(used[HEADER].to_numpy().ravel(), dtype=str)
    picture = pd.factorize(paths.map(os.path.realpath))[0]
    first, second = picture.reshape(-1, 2).T
    # A picture's label is the number of the first picture that pairs lead to from it.
    label = np.arange(picture.max(initial=-1) + 1)
    while (label[first] != label[second]).any():
        least = np.minimum(label[first], label[second])
        np.minimum.at(label, first, least)
        np.minimum.at(label, second, least)
    once = ~pd.Series(picture).duplicated().to_numpy()
    classes = pd.DataFrame({"class_id": pd.factorize(label[picture[once]])[0], "path": paths[once].to_numpy()})
    classes = classes.sort_values("class_id", kind="stable", ignore_index=True)
    classes.insert(1, "copy", classes.groupby("class_id").cumcount())
    return classes


def check_leakage(queries: Iterable[str], pictures: Iterable[str]) -> None:
    """Raise InputError if one of the queries is also one of the pictures in pairs: the same file, or equal bytes.

    Both are paths. Only files of equal size are read. A file that cannot be looked at is left to be rejected later.
    """
    files, sizes = {}, defaultdict(list)
    for picture in pictures:
        files[os.path.realpath(picture)] = picture
        if size := _size(picture):
            sizes[size].append(picture)

    @cache
    def digest(path: str) -> str:
        try:
            return file_digest(path)
        except OSError:
            return path  # equal to no other

    found = []
    for query in queries:
        again = files.get(os.path.realpath(query))
        alike = [] if again else sizes.get(_size(query), [])
        again = again or next((picture for picture in alike if digest(picture) == digest(query)), None)
        if again:
            found.append((query, again))
    if found:
        query, picture = found[0]
        queries, it = (f"{len(found)} queries are", "the first is") if len(found) > 1 else ("1 query is", "it is")
        raise InputError(
            f"{queries} also in images.training_pairs, so that models trained on pairs would know the "
            f"answer; {it} {query}, in a pair as {picture}"
        )


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
