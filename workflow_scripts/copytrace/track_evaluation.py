"""How good the descriptor track's vectors are, measured as the contest does, and what each step to them is worth.

A list of matches has the nearest pairs of all queries together (benchmark sheet, 1.5, option A). Score normalisation
needs an inner product and not a distance, so that it is no submission; it is here for comparison (1.8).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from copytrace import ablation, descriptor_files, matching, metrics, stretching
from copytrace.ablation import Row, Task
from copytrace.stretching import Stretching

#: The row that is measured on the list of pairs itself: all scales together, stretched.
SUBMITTED = "as submitted"
ALL = "all scales"


@dataclass(frozen=True)
class Described:
    """The descriptor files of the track's model by role, and the training pictures that are no background, by id."""

    model: str
    scales: Sequence[int]
    queries: Sequence[str]
    references: Sequence[str]
    training: Sequence[str]
    excluded: Set[str]


def variants(
    described: Described, settings: Stretching, normalisation: Mapping[str, Any], count: int
) -> Iterator[tuple[str, pd.DataFrame]]:
    """A list of matches by name for all scales together and for each alone: plain, score normalised, and stretched.

    `normalisation`: neighbours and weight of the section `matching`. All scales together and stretched is what is
    submitted, and left out.
    """
    query_ids, reference_ids = (
        descriptor_files.read_rows(list(files)).image_id.tolist() for files in (described.queries, described.references)
    )
    alone = [[scale] for scale in described.scales] if len(described.scales) > 1 else []
    for scales in [list(described.scales), *alone]:

        def references(scales: Sequence[int] = scales) -> Iterable[np.ndarray]:
            for path in described.references:
                yield stretching.averaged(path, described.model, scales)

        queries = np.concatenate([stretching.averaged(path, described.model, scales) for path in described.queries])
        training = list(stretching.background(described.training, described.model, scales, described.excluded))
        bias = matching.query_bias(queries, training, normalisation["neighbours"], normalisation["weight"])
        lists = {
            "plain": stretching.nearest_pairs(queries, references, count),
            "score normalised": matching.best_pairs(queries, bias, references, count),
        }
        if scales in alone:
            lengths, _ = stretching.query_lengths(queries, training, settings)
            lists["stretched"] = stretching.nearest_pairs(lengths[:, None] * queries, references, count)
        name = f"{scales[0]} px" if scales in alone else ALL
        for treatment, pairs in lists.items():
            yield f"{name}, {treatment}", stretching.named(pairs, query_ids, reference_ids)


def measure(lists: Mapping[str, pd.DataFrame], task: Task) -> tuple[list[Row], list[dict[str, Any]]]:
    """A row for every list, and what one way is worth over another on the same bootstrap draws.

    Of a step: `step`, `gain` in micro-AP, its `interval`.
    """
    rows = {name: ablation.measure(name, "descriptor track", matches, task) for name, matches in lists.items()}
    steps = []
    for step, after, before in _steps(rows):
        gain = rows[after].micro_ap - rows[before].micro_ap
        low, high = metrics.interval(rows[after].samples - rows[before].samples, task.confidence)
        steps.append({"step": step, "gain": gain, "interval": [low, high]})
    return list(rows.values()), steps


def protocol(
    described: Described, task: Task, counted: str, settings: Stretching, normalisation: Mapping[str, Any], count: int
) -> dict[str, object]:
    """Every choice that the numbers depend on."""
    rows = descriptor_files.read_rows(list(described.training)).image_id
    return {
        "model": described.model,
        "scales": list(described.scales),
        "queries": len(task.queries),
        "queries_counted": counted,
        "positives": len(task.truth),
        "references": len(descriptor_files.read_rows(list(described.references))),
        "background": int((~rows.isin(described.excluded)).sum()),
        "candidates": "nearest pairs of all queries together, by Euclidean distance",
        "pairs": count,
        "stretching": asdict(settings),
        "score_normalisation": dict(normalisation),
        "ties": "against the system",
        "precision": metrics.PRECISION,
        "interval": f"{task.confidence:.0%} percentile bootstrap over queries, {task.samples} samples",
        "seed": task.seed,
    }


def headline_rows(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The rows whose curves are drawn: all scales together, by each treatment of the scores."""
    by_name = {row.name: row for row in rows}
    shown = {f"{ALL}, stretched, {SUBMITTED}": SUBMITTED}
    shown |= {name: name for name in (f"{ALL}, plain", f"{ALL}, score normalised")}
    return [(label, by_name[name]) for label, name in shown.items()]


def report_lines(rows: Sequence[Row], steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Tables of rows and steps for the log, a line each."""
    lines = [f"{'':32} micro-AP  interval        R@P90"]
    for row in rows:
        low, high = row.interval
        lines.append(f"{row.name:32} {row.micro_ap:.3f}     [{low:.3f}, {high:.3f}]  {row.recall_at_p90:.3f}")
    for step in steps:
        low, high = step["interval"]
        lines.append(f"{step['step']:50} {step['gain']:+.3f}  [{low:+.3f}, {high:+.3f}]")
    return lines


def _steps(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """What is compared: words, the row with the step, the row without."""
    yield "stretching", SUBMITTED, f"{ALL}, plain"
    yield "score normalisation", f"{ALL}, score normalised", f"{ALL}, plain"
    yield "stretching over score normalisation", SUBMITTED, f"{ALL}, score normalised"
    for name in names:
        if name.endswith("px, stretched"):
            yield f"{ALL} over {name.split(',')[0]} alone", SUBMITTED, name
