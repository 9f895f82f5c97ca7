"""Descriptor files as the Image Similarity Challenge wants them (benchmark sheet, 1.4).

The submission format holds both sides: `query` and `reference`, float32 [n, d], with `query_ids` and `reference_ids`,
bytes; rows sorted by id, at most 256 dimensions. The working format of the organisers' tool holds one side, `vectors`
float32 [n, d] and `image_names` bytes, perhaps in several files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from copytrace.descriptor_files import new_file
from copytrace.errors import InputError

#: Most dimensions that the contest allows.
DIMENSIONS = 256

SIDES = ("query", "reference")
ENDINGS = (".jpg", ".png")


@dataclass(frozen=True)
class Side:
    """The pictures of one side: `ids` [n], and `vectors` float32 [n, d] in the same order."""

    ids: Sequence[str]
    vectors: np.ndarray

    def sorted(self) -> Side:
        """The same by id, in the order of their bytes."""
        order = np.argsort(np.array([name.encode() for name in self.ids], dtype=object), kind="stable")
        return Side([self.ids[row] for row in order], self.vectors[order])


def write_submission(path: str | Path, queries: Side, references: Side) -> None:
    """Write the submission format, sorted by id. InputError for what the contest would refuse; see `check`."""
    sides = dict(zip(SIDES, (queries, references)))
    for name, side in sides.items():
        check(side, f"the {name} descriptors", DIMENSIONS)
    _check_widths(queries, references)
    with new_file(path) as file:
        for name, side in sides.items():
            ordered = side.sorted()
            file[name] = ordered.vectors
            file[f"{name}_ids"] = _as_bytes(ordered.ids)


def read_submission(path: str | Path) -> tuple[Side, Side]:
    """Queries and references of a file in the submission format. InputError if it is none, or one to be refused."""
    queries, references = (
        _read(path, name, f"{name}_ids", f"the {name} descriptors of {path}", DIMENSIONS) for name in SIDES
    )
    _check_widths(queries, references)
    return queries, references


def write_working(path: str | Path, side: Side) -> None:
    """Write one side in the working format.

    InputError for an id that would be another one when read again: readers cut folders and a .jpg or .png off it.
    """
    check(side, f"the descriptors for {path}")
    changed = [name for name in side.ids if _id_of(name) != name]
    if changed:
        raise InputError(
            f"{len(changed)} ids cannot be written to {path}, the first is {changed[0]!r}: whoever reads them cuts "
            "folders and the endings .jpg and .png off"
        )
    with new_file(path) as file:
        file["vectors"] = side.vectors
        file["image_names"] = _as_bytes(side.ids)


def read_working(paths: Sequence[str | Path]) -> Side:
    """One side of files in the working format, one after the other; an id is a name without folder and ending."""
    sides = [_read(path, "vectors", "image_names", f"the descriptors of {path}") for path in paths]
    widths = {side.vectors.shape[1] for side in sides}
    if len(widths) > 1:
        raise InputError(f"{paths[0]} and the files with it have different numbers of dimensions: {sorted(widths)}")
    joined = Side([_id_of(name) for side in sides for name in side.ids], np.concatenate([s.vectors for s in sides]))
    check(joined, f"the descriptors of {', '.join(map(str, paths))}")
    return joined


def check(side: Side, what: str, most: int | None = None) -> None:
    """Raise InputError, which calls the side `what`, unless every row has an id of its own and finite numbers.

    `most`: dimensions that are allowed.
    """
    if side.vectors.ndim != 2:
        raise InputError(f"{what} are no table: one row per picture is wanted")
    if most is not None and side.vectors.shape[1] > most:
        raise InputError(f"{what} have {side.vectors.shape[1]} dimensions, but at most {most} are allowed")
    if len(side.ids) != len(side.vectors):
        raise InputError(f"{what} are {len(side.vectors)} vectors, but there are {len(side.ids)} ids")
    if not all(side.ids):
        raise InputError(f"{what} have a row without an id: row {list(side.ids).index('')}")
    seen: set[str] = set()
    again = next((name for name in side.ids if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
    if again is not None:
        raise InputError(f"{what} have the id {again!r} more than once")
    broken = np.flatnonzero(~np.isfinite(side.vectors).all(axis=1))
    if len(broken):
        raise InputError(
            f"{what} have numbers that are not finite in {len(broken)} rows; the first is that of "
            f"{side.ids[broken[0]]!r}"
        )


def check_ids(side: Side, wanted: Iterable[str], what: str) -> None:
    """Raise InputError, which calls the side `what`, unless its ids are exactly those `wanted`."""
    there, wanted = set(side.ids), set(wanted)
    for names, sentence in ((wanted - there, "lack"), (there - wanted, "are not wanted to have")):
        if names:
            raise InputError(f"{what} {sentence} {len(names)} ids; the first is {min(names)!r}")


def _check_widths(queries: Side, references: Side) -> None:
    of_queries, of_references = (side.vectors.shape[1] for side in (queries, references))
    if of_queries != of_references:
        raise InputError(
            f"queries have {of_queries} dimensions and references {of_references}: they cannot be compared"
        )


def _read(path: str | Path, vectors: str, ids: str, what: str, most: int | None = None) -> Side:
    with _opened(path) as file:
        for name in (vectors, ids):
            if name not in file:
                raise InputError(f"{path} has no data set {name}, only {', '.join(file) or 'nothing at all'}")
        if h5py.check_string_dtype(file[ids].dtype) is None:
            raise InputError(f"the data set {ids} of {path} does not hold names")
        side = Side(list(file[ids].asstr("utf-8")[:]), file[vectors][:].astype(np.float32, copy=False))
    check(side, what, most)
    return side


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except OSError as broken:
        raise InputError(f"{path} cannot be read as HDF5: {broken}") from None
    with file:
        yield file


def _id_of(name: str) -> str:
    name = name.rpartition("/")[2]
    return name[:-4] if name.endswith(ENDINGS) else name


def _as_bytes(ids: Sequence[str]) -> np.ndarray:
    return np.array([name.encode() for name in ids], dtype=bytes)
