"""How good the verified matches are: as a ranked list, at their decision, and whether probabilities are shares.

All intervals are of sets of queries drawn with replacement, the same sets for every measure and list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from copytrace import figures, metrics
from copytrace.ablation import Row, Task
from copytrace.runtime import generator

BINS = 10  # of equal width in probability
COLOUR, LIGHT, GREY = "#1b4f72", "#aebfcc", "#5f6368"


@dataclass(frozen=True)
class Bin:
    """Pairs of one range of probability: their number, mean probability, and the share that is true with interval."""

    low: float
    high: float
    pairs: int
    probability: float
    true: float
    interval: tuple[float, float]


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

    def recall(hits: NDArray, weights: NDArray, positives: NDArray) -> NDArray:
        found = np.cumsum(weights * hits, axis=1)
        reached = found >= metrics.PRECISION * np.cumsum(weights, axis=1) - 1e-9
        return _share(np.where(reached, found, 0).max(axis=1, initial=0), positives)

    return _interval(final, metrics.mark_hits(final, task.truth), task, recall)


def reliability(matches: pd.DataFrame, task: Task) -> list[Bin]:
    """Of the pairs in each range of probability, how many are true and should be; ranges without pairs are left out."""
    counted = _counted(matches, task)
    hits = metrics.mark_hits(counted, task.truth)
    probability = counted["probability"].to_numpy()
    place = np.minimum((probability * BINS).astype(int), BINS - 1)
    bins = []
    for number in np.unique(place):
        own = place == number
        count, true = int(own.sum()), int(hits[own].sum())
        bins.append(
            Bin(
                number / BINS, (number + 1) / BINS, count, float(probability[own].mean()), true / count,
                wilson(true, count),
            )
        )  # fmt: skip
    return bins


def wilson(true: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, "Probable inference", 1927)."""
    share = true / count
    centre, half = share + z**2 / (2 * count), z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    low, high = ((centre + sign * half) / (1 + z**2 / count) for sign in (-1, 1))
    return max(float(low), 0.0), min(float(high), 1.0)


def gain(after: Row, before: Row, task: Task) -> dict[str, Any]:
    """What one list has over another in micro-AP, on the same sets of queries."""
    low, high = metrics.interval(after.samples - before.samples, task.confidence)
    return {"gain": after.micro_ap - before.micro_ap, "interval": [low, high]}


def as_table(rows: Sequence[Row], recalls: Sequence[tuple[float, float]], decided: dict[str, Any]) -> pd.DataFrame:
    """The lists' measures and those at the decision: `list, measure, value, low, high`."""
    lines = []
    for row, recall in zip(rows, recalls):
        lines.append((row.name, "micro-AP", row.micro_ap, *row.interval))
        lines.append((row.name, "recall at precision 0.9", row.recall_at_p90, *recall))
    for measure in ("precision", "recall"):
        bounds = decided[f"{measure}_interval"] or (np.nan, np.nan)
        lines.append((rows[0].name, f"{measure} at the decision", decided[measure], *bounds))
    return pd.DataFrame(lines, columns=["list", "measure", "value", "low", "high"])


def as_json(bins: Sequence[Bin]) -> list[dict[str, Any]]:
    """The bins for a file."""
    return [asdict(bin) | {"interval": list(bin.interval)} for bin in bins]


def draw_reliability(bins: Sequence[Bin], path: Path) -> None:
    """The diagram of `reliability`, with the number of pairs at each point."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="probability = share of true pairs")
    x = [bin.probability for bin in bins]
    y = np.array([bin.true for bin in bins])
    low, high = (np.array([bin.interval[side] for bin in bins]) for side in (0, 1))
    axes.vlines(x, low, high, color=LIGHT, linewidth=6, label="95 % interval of the share")
    axes.plot(x, y, "o-", color=COLOUR, label="pairs of such a probability")
    for bin in bins:
        axes.annotate(f"{bin.pairs:,}", (bin.probability, bin.true), (8, 5), textcoords="offset points", color=GREY)
    axes.set(xlim=(-0.02, 1.05), ylim=(-0.04, 1.04), xlabel="probability", ylabel="share of true pairs")
    axes.set_title("Does the probability hold? Numbers are pairs", loc="left")
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    figures.save(figure, path)


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
