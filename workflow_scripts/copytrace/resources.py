"""What a job asks a cluster for. Standard library only: Snakemake asks for every job."""

from __future__ import annotations


def grown(first: int, attempt: int, limit: int) -> int:
    """What a job asks for at its `attempt`, counted from 1: twice as much each time, never more than `limit`.

    A job that the cluster ended for taking too much memory or time is tried again with more; one that asks for more
    than any node has would wait for ever.
    """
    return min(first * 2 ** (attempt - 1), limit)
