"""Which rows or files a job handles. Standard library only: the rules ask, too."""

from __future__ import annotations

from collections.abc import Sequence


def shard_bounds(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """Rows [start, stop) of shard `shard` of `shards`: ⌊iN/n⌋ … ⌊(i+1)N/n⌋."""
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} of {shards} does not exist")
    return shard * rows // shards, (shard + 1) * rows // shards


def shard_of(files: Sequence[str], shard: int, shards: int) -> Sequence[str]:
    """The files of shard `shard` of `shards`: neighbours."""
    return files[slice(*shard_bounds(len(files), shard, shards))]
