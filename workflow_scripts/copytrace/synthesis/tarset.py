"""A training set on disk: tar shards that WebDataset reads, each with an index for random access."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from copytrace.errors import InputError

INDEX_TYPES = {"class_id": "int32", "copy": "int16", "shard": "str", "offset": "int64", "size": "int32"}


def write_shard(path: Path, shard: str, copies: Iterable[tuple[int, int, bytes]]) -> pd.DataFrame:
    """Write `(class_id, copy, JPEG)` in the order given as an uncompressed tar at `path`; returns its index.

    Members are called `{class:07d}_{copy:03d}.jpg`, a WebDataset sample each, and carry neither time nor
    owner, so that equal pictures make equal bytes. The index has one row per member: `class_id, copy,
    shard, offset, size`, where `shard` is the name the file will have and the JPEG is the `size` bytes from
    `offset` on.
    """
    rows = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for class_id, copy, picture in copies:
            member = tarfile.TarInfo(f"{class_id:07d}_{copy:03d}.jpg")
            member.size = len(picture)
            rows.append((class_id, copy, shard, tar.offset + tarfile.BLOCKSIZE, len(picture)))
            tar.addfile(member, io.BytesIO(picture))
    return pd.DataFrame(rows, columns=list(INDEX_TYPES)).astype(INDEX_TYPES)


class TrainingSet:
    """Random access to the copies of a training set; usable in forked and spawned workers alike.

    `index` is the table of all shards (`class_id, copy, shard, offset, size`), ordered by class and copy; a
    `row` is a position in it.
    """

    def __init__(self, index_paths: Sequence[str | Path]):
        """Read the index tables; each shard's tar has to lie beside its table.

        Raises:
            InputError: a tar is missing or cut off, or the tables hold no copy.
        """
        tables = []
        for path in map(Path, index_paths):
            table = pd.read_parquet(path)
            ends = (table["offset"] + table["size"]).groupby(table["shard"]).max()
            for shard, end in ends.items():
                tar = path.parent / str(shard)
                if not tar.is_file():
                    raise InputError(f"{tar} is missing: make the training set again.")
                if tar.stat().st_size < end:
                    raise InputError(f"{tar} is cut off: delete it and run the same command again")
            tables.append(table.assign(path=table["shard"].map({s: str(path.parent / s) for s in ends.index})))
        if not tables or not sum(map(len, tables)):
            raise InputError("The training set is empty: lower synthesis.class_stride or add training pictures.")
        index = pd.concat(tables).sort_values(["class_id", "copy"], kind="stable", ignore_index=True)
        self._paths = index.pop("path").to_numpy()
        self.index = index
        self.classes, self._starts = np.unique(index["class_id"].to_numpy(), return_index=True)
        self._offsets, self._sizes = index["offset"].to_numpy(), index["size"].to_numpy()
        self._files: dict[str, int] = {}

    @property
    def tars(self) -> list[str]:
        """The files that hold the copies."""
        return sorted(set(self._paths))

    def __len__(self) -> int:
        """Number of copies."""
        return len(self.index)

    def copies_of(self, class_id: int) -> np.ndarray:
        """Rows of a class's copies, copy 0 (the picture itself) first; int64 [copies].

        Raises:
            KeyError: the class does not exist.
        """
        position = int(np.searchsorted(self.classes, class_id))
        if position == len(self.classes) or self.classes[position] != class_id:
            raise KeyError(class_id)
        ends = self._starts[position + 1] if position + 1 < len(self.classes) else len(self)
        return np.arange(self._starts[position], ends)

    def read(self, row: int) -> bytes:
        """The JPEG of one copy."""
        path = self._paths[row]
        if path not in self._files:
            self._files[path] = os.open(path, os.O_RDONLY)
        # pread leaves the file's position alone, which forked workers share.
        return os.pread(self._files[path], int(self._sizes[row]), int(self._offsets[row]))

    def __getstate__(self) -> dict[str, object]:
        """Without the open files, which mean nothing in another process."""
        return self.__dict__ | {"_files": {}}

    def close(self) -> None:
        """Close the tar files; a later read opens them again."""
        while self._files:
            os.close(self._files.popitem()[1])
