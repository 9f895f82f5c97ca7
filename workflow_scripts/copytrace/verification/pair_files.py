"""Tables of measured pairs (Parquet).

A row is a pair: `query_id`, `reference_id`, `votes` of local features (missing where there are none), `global_score`
(the run's own score of the pair; missing where it is no candidate of that list), and what `verify.verify` measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from copytrace import runtime
from copytrace.ground_truth import PAIR

BOXES = [f"{of}_{side}" for of in ("query", "reference") for side in ("x0", "y0", "x1", "y1")]
MEASURED = ["weighted_inliers", "local_ncc", "agreeing_share", "global_ncc", "query_share", "reference_share"]
POINTS = ["query_points", "reference_points"]

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("query_id", "reference_id")),
        *((name, pa.float64()) for name in ("votes", "global_score")),
        ("mirrored", pa.bool_()),
        ("inliers", pa.int32()),
        *((name, pa.float64()) for name in (*MEASURED, "thumbnail_ncc")),
        ("hash_distance", pa.int32()),
        *((name, pa.float64()) for name in BOXES),
        ("transform", pa.list_(pa.float64())),
        *((name, pa.list_(pa.float32())) for name in POINTS),
    ]
)


def write_pairs(path: str | Path, rows: Iterable[list[dict[str, Any]]]) -> None:
    """Write rows, a list for each query, as Parquet; not-a-number becomes missing in single numbers."""
    with runtime.atomic_output(path) as temporary, pq.ParquetWriter(temporary, SCHEMA) as writer:
        for of_query in rows:
            if of_query:
                writer.write_table(pa.Table.from_pylist(of_query, SCHEMA))


def read_pairs(paths: Sequence[str | Path], columns: Sequence[str], wanted: pd.DataFrame | None = None) -> pd.DataFrame:
    """Some columns of the pairs of some files, in their order; only of the pairs `wanted`, where these are given.

    `wanted` has `query_id` and `reference_id`, which are among `columns` then.
    """
    chosen = None if wanted is None else pc.field("query_id").isin(pa.array(wanted["query_id"].unique(), pa.string()))
    tables = [pq.read_table(path, columns=list(columns), filters=chosen) for path in paths]
    pairs = pa.concat_tables(tables).to_pandas()
    if wanted is None:
        return pairs
    known = pd.MultiIndex.from_frame(wanted[PAIR].astype(str))
    return pairs[pd.MultiIndex.from_frame(pairs[PAIR].astype(str)).isin(known)].reset_index(drop=True)
