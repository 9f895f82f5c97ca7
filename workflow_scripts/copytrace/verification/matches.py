"""The list of matches that verification makes: each candidate pair with its probability, decision and evidence.

`matches.csv`: `query_id, reference_id, probability, decision, mirrored, inliers`, the boxes `query_x0` …
`reference_y1` and `transform`, nine numbers row by row with blanks between; boxes and transform are empty where no
geometry was found. docs/verification.md explains them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.verification.fusion import Fusion, feature_table, one_source, predict
from copytrace.verification.pair_files import BOXES, MEASURED

COLUMNS = ["query_id", "reference_id", "probability", "decision", "mirrored", "inliers", *BOXES, "transform"]

#: What `judge` reads of a table of pairs.
READ = [
    *("query_id", "reference_id", "global_score", "mirrored", "inliers", *MEASURED),
    *("thumbnail_ncc", "hash_distance", *BOXES, "transform", "query_points"),
]

#: The trees that are used where nobody names others.
DEFAULT_FUSION = Path(__file__).with_name("default_fusion.json")

DIGITS = 6  # of a probability


def judge(pairs: pd.DataFrame, fusion: Fusion, decision: float) -> pd.DataFrame:
    """The list of matches, most probable first, then by ids.

    Args:
        pairs: all candidates of their queries, with the columns `READ`.
        fusion: what makes the probability.
        decision: the probability from which on a pair is called a copy.
    """
    probability = one_source(pairs, predict(fusion, feature_table(pairs))).round(DIGITS)
    matches = pairs.assign(
        probability=probability,
        decision=probability >= decision,
        transform=[" ".join(f"{number:.7g}" for number in row if np.isfinite(number)) for row in pairs["transform"]],
    )
    order = ["probability", "query_id", "reference_id"]
    return matches.sort_values(order, ascending=[False, True, True])[COLUMNS].reset_index(drop=True)


def write_matches(path: str | Path, matches: pd.DataFrame) -> None:
    """Write the list: probabilities with six digits, boxes to a hundredth of a pixel, `true` and `false`."""
    words = {True: "true", False: "false"}
    text = matches.assign(
        **(matches[BOXES].round(2) + 0.0),  # no -0.00
        probability=matches.probability.map(f"{{:.{DIGITS}f}}".format),
        decision=matches.decision.map(words),
        mirrored=matches.mirrored.map(words),
    )
    with runtime.atomic_output(path) as temporary:
        text.to_csv(temporary, index=False, float_format="%.2f", lineterminator="\n")


def read_matches(path: str | Path) -> pd.DataFrame:
    """Read such a list; InputError if it has other columns. `transform` stays text, "" where there is none."""
    matches = pd.read_csv(path, dtype={"query_id": str, "reference_id": str, "transform": str}, keep_default_na=False,
                          na_values={name: "" for name in BOXES})  # fmt: skip
    if list(matches.columns) != COLUMNS:
        raise InputError(f"{path} is no list of verified matches: its columns are {', '.join(matches.columns)}")
    return matches.astype({"decision": bool, "mirrored": bool})
