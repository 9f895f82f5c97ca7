"""Candidate pairs of some queries: which they are, and all that is measured of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import pandas as pd

from copytrace.errors import InputError
from copytrace.verification.background import squared_distances
from copytrace.verification.candidates import VoteSettings, find_candidates
from copytrace.verification.feature_files import FeatureFiles
from copytrace.verification.matching import prepare_query
from copytrace.verification.verify import verify


def unite(local: pd.DataFrame, ranked: pd.DataFrame, most: int) -> list[tuple[int, dict[str, float]]]:
    """The candidates of a query by number, ascending, each with its `votes` and `global_score`, NaN where it has none.

    Args:
        local: `reference` and `votes` of those that local features found.
        ranked: `reference` and `score` of its pairs in the ranked list, best first.
        most: so many of `ranked` are candidates; the scores of others count as missing, as where the trees were fitted.
    """
    best = ranked[:most]
    votes = dict(zip(local["reference"].tolist(), local["votes"].tolist()))
    scores = dict(zip(best["reference"].tolist(), best["score"].tolist()))
    return [
        (number, {"votes": votes.get(number, np.nan), "global_score": scores.get(number, np.nan)})
        for number in sorted({*votes, *scores})
    ]


def measure(
    queries: FeatureFiles,
    references: FeatureFiles,
    background: faiss.Index,
    index: faiss.Index | None,
    votes: VoteSettings,
    final: pd.DataFrame | None,
    most: int,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each query in turn, for `pair_files.write_pairs`.

    Args:
        queries, references: their features.
        background: index of unrelated pictures.
        index: of the references' features; None: local features look for no candidates.
        votes: how they look.
        final: the ranked list `query_id, reference_id, score`, best first; None: no candidates from it, no scores.
        most: so many of its pairs are candidates of a query.

    Raises:
        InputError: the ranked list names a picture that is not among the references.
    """
    ranked = _by_query(final, references) if final is not None else {}
    nothing = pd.DataFrame({"reference": [], "score": [], "votes": []}).astype({"reference": np.int64})
    for row, query_id in enumerate(queries.image_ids):
        query = queries[row]
        prepared = prepare_query(query, squared_distances(background, query))
        local = nothing if index is None else find_candidates(index, query, votes)
        yield [
            {"query_id": query_id, "reference_id": references.image_ids[number]}
            | found
            | verify(prepared, query, references[number])
            for number, found in unite(local, ranked.get(query_id, nothing), most)
        ]


def _by_query(final: pd.DataFrame, references: FeatureFiles) -> dict[str, pd.DataFrame]:
    """The ranked list's pairs of each query: `reference`, its number, and `score`."""
    numbers = pd.Index(references.image_ids).get_indexer(pd.Index(final.reference_id.astype(str)))
    if (numbers < 0).any():
        unknown = final.reference_id.iloc[int(np.argmin(numbers))]
        raise InputError(f"the ranked list names {unknown}, which is not among the references: let both be made again")
    table = pd.DataFrame({"query_id": final.query_id.astype(str), "reference": numbers, "score": final.score})
    return {str(query): rows for query, rows in table.groupby("query_id", sort=False)}
