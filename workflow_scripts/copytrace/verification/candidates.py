"""References that may have gone into a query, found by votes of its local features (section 2 of the fact sheet)."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
import pandas as pd

from copytrace.verification.descriptor_index import search
from copytrace.verification.features import UNIT, Features
from copytrace.verification.matching import both_orientations


@dataclass(frozen=True)
class VoteSettings:
    """How a query is searched for: its first keypoints, their neighbours, and the candidates kept."""

    keypoints: int = 400
    neighbours: int = 20
    candidates: int = 10


def find_candidates(index: faiss.Index, query: Features, settings: VoteSettings) -> pd.DataFrame:
    """The references with most votes, best first: columns `reference` (its number in the index), `votes`, `mirrored`.

    Each of the query's descriptors, as it is and mirrored, gives each reference among its K nearest neighbours
    d²_K − d² for its nearest hit there, in units of RootSIFT's length: the distance to the last neighbour tells how
    frequent such a descriptor is. The orientation with more votes counts. Equal votes: the lower number first.
    References without votes are not listed.
    """
    orientations = [
        votes(*search(index, descriptors[: settings.keypoints], settings.neighbours)).assign(mirrored=mirrored)
        for mirrored, descriptors in zip((False, True), both_orientations(query))
    ]
    found = pd.concat(orientations).sort_values(["votes", "mirrored"], ascending=[False, True], kind="stable")
    found = found[found.votes > 0].drop_duplicates("reference")
    found = found.sort_values(["votes", "reference"], ascending=[False, True])
    return found.head(settings.candidates).reset_index(drop=True)


def votes(squared: np.ndarray, references: np.ndarray) -> pd.DataFrame:
    """Votes by neighbours, `squared` distances ascending and `references` [n, K], -1 for none: `reference`, `votes`.

    Where the lists searched held fewer than K, the last neighbour found stands for the K-th.
    """
    present = references >= 0
    last = np.where(present, squared, 0).max(axis=1, initial=0, keepdims=True)
    row, column = np.nonzero(present)
    hits = pd.DataFrame(
        {"row": row, "reference": references[row, column], "votes": (last - squared)[row, column] / UNIT**2}
    )
    nearest = hits.drop_duplicates(["row", "reference"])  # the first is the nearest
    return nearest.groupby("reference")["votes"].sum().reset_index()
