"""Candidate pairs of some queries: which they are, and all that is measured of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def unite(local: pd.DataFrame, ranked: pd.DataFrame, listed: pd.DataFrame) -> list[tuple[int, dict[str, float]]]:
    """The candidates of a query by number, ascending, each with its `votes` and `global_score`, NaN where it has none.

    Args:
        local: `reference` and `votes` of those that local features found.
        ranked: `reference` and `score` of its best pairs in the run's ranked list. The scores of others count as
            missing, as where the trees were fitted.
        listed: `reference` of its best pairs in a list whose scores are on a scale of their own.
    """
    votes = dict(zip(local["reference"].tolist(), local["votes"].tolist()))
    scores = dict(zip(ranked["reference"].tolist(), ranked["score"].tolist()))
    return [
        (number, {"votes": votes.get(number, np.nan), "global_score": scores.get(number, np.nan)})
        for number in sorted({*votes, *scores, *listed["reference"].tolist()})
    ]


def measure(
    queries: FeatureFiles,
    references: FeatureFiles,
    background: faiss.Index,
    index: faiss.Index | None,
    votes: VoteSettings,
    final: pd.DataFrame | None,
    listed: pd.DataFrame | None,
    most: Mapping[str, int],
) -> Iterator[list[dict[str, Any]]]:
    """The rows of each query in turn, for `pair_files.write_pairs`.

    Args:
        queries, references: their features.
        background: index of unrelated pictures.
        index: of the references' features; None: local features look for no candidates.
        votes: how they look.
        final: the run's ranked list `query_id, reference_id, score`; None: no candidates from it, no scores.
        listed: another such list, whose scores don't count; None: no candidates from it.
        most: so many pairs of a list are candidates of a query: of `matching`, the ranked list, and of `list`.

    Raises:
        InputError: a list has a picture that is not among the references.
    """
    ranked = _best(final, references, most["matching"], "matching.csv") if final is not None else {}
    others = _best(listed, references, most["list"], "verification.list") if listed is not None else {}
    nothing = pd.DataFrame({"reference": [], "score": [], "votes": []}).astype({"reference": np.int64})
    for row, query_id in enumerate(queries.image_ids):
        query = queries[row]
        prepared = prepare_query(query, squared_distances(background, query))
        local = nothing if index is None else find_candidates(index, query, votes)
        yield [
            {"query_id": query_id, "reference_id": references.image_ids[number]}
            | found
            | verify(prepared, query, references[number])
            for number, found in unite(local, ranked.get(query_id, nothing), others.get(query_id, nothing))
        ]


def _best(final: pd.DataFrame, references: FeatureFiles, most: int, name: str) -> dict[str, pd.DataFrame]:
    """A list's best pairs of each query: `reference`, its number, and `score`."""
    numbers = pd.Index(references.image_ids).get_indexer(pd.Index(final.reference_id.astype(str)))
    if (numbers < 0).any():
        unknown = final.reference_id.iloc[int(np.argmin(numbers))]
        raise InputError(f"{name} has the reference {unknown}, which is not among those of this run: is it of others?")
    table = pd.DataFrame({"query_id": final.query_id.astype(str), "reference": numbers, "score": final.score})
    table = table.sort_values("score", ascending=False, kind="stable")
    return {str(query): rows[:most] for query, rows in table.groupby("query_id", sort=False)}
