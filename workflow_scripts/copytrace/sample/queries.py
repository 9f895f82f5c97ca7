"""Who copies whom: the plans of the sample's queries and of copies of given pictures, and their files."""

from __future__ import annotations

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from copytrace import runtime
from copytrace.sample.edits import KINDS, Picture
from copytrace.sample.jpeg import encode
from copytrace.sample.scenes import photograph_positions


@dataclass(frozen=True)
class Query:
    """One query: the kind of edit (None: as it is) and the picture it starts from.

    One of the three numbers is given: of the reference it is a copy of, of the reference it is another view
    of, or of a picture that has nothing to do with the references.
    """

    kind: str | None
    source: int | None = None
    look_alike_of: int | None = None
    unrelated: int | None = None


def sample_queries(seed: int, count: int, references: int) -> list[Query]:
    """The sample's plan: half copies (each kind equally often), a sixth look-alikes, the rest unrelated.

    Half of the unrelated ones are edited like the copies. Sources and look-alikes are different references
    while there are enough; look-alikes are of scenes, never of photographs. Shuffled: an id tells nothing.
    """
    copies, look_alikes = count // 2, count // 6
    rng = runtime.generator(seed, "queries", count, references)
    photographs = photograph_positions(seed, references)
    order = rng.permutation(references)
    sources = np.resize(order, copies)
    # From the other end of the same order: a look-alike's original has a copy, too, only if it must.
    views = np.resize([number for number in order[::-1] if number not in photographs], look_alikes)
    kinds = list(KINDS)
    rest = count - copies - look_alikes
    queries = [Query(kinds[i % len(kinds)], source=int(source)) for i, source in enumerate(sources)]
    queries += [Query(None, look_alike_of=int(view)) for view in views]
    queries += [Query(kinds[i // 2 % len(kinds)] if i % 2 else None, unrelated=i) for i in range(rest)]
    return [queries[i] for i in rng.permutation(count)]


def copy_queries(seed: int, copies: int, sources: int, without_source: int = 0, unrelated: int = 0) -> list[Query]:
    """The plan for given pictures: copies of evenly spread sources, kinds in turn, and queries without one.

    `sources` and `unrelated` are how many pictures there are to choose from; every second query without a
    source is edited, the others stay as they are. Shuffled.
    """
    rng = runtime.generator(seed, "copies", copies, sources, without_source, unrelated)
    kinds = list(KINDS)
    queries = [
        Query(kinds[i % len(kinds)], source=int(source))
        for i, source in enumerate(rng.permutation(_spread(rng, copies, sources)))
    ]
    queries += [
        Query(kinds[i // 2 % len(kinds)] if i % 2 else None, unrelated=int(number))
        for i, number in enumerate(rng.permutation(_spread(rng, without_source, unrelated)))
    ]
    return [queries[i] for i in rng.permutation(len(queries))]


def _spread(rng: np.random.Generator, count: int, of: int) -> np.ndarray:
    """`count` numbers below `of`, equally far apart from a random start; repeated if there are too few."""
    return ((np.arange(count) + rng.random()) * max(of / max(count, 1), 1)).astype(int) % max(of, 1)


# ---------------------------------------------------------------- files


def save(picture: Picture, path: Path) -> None:
    """Write a picture (uint8 RGB) as a JPEG of the sample's quality."""
    path.write_bytes(encode(picture))


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A temporary sibling that replaces `path` if the block ends without an error.

    What a killed writer of `path` left is removed first. NoRoom if the disk is full.
    """
    with runtime.room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(glob.escape(f".{path.name}.") + "????????"):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            if path.exists():
                shutil.rmtree(path)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def query_id(number: int) -> str:
    """The id, and file name without ending, of a query."""
    return f"Q{number:05d}"


def write_truth(
    queries: list[Query],
    references: Callable[[int], str],
    details: list[dict[str, Any]],
    ground_truth: Path,
    edits: Path,
) -> None:
    """Write the ground truth and the list of edits; `references` gives the id of a reference's number.

    Ground truth: `query_id,reference_id`, every query, an empty reference_id for those without a source.
    Edits: `query_id,reference_id,kind,details,look_alike_of`, details as JSON, kind empty where unedited.
    """

    def name(number: int | None) -> str:
        return "" if number is None else references(number)

    table = pd.DataFrame(
        {
            "query_id": [query_id(i) for i in range(len(queries))],
            "reference_id": [name(query.source) for query in queries],
            "kind": [query.kind or "" for query in queries],
            "details": [json.dumps(entry) for entry in details],
            "look_alike_of": [name(query.look_alike_of) for query in queries],
        }
    )
    with runtime.atomic_output(ground_truth) as temporary:
        table[["query_id", "reference_id"]].to_csv(temporary, index=False)
    with runtime.atomic_output(edits) as temporary:
        table.to_csv(temporary, index=False)


def write_pairs(queries: list[Query], folder: Path, references: list[str], path: Path) -> None:
    """Write `query,reference` for each query with a source: paths relative to the CSV's folder.

    `folder` holds the queries; `references` are the paths by number.
    """
    files = [
        (folder / f"{query_id(number)}.jpg", references[query.source])
        for number, query in enumerate(queries)
        if query.source is not None
    ]
    table = pd.DataFrame([[os.path.relpath(file, path.parent) for file in pair] for pair in files])
    with runtime.atomic_output(path) as temporary:
        table.to_csv(temporary, index=False, header=["query", "reference"])
