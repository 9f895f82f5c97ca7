"""Descriptor and whitening files: how descriptors lie on disk between the stages.

Descriptor file (HDF5): `image_ids` [n], `parts` int16 [n], and per model a group MODEL with `vectors/SCALE` [n, d],
float32 or float16, which are read as float32; the group's attributes name the weights, their digest and the
preprocessing. Whitening file: groups MODEL/SCALE with `mean` [d] and `matrix` [d, k]. Normalisation file: MODEL/SCALE,
float32 [n]. Loads no torch: the matching stage reads these files without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pandas as pd

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.whitening import Whitening

# Rows read at a time: 400 MB where a row has 1,500 dimensions.
BLOCK_ROWS = 65_536

Vectors = Mapping[tuple[str, int], np.ndarray]  # (model, scale) → [n, d]
Storage = Literal["float32", "float16"]


def write_descriptors(
    path: str | Path,
    parts: pd.DataFrame,
    vectors: Vectors,
    attributes: Mapping[str, Mapping[str, str]],
    storage: Storage = "float32",
) -> None:
    """Write a descriptor file; `parts` holds the rows that `vectors` describe, `attributes` those of each model."""
    with new_file(path) as file:
        file.create_dataset("image_ids", data=list(parts.image_id), dtype=h5py.string_dtype())
        file["parts"] = parts.part.to_numpy(np.int16)
        for model, named in attributes.items():
            file.create_group(model).attrs.update(named)
        for (model, scale), block in vectors.items():
            file[f"{model}/vectors/{scale}"] = block.astype(storage, copy=False)


@contextmanager
def new_file(path: str | Path) -> Iterator[h5py.File]:
    """An HDF5 file that becomes `path`. Through a file of Python: HDF5's own crash on a full disk."""
    with (
        runtime.atomic_output(path) as temporary,
        temporary.open("wb+") as stream,
        h5py.File(stream, "w") as file,
    ):
        yield file


def read_rows(paths: Sequence[str]) -> pd.DataFrame:
    """The described rows of descriptor files, one after the other: `image_id, part`."""
    tables = []
    for path in paths:
        with open_descriptors(path) as file:
            tables.append(pd.DataFrame({"image_id": file["image_ids"].asstr()[:], "part": file["parts"][:]}))
    return pd.concat(tables, ignore_index=True)


def count_rows(path: str) -> int:
    """How many rows a descriptor file has."""
    with open_descriptors(path) as file:
        return len(file["parts"])


def read_vectors(path: str, model: str, scale: int) -> np.ndarray:
    """One model's descriptors of one file and scale: float32 [n, d]."""
    with open_descriptors(path) as file:
        return file[f"{model}/vectors/{scale}"][:].astype(np.float32, copy=False)


def read_blocks(path: str, model: str, scale: int) -> Iterator[np.ndarray]:
    """The same a block of rows at a time, each at most `BLOCK_ROWS`, so that the largest file fits."""
    with open_descriptors(path) as file:
        vectors = file[f"{model}/vectors/{scale}"]
        for start in range(0, len(vectors), BLOCK_ROWS):
            yield vectors[start : start + BLOCK_ROWS].astype(np.float32, copy=False)


def read_chosen(paths: Sequence[str], model: str, scale: int, chosen: np.ndarray) -> np.ndarray:
    """Those rows of some files, one after the other, for which `chosen` [all rows] is true: float32 [k, d].

    Beside them no more than two blocks are held.
    """
    with open_descriptors(paths[0]) as file:
        dimensions = file[f"{model}/vectors/{scale}"].shape[1]
    vectors = np.empty((np.count_nonzero(chosen), dimensions), np.float32)
    filled = 0
    for block in read_chosen_blocks(paths, model, scale, chosen):
        vectors[filled : filled + len(block)] = block
        filled += len(block)
    return vectors


def read_chosen_blocks(paths: Sequence[str], model: str, scale: int, chosen: np.ndarray) -> Iterator[np.ndarray]:
    """The same a block of rows at a time, each at most `BLOCK_ROWS`."""
    row = 0
    for path in paths:
        for block in read_blocks(path, model, scale):
            yield block[chosen[row : row + len(block)]]
            row += len(block)


def open_descriptors(path: str) -> h5py.File:
    """Open a descriptor file for reading; a truncated one is an InputError that names it."""
    try:
        return h5py.File(path, "r")
    except OSError as broken:
        raise InputError(f"{path} can't be read ({broken}): delete it and run the same command again") from None


def write_whitening(path: str | Path, whitenings: Mapping[tuple[str, int], Whitening]) -> None:
    """Write the whitening of every (model, scale) of a unit: groups MODEL/SCALE with `mean` and `matrix`."""
    with new_file(path) as file:
        for (model, scale), whitening in whitenings.items():
            file[f"{model}/{scale}/mean"] = whitening.mean
            file[f"{model}/{scale}/matrix"] = whitening.matrix


def read_whitening(path: str, model: str, scale: int) -> Whitening:
    """The whitening of one model and scale."""
    with open_descriptors(path) as file:
        group = file[f"{model}/{scale}"]
        return Whitening(group["mean"][:], group["matrix"][:])


def write_bias(path: str | Path, bias: Mapping[tuple[str, int], np.ndarray]) -> None:
    """Write what score normalisation subtracts from each described row: MODEL/SCALE, float32 [n]."""
    with new_file(path) as file:
        for (model, scale), values in bias.items():
            file[f"{model}/{scale}"] = values


def read_bias(paths: Sequence[str], model: str, scale: int) -> np.ndarray:
    """The same of several files, one after the other: float32 [n]."""
    values = []
    for path in paths:
        with open_descriptors(path) as file:
            values.append(file[f"{model}/{scale}"][:])
    return np.concatenate(values)
