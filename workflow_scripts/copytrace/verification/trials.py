"""Trial queries, whose truth is known: what the fusion is fitted to and its decision is set on (section 5).

Some pictures that are no references, the originals, play them. Trial queries are edited copies of originals, other
pictures edited the same way, and mined look-alikes: of a pool of pictures those whose local features find some
original most alike. Look-alikes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import cv2
import faiss
import numpy as np
import pandas as pd

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.imaging import load_image
from copytrace.sample.jpeg import through_file
from copytrace.verification import edits
from copytrace.verification.candidates import VoteSettings, find_candidates
from copytrace.verification.edits import Copy, Picture
from copytrace.verification.features import Features

#: Larger pictures are reduced to this longer side before they are edited: features need less (section 3).
LONGER_SIDE = 1024


class Trial(NamedTuple):
    """A query before it is made.

    Attributes:
        query_id: its name.
        reference_id: the original that it is a copy of; "" where there is none.
        role: one of `calibration.ROLES`.
        kind: of edit, one of `edits.KINDS`; "" for none.
        path: the picture that it is made from.
    """

    query_id: str
    reference_id: str
    role: str
    kind: str
    path: str


def divide(pictures: pd.DataFrame, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Disjoint parts of some pictures, of these sizes, drawn at random: rows of the table, in the order of the draw.

    Raises InputError if there are fewer pictures than that.
    """
    wanted = sum(sizes.values())
    if wanted > len(pictures):
        raise InputError(f"{wanted} pictures are wanted ({', '.join(sizes)}), but there are only {len(pictures)}")
    drawn = pictures.iloc[rng.permutation(len(pictures))]
    ends = np.cumsum(list(sizes.values()))
    return {name: drawn[end - size : end] for (name, size), end in zip(sizes.items(), ends)}


def mine(
    pool: pd.DataFrame, described: Iterable[Features], index: faiss.Index, votes: VoteSettings, count: int
) -> pd.DataFrame:
    """The `count` pictures of a pool that local features find most like some original, the most alike first.

    `described` are the features of the pool's pictures, in its order; `index` that of the originals. Pictures are
    compared by the votes of their best candidate; equal ones keep the pool's order.
    """
    found = (find_candidates(index, picture, votes).votes for picture in described)
    strongest = np.array([best.max() if len(best) else 0.0 for best in found])
    return pool.iloc[np.argsort(-strongest, kind="stable")[:count]]


def plan(originals: pd.DataFrame, negatives: pd.DataFrame, look_alikes: pd.DataFrame) -> list[Trial]:
    """A trial query from each picture of three tables with `image_id` and `path`; the kinds of edit take turns."""
    trials = []
    for role, pictures in (("copy", originals), ("negative", negatives), ("look-alike", look_alikes)):
        for number, (image_id, path) in enumerate(zip(pictures.image_id, pictures.path)):
            reference = image_id if role == "copy" else ""
            kind = "" if role == "look-alike" else edits.KINDS[number % len(edits.KINDS)]
            trials.append(Trial(f"{role.replace('-', '_')}{number:04d}", reference, role, kind, path))
    return trials


def make(trial: Trial, foreign: Sequence[str], seed: object) -> tuple[Picture, Copy | None]:
    """The picture of a trial query, uint8 RGB, and what is known of its edit; None where there is none.

    Edited, it is as it comes back from a JPEG. `foreign` are files of unrelated pictures, for collages and the like.
    Pictures larger than `LONGER_SIDE` are reduced first, and what is known of the edit is of the reduced one.
    """
    picture = _load(trial.path)
    if not trial.kind:
        return picture, None
    rng = runtime.generator(seed, trial.query_id)
    made = edits.copy(picture, trial.kind, rng, lambda: _load(foreign[int(rng.integers(len(foreign)))]))
    return through_file(made.picture), made


def _load(path: str) -> Picture:
    picture = load_image(path)
    scale = LONGER_SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = [max(round(side * scale), 1) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
