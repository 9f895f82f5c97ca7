"""How good the verified matches are: step by step, as ranked lists, at their decision, and whether probabilities hold.

All intervals are of sets of queries drawn with replacement, the same sets for every measure and list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from copytrace import metrics
from copytrace.ablation import Row, Task
from copytrace.runtime import generator
from copytrace.verification.reliability import exact_interval, reliability_table

TABLE = ["list", "measure", "kind", "value", "low", "high"]

HASH_BITS, HASH_WEIGHT = 90, 0.01  # a bit that two hashes differ less than so many is worth that much of a cosine


def steps(pairs: pd.DataFrame, score: pd.Series, ranked: pd.Series) -> dict[str, pd.Series]:
    """The scores of measured pairs by each step of verification but the last, the fusion; missing: no candidate of it.

    Args:
        pairs: `hash_distance`, `inliers` and `local_ncc` of all candidates.
        score: their global scores, missing where there is none.
        ranked: which of them the list ranked by global scores proposed, bool; the others come from local features.
    """
    inliers = pairs.inliers + expit(score.astype(float)).fillna(0)  # equal numbers of inliers: by the global score
    return {
        "candidates of the ranked list": score.where(ranked),
        "+ hash": (score + HASH_WEIGHT * (HASH_BITS - pairs.hash_distance).clip(lower=0)).where(ranked),
        "+ verification: inliers": inliers.where(ranked),
        "+ other candidates": inliers,
        "+ alignment: inliers × NCC": inliers * (pairs.local_ncc + 1e-3),
    }


def recall_by_kind(lists: Mapping[str, pd.DataFrame], kinds: pd.Series, task: Task) -> pd.DataFrame:
    """For each kind of edit, the share of its copies that stand first of their query: the columns `TABLE`.

    `kinds`: the kind of each copy by its query's id. Intervals are exact ones of shares.
    """
    lines = []
    for name, final in lists.items():
        for kind, copies in task.truth.groupby(task.truth["query_id"].map(kinds)):
            recall, size = metrics.recall_at_rank(final, copies, 1), len(copies)
            lines.append((name, "recall at 1", kind, recall, *exact_interval(round(recall * size), size)))
    return pd.DataFrame(lines, columns=TABLE)


def at_decision(matches: pd.DataFrame, task: Task) -> dict[str, Any]:
    """Precision and recall of the pairs that are called copies, each with its interval; None where none is called."""
    counted = _counted(matches, task)
    called = int(counted["decision"].sum())
    hits = metrics.mark_hits(counted, task.truth)
    right = int(hits[counted["decision"].to_numpy()].sum())

    def true(hits: NDArray, weights: NDArray) -> NDArray:
        return weights[:, :called] @ hits[:called].astype(np.int64)

    def precision(hits: NDArray, weights: NDArray, _: NDArray) -> NDArray:
        return _share(true(hits, weights), weights[:, :called].sum(axis=1))

    def recall(hits: NDArray, weights: NDArray, positives: NDArray) -> NDArray:
        return _share(true(hits, weights), positives)

    return {
        "called": called,
        "right": right,
        "precision": right / called if called else None,
        "precision_interval": list(_interval(counted, hits, task, precision)) if called else None,
        "recall": right / len(task.truth),
        "recall_interval": list(_interval(counted, hits, task, recall)),
    }


def recall_interval(final: pd.DataFrame, task: Task) -> tuple[float, float]:
    """The interval of the recall at precision 90 of a list `query_id, reference_id, score`."""
    final = final[final["query_id"].isin(task.queries)]
    return _interval(final, metrics.mark_hits(final, task.truth), task, recall_at_p90)


def recall_at_p90(hits: NDArray, weights: NDArray, positives: NDArray) -> NDArray[np.float64]:
    """Largest recall at precision 90 for several weightings, arguments as of `metrics.weighted_average_precision`."""
    found = np.cumsum(weights * hits, axis=1)
    reached = found >= metrics.PRECISION * np.cumsum(weights, axis=1) - 1e-9
    return _share(np.where(reached, found, 0).max(axis=1, initial=0), positives)


def reliability(matches: pd.DataFrame, task: Task) -> pd.DataFrame:
    """`reliability_table` of the matches of queries that count."""
    counted = _counted(matches, task)
    return reliability_table(counted["probability"].to_numpy(), metrics.mark_hits(counted, task.truth))


def gain(after: Row, before: Row, task: Task) -> dict[str, Any]:
    """What one list has over another in micro-AP, on the same sets of queries."""
    low, high = metrics.interval(after.samples - before.samples, task.confidence)
    return {"gain": after.micro_ap - before.micro_ap, "interval": [low, high]}


def as_table(rows: Sequence[Row], recalls: Sequence[tuple[float, float]], decided: dict[str, Any]) -> pd.DataFrame:
    """The lists' measures, and those of the last list at the decision: the columns `TABLE`."""
    lines = []
    for row, recall in zip(rows, recalls):
        lines.append((row.name, "micro-AP", "all", row.micro_ap, *row.interval))
        lines.append((row.name, "recall at precision 0.9", "all", row.recall_at_p90, *recall))
    for measure in ("precision", "recall"):
        bounds = decided[f"{measure}_interval"] or (np.nan, np.nan)
        lines.append((rows[-1].name, f"{measure} at the decision", "all", decided[measure], *bounds))
    return pd.DataFrame(lines, columns=TABLE)


def _counted(matches: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The matches of queries that count, in the order of their probability; `score` is that."""
    counted = matches[matches["query_id"].isin(task.queries)].assign(score=matches["probability"])
    return counted.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)


def _share(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """Shares, NaN where the whole is nothing: such a set of queries says nothing."""
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _interval(
    final: pd.DataFrame, hits: NDArray[np.bool_], task: Task, measure: Callable[..., NDArray[np.float64]]
) -> tuple[float, float]:
    rng = generator(task.seed, "evaluation", "bootstrap")
    values = metrics.bootstrap_values(final, task.truth, task.queries, measure, task.samples, rng, hits)
    return metrics.interval(values, task.confidence)
