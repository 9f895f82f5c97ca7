"""What each ingredient of the ensemble is worth: the same queries scored with and without it.

Every row is made from the same lists of pairs by the same steps as the full system and measured in the same
way. The vote, the size filter, the penalties and leaving out a kind of part each decide row by row or pair by
pair, so they commute and are done once. What a row would have gained from a list of pairs made for it alone
(the lists are cut over all parts) is left aside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from copytrace import ensembling, figures, metrics
from copytrace.ensembling import Ensembling, family_names
from copytrace.errors import InputError
from copytrace.ground_truth import positive_pairs
from copytrace.runtime import generator


@dataclass(frozen=True)
class Evaluation:
    """The configuration's section `evaluation`; `config.yaml` explains the keys."""

    queries: Literal["all", "listed"]
    bootstrap_samples: int
    confidence: float

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """The section as a script gets it, one JSON object; keys for other scripts are passed over."""
        try:
            given = json.loads(text)
            section = cls(**{key.name: given[key.name] for key in fields(cls)})
        except (KeyError, TypeError, ValueError) as mistake:
            raise InputError(f"--evaluation is not the section `evaluation` as JSON: {mistake}.") from None
        if section.queries not in ("all", "listed"):
            raise InputError(f"evaluation.queries is {section.queries}; take all or listed.")
        return section


@dataclass(frozen=True)
class Task:
    """Whom a list of matches is measured on: all query ids, the true pairs, and how intervals are drawn."""

    queries: Sequence[str]
    truth: pd.DataFrame
    samples: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class Row:
    """One measured list of matches; `samples`: micro-AP on the bootstrap's draws, the same in every row."""

    name: str
    group: str
    predictions: int
    micro_ap: float
    interval: tuple[float, float]
    recall_at_p90: float
    threshold: float | None
    recall_at_1: float
    recall_at_10: float
    model: str | None = None
    curve: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False, compare=False)
    samples: NDArray[np.float64] = field(default_factory=lambda: np.empty(0), repr=False, compare=False)


def task(ground_truth: pd.DataFrame, queries: Sequence[str], settings: Evaluation, seed: int, path: Path) -> Task:
    """The task that a ground truth poses.

    `settings.queries`: `all` counts every query (one that the ground truth does not name has no source);
    `listed` only those it names, with and without source, as the contest's evaluator does (benchmark sheet
    1.5).

    Raises:
        InputError: the ground truth has no true pair, or names a query that the manifest lacks and that can
            thus never be found.
    """
    truth = positive_pairs(ground_truth)
    if not len(truth):
        raise InputError(f"{path} names no pair: an evaluation needs at least one query with a source.")
    unknown = ground_truth.loc[~ground_truth["query_id"].isin(list(queries)), "query_id"]
    if len(unknown) == len(ground_truth):
        raise InputError(
            f"{path} names none of the queries (its first is {unknown.iloc[0]}); query_id is the path in "
            "the query folder without the ending."
        )
    named = ground_truth["query_id"].drop_duplicates().tolist()
    # a rejected query is missing in the manifest; its true pair still counts, as a miss
    counted = named if settings.queries == "listed" else list(dict.fromkeys([*queries, *named]))
    return Task(counted, truth, settings.bootstrap_samples, settings.confidence, seed)


def measure(name: str, group: str, final: pd.DataFrame, task: Task, model: str | None = None) -> Row:
    """All measures of one list of matches (`query_id, reference_id, score`)."""
    final = final[final["query_id"].isin(task.queries)]
    hits = metrics.mark_hits(final, task.truth)
    scores, positives = final["score"].to_numpy(), len(task.truth)
    recall, threshold = metrics.recall_at_precision(scores, hits, positives, metrics.PRECISION)
    # the same draws for every row, so that rows can be compared sample by sample
    rng = generator(task.seed, "evaluation", "bootstrap")
    samples = metrics.bootstrap_values(
        final, task.truth, task.queries, metrics.weighted_average_precision, task.samples, rng, hits
    )
    precision, recalls, thresholds = metrics.precision_recall_curve(scores, hits, positives)
    rises = np.diff(recalls, prepend=0) > 0
    curve = pd.DataFrame({"threshold": thresholds, "precision": precision, "recall": recalls})[rises]
    return Row(
        name=name,
        group=group,
        predictions=len(final),
        micro_ap=metrics.micro_average_precision(scores, hits, positives),
        interval=metrics.interval(samples, task.confidence),
        recall_at_p90=recall,
        threshold=threshold,
        recall_at_1=metrics.recall_at_rank(final, task.truth, 1, hits),
        recall_at_10=metrics.recall_at_rank(final, task.truth, 10, hits),
        model=model,
        curve=curve.reset_index(drop=True),
        samples=samples,
    )


@dataclass(frozen=True)
class Evidence:
    """All lists of pairs, filtered and penalised, before and after the vote.

    `kind` is the kind of the query part of each row of `pairs`; `agreed` says whether the row survives the
    vote.
    """

    pairs: pd.DataFrame
    kinds: list[str]
    kind: NDArray[np.integer]
    agreed: NDArray[np.bool_]
    tiles: pd.DataFrame | None

    def models(self, families: Sequence[str]) -> list[str]:
        """The models of `families` that have pairs, family by family."""
        models = self.pairs["model"].cat.categories
        return [str(model) for family in families for model in models[family_names(models) == family]]

    def of(self, models: Sequence[str]) -> NDArray[np.bool_]:
        """Which rows of `pairs` are of these models."""
        return self.pairs["model"].cat.categories.isin(list(models))[self.pairs["model"].cat.codes]


def gather(
    pairs: pd.DataFrame,
    tiles: pd.DataFrame | None,
    parts: pd.DataFrame,
    faces: pd.DataFrame | None,
    sides: Mapping[str, float],
    settings: Ensembling,
) -> Evidence:
    """Filter, penalise and vote once for all rows of the ablation.

    Args:
        pairs: unvoted pairs of all families, untrained ones too.
        tiles: unvoted pairs of whole queries and reference tiles, if that path is used.
        parts: parts of the queries.
        faces: faces of the references, if known.
        sides: minimum part side per family.
        settings: the ensembling's settings.
    """
    pairs = ensembling.collect_evidence(pairs, parts, sides, settings)
    kinds = pd.Categorical(parts["kind"])
    kind = kinds.codes[ensembling.part_rows(pairs, parts)]
    agreed = ensembling.agreement(pairs) >= settings.vote
    if tiles is not None:
        tiles = ensembling.collect_tile_evidence(ensembling.vote(tiles, settings.tile_vote), faces, settings)
    return Evidence(pairs, list(kinds.categories), kind, agreed, tiles)


def ablation(
    evidence: Evidence,
    final: pd.DataFrame,
    hashes: pd.DataFrame | None,
    families: Sequence[str],
    untrained: Sequence[str],
    settings: Ensembling,
    queries: int,
    task: Task,
) -> list[Row]:
    """Every row of the evaluation, the full system first.

    Args:
        evidence: see `gather`.
        final: the full system's list of matches, as written.
        hashes: the perceptual hash's list, if there is one.
        families: the trained families of the full system.
        untrained: families whose networks were not trained; their votes are measured one family more at a
            time.
        settings: the ensembling's settings.
        queries: number of queries, for the cut.
        task: whom to measure on.

    Raises:
        InputError: a family has no pairs.
    """
    for family in [*families, *untrained]:
        if not evidence.models([family]):
            raise InputError(f"Family {family} has no pairs in --pairs; take it out of --families/--untrained.")

    def scored(name: str, group: str, chosen: NDArray[np.bool_], tiles: bool = False, model: str = "") -> Row:
        rows = evidence.pairs[chosen]
        if tiles and evidence.tiles is not None:
            rows = ensembling.stack([rows, evidence.tiles])
        merged = ensembling.final_scores(rows, settings.final_score)
        kept = ensembling.cut(merged, settings.rows_per_query, queries, settings.maximum_rows)
        return measure(name, group, kept, task, model)

    whole = evidence.kind == evidence.kinds.index("whole")
    trained = evidence.of(evidence.models(families)) & evidence.agreed
    rows = [measure("full", "full", final, task)]
    rows.append(scored("without local verification", "left out", trained & whole))
    if evidence.tiles is not None:
        rows.append(scored("without reference tiles", "left out", trained))
    for number, kind in enumerate(evidence.kinds):
        if kind != "whole":
            chosen = trained & (evidence.kind != number)
            rows.append(scored(f"without {kind.replace('_', ' ')}", "left out", chosen, tiles=True))
    for family in families:
        chosen = evidence.of(evidence.models([family])) & evidence.agreed
        rows.append(scored(family, "family vote", chosen))
    for label, group in (("", families), ("untrained ", untrained)):
        for model in evidence.models(group):
            own = evidence.of([model])
            rows.append(scored(model, f"{label}model", own, model=model))
            rows.append(scored(f"{model}, whole", f"{label}model, whole pictures", own & whole, model=model))
    for count in range(1, len(untrained) + 1):
        chosen = evidence.of(evidence.models(untrained[:count])) & evidence.agreed
        rows.append(scored(" + ".join(untrained[:count]), "untrained vote", chosen))
    if hashes is not None:
        kept = ensembling.cut(hashes, settings.rows_per_query, queries, settings.maximum_rows)
        rows.append(measure("perceptual hash PDQ", "hash", kept, task))
    return rows


def second_submission(
    second: pd.DataFrame, votes: Mapping[str, pd.DataFrame], settings: Ensembling, queries: int, task: Task
) -> list[Row]:
    """The rows of the second list of matches, as written, and of the voted pairs of each pair family alone."""
    rows = [measure("second submission", "second submission", second, task)]
    for family, voted in votes.items():
        best = ensembling.best_scores([voted])
        kept = ensembling.cut(best, settings.rows_per_query, queries, settings.maximum_rows)
        rows.append(measure(family, "pair vote", kept, task))
    return rows


def summary(rows: Sequence[Row]) -> dict[str, object]:
    """What a person wants first: the full system and what it is compared with.

    The median model is the one in the middle (of an even number, the lower of the two), so its interval and
    curve are a real model's. What training brought is judged on copies of its own: see `training_gain`.
    """
    result: dict[str, object] = {"full": _short(rows[0])}
    named = {row.name: row for row in rows}
    result["without_local_verification"] = _short(named["without local verification"])
    for label, group in (("model", "model"), ("whole_model", "model, whole pictures")):
        result[f"median_{label}"] = _short(median_row(rows, group))
        result[f"best_{label}"] = _short(max(group_rows(rows, group), key=lambda row: row.micro_ap))
    result["best_family"] = _short(max(group_rows(rows, "family vote"), key=lambda row: row.micro_ap))
    votes = group_rows(rows, "untrained vote")
    result["untrained_vote"] = _short(votes[-1]) if votes else None
    hashes = group_rows(rows, "hash")
    result["hash"] = _short(hashes[0]) if hashes else None
    second = group_rows(rows, "second submission")
    result["second_submission"] = _short(second[0]) if second else None
    return result


def group_rows(rows: Sequence[Row], group: str) -> list[Row]:
    """The rows of one group."""
    return [row for row in rows if row.group == group]


def median_row(rows: Sequence[Row], group: str) -> Row:
    """The row in the middle of its group by micro-AP; of two, the lower."""
    ranked = sorted(group_rows(rows, group), key=lambda row: row.micro_ap)
    return ranked[(len(ranked) - 1) // 2]


def _short(row: Row) -> dict[str, object]:
    return {"name": row.name, "micro_ap": row.micro_ap, "interval": list(row.interval)}


def protocol(
    evidence: Evidence,
    task: Task,
    references: int,
    families: Sequence[str],
    untrained: Sequence[str],
    sides: Mapping[str, float],
    settings: Ensembling,
    counted: str,
) -> dict[str, object]:
    """Every choice that a number of the evaluation depends on."""
    models = evidence.models(families)
    return {
        "queries": len(task.queries),
        "queries_counted": counted,
        "queries_with_source": int(task.truth["query_id"].nunique()),
        "positives": len(task.truth),
        "references": references,
        "families": list(families),
        "untrained": list(untrained),
        "models": len(models),
        "scales": sorted(int(scale) for scale in evidence.pairs["scale"].unique()),
        "vote": settings.vote,
        "tile_vote": settings.tile_vote if evidence.tiles is not None else None,
        "penalties": dict(settings.penalties),
        "free_ranks": dict(settings.free_ranks),
        "tile_penalty": settings.tile_penalty if evidence.tiles is not None else None,
        "drop_face_references": settings.drop_face_references,
        "minimum_sides": {family: sides[family] for family in [*families, *untrained]},
        "reference_side": settings.reference_side,
        "final_score": settings.final_score,
        "candidates": "best rows of all queries together",
        "rows_per_query": settings.rows_per_query,
        "maximum_rows": settings.maximum_rows,
        "ties": "against the system",
        "precision": metrics.PRECISION,
        "interval": f"{task.confidence:.0%} percentile bootstrap over queries, {task.samples} samples",
        "seed": task.seed,
    }


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """The rows as `matching.json` has them; what is undefined is None."""
    return [
        {
            "name": row.name,
            "group": row.group,
            "micro_ap": row.micro_ap,
            "interval": list(row.interval),
            "recall_at_p90": row.recall_at_p90,
            "threshold": row.threshold,
            "recall_at_1": row.recall_at_1,
            "recall_at_10": row.recall_at_10,
            "predictions": row.predictions,
        }
        for row in rows
    ]


def as_table(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as `matching.csv` has them: the columns of the JSON, the interval as `low` and `high`."""
    table = pd.DataFrame(as_json(rows))
    low = table.columns.get_loc("interval")
    ends = pd.DataFrame(table.pop("interval").tolist(), columns=["low", "high"])
    return pd.concat([table.iloc[:, :low], ends, table.iloc[:, low:]], axis=1)


def headline_rows(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """The few rows that are shown together, with what each stands for; the full system first."""
    shown = [("full", rows[0]), ("without local verification", rows[1])]
    best = max(group_rows(rows, "family vote"), key=lambda row: row.micro_ap)
    shown.append((f"best family ({best.name})", best))
    shown.append(("median single model", median_row(rows, "model")))
    shown.append(("median single model, whole pictures", median_row(rows, "model, whole pictures")))
    votes = group_rows(rows, "untrained vote")
    if votes:
        shown.append(("untrained networks, vote", votes[-1]))
    shown.extend((row.name, row) for row in group_rows(rows, "hash"))
    shown.extend((row.name, row) for row in group_rows(rows, "second submission"))
    return shown


def report_lines(rows: Sequence[Row], protocol: Mapping[str, object]) -> list[str]:
    """A short table for the log: the protocol, then the headline rows, one line each."""
    lines = ["protocol: " + ", ".join(f"{key}={value}" for key, value in protocol.items())]
    lines.append(f"{'':38} micro-AP  interval        R@P90  at      R@1    R@10")
    for label, row in headline_rows(rows):
        low, high = row.interval
        at = "-" if row.threshold is None else f"{row.threshold:.3f}"
        lines.append(
            f"{label:38} {row.micro_ap:.3f}     [{low:.3f}, {high:.3f}]  {row.recall_at_p90:.3f}  {at:6}"
            f"  {row.recall_at_1:.3f}  {row.recall_at_10:.3f}"
        )
    return lines


def curves(rows: Sequence[Row]) -> pd.DataFrame:
    """Precision-recall curves of the headline rows: `name, threshold, precision, recall`.

    One line for each threshold at which recall rises.
    """
    return pd.concat([row.curve.assign(name=label) for label, row in headline_rows(rows)])[
        ["name", "threshold", "precision", "recall"]
    ]


# --------------------------------------------------------------------------------------------------- figures


def draw_precision_recall(shown: Sequence[tuple[str, Row]], path: Path) -> None:
    """Precision over recall of some rows, at most eight, and the precision at which recall is read off.

    `shown`: what each stands for, and the row; of an ablation its `headline_rows`.
    """
    styles = [("#1b4f72", "-"), ("#2e86c1", "-"), ("#117a65", "-"), ("#b9770e", "-"), ("#b9770e", "--")]
    styles += [("#808b96", "--"), ("#943126", ":"), ("#6c3483", "-.")]
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    axes.axhline(metrics.PRECISION, color="0.6", linewidth=1, linestyle=":")
    for (label, row), (colour, line) in zip(shown, styles):
        # a list without any hit has no curve, yet keeps its place in the legend
        first = row.curve.iloc[:1].assign(recall=0.0)
        recall, precision = (np.r_[first[name], row.curve[name]] for name in ("recall", "precision"))
        text = f"{row.micro_ap:.3f}  {label}"
        axes.plot(recall, precision, line, color=colour, linewidth=1.8, label=text)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.text(0.99, metrics.PRECISION, "precision 0.9", color="0.4", fontsize=9, ha="right", va="bottom")
    figure.legend(title="micro-AP", loc="outside lower center", ncols=2, fontsize=10, title_fontsize=10)
    axes.grid(color="0.92")
    figures.save(figure, path)


def draw_ablation(rows: Sequence[Row], confidence: float, path: Path) -> None:
    """Micro-AP of every ingredient as a bar, with its interval.

    Single models share a bar: a tick each, and the median model's value and interval.
    """
    lines = _ablation_lines(rows)
    figure = Figure(figsize=(9, 1.0 + 0.25 * len(lines)), layout="constrained")
    axes = figure.subplots()
    at_edge = axes.get_yaxis_transform()
    for y, (_, members, colour) in enumerate(lines):
        shown = median_row(members, members[0].group)
        axes.barh(y, shown.micro_ap, height=0.7, color=colour, alpha=0.3)
        if len(members) > 1:
            axes.plot([row.micro_ap for row in members], [y] * len(members), "|", color=colour, ms=12, alpha=0.6)
        axes.plot(shown.interval, [y, y], color=colour, linewidth=1.8)
        axes.plot(shown.micro_ap, y, "o", color=colour, ms=6)
        axes.text(1.01, y, f"{shown.micro_ap:.3f}", transform=at_edge, va="center", fontsize=10)
        if y and colour != lines[y - 1][2]:
            axes.axhline(y - 0.5, color="0.85", linewidth=0.8)
    axes.axvline(rows[0].micro_ap, color=lines[0][2], linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(lines)), [label for label, _, _ in lines], fontsize=10)
    axes.set(ylim=(len(lines) - 0.5, -0.5), xlim=(0, 1))
    axes.set_xlabel(f"micro-AP, {confidence:.0%} bootstrap interval over queries")
    axes.grid(axis="x", color="0.92")
    axes.set_axisbelow(True)
    figures.save(figure, path)


def _ablation_lines(rows: Sequence[Row]) -> list[tuple[str, list[Row], str]]:
    """What the ablation figure shows, top to bottom: label, one row or a group's single models, colour."""
    lines = []
    for group in dict.fromkeys(row.group for row in rows):
        members = group_rows(rows, group)
        colour = GROUP_COLOURS[group]
        if "model" in group:
            several = len(members) > 1
            label = f"median of {len(members)} {group.replace('model', 'models')}" if several else group
            lines.append((label, members, colour))
        else:
            prefix = "vote of " if "vote" in group else ""
            lines.extend((prefix + row.name, [row], colour) for row in members)
    return lines


GROUP_COLOURS = {
    "full": "#1b4f72",
    "left out": "#2e86c1",
    "family vote": "#117a65",
    "model": "#b9770e",
    "model, whole pictures": "#b9770e",
    "untrained model": "#808b96",
    "untrained model, whole pictures": "#808b96",
    "untrained vote": "#808b96",
    "hash": "#943126",
    "second submission": "#6c3483",
    "pair vote": "#6c3483",
}
