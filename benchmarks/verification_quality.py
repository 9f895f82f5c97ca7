"""What each step of verification is worth on photographs, and what it costs: the figures of docs/results.md.

Queries are copies of references by edits of known geometry, other photographs edited the same way, and mined
look-alikes. The trees are those that ship with the project, or a file's: neither was fitted to these photographs.
Every step ranks the same queries' candidates by one score; a copy that is no candidate is missed.
"""

import verified_pairs  # first: it sets the threads and finds the library

# isort: split

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import side_by_side

from copytrace import metrics, runtime
from copytrace.manifests import write_table
from copytrace.verification import calibration, edits, evaluation, fusion
from copytrace.verification.reliability import exact_interval, reliability_table
from copytrace.verification.verify import BOX

MODEL = Path(fusion.__file__).with_name("default_fusion.json")
SAMPLES = 1000
TABLES = ("pairs", "truth", "costs", "collage_pairs", "collage_truth")
DEEP = 10  # candidates of the steps that have no local features

Score = Callable[[pd.DataFrame], pd.Series]


def main() -> None:
    """Read the arguments, measure the pairs unless they are there, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder: training/, references/, metadata.csv")
    parser.add_argument("--output", type=Path, required=True, help="folder for the pairs and the tables")
    parser.add_argument("--model", type=Path, default=MODEL, help="trees")
    parser.add_argument("--weights", default=os.environ.get("COPYTRACE_WEIGHTS"), help="MobileNetV2 as .npz")
    parser.add_argument("--measured", action="store_true", help="take the pairs that lie in the output folder")
    verified_pairs.add_counts(
        parser, verified_pairs.Counts(references=1400, negatives=400, pool=900, look_alikes=600, deep=DEEP)
    )
    parser.add_argument("--collages", type=int, default=100, help="collages and pastes of each kind")
    args = parser.parse_args()
    paths = {name: args.output / f"{name}.parquet" for name in TABLES}
    if not args.measured:
        table = verified_pairs.photographs(args.photographs)
        references = table[table.split == "references"].reset_index(drop=True)
        others = table[(table.split == "training") & ~verified_pairs.for_fitting(table)].reset_index(drop=True)
        counts = verified_pairs.read_counts(args)
        pairs, truth, collection = verified_pairs.measured_pairs(references, others, args.weights, counts, "measure")
        look_alikes = truth.path[truth.role == "look-alike"].tolist()
        costs = collection.costs()
        collages = verified_pairs.collage_pairs(collection, references, look_alikes, args.collages, counts, "measure")
        pastes = verified_pairs.pasted_pairs(collection, references, args.collages, counts, "measure")
        composed = [pd.concat(both, ignore_index=True) for both in zip(collages, pastes)]
        for name, measured in zip(paths, (pairs, truth.drop(columns="path"), costs, *composed)):
            write_table(measured, paths[name])
    pairs, truth, costs, collage_pairs, collage_truth = (pd.read_parquet(path) for path in paths.values())
    model = fusion.read_fusion(args.model)
    report = "\n".join([*lines(pairs, truth, costs, model), "", *collages_table(collage_pairs, collage_truth, model)])
    with runtime.atomic_output(args.output / "quality.md") as temporary:
        temporary.write_text(report + "\n")
    print(report)


def lines(pairs: pd.DataFrame, truth: pd.DataFrame, costs: pd.DataFrame, model: fusion.Fusion) -> list[str]:
    """All tables as Markdown."""
    labelled = calibration.label(pairs, truth)
    judged = judge(labelled, model)
    roles = truth.role.value_counts()
    out = [f"{side_by_side.processor()}. " + ", ".join(f"{roles[role]} queries: {role}" for role in calibration.ROLES)]
    out += [f"{len(pairs) - len(labelled)} pairs are left out: unlabelled duplicates by fusion.suspected_copies", ""]
    out += steps_table(judged, truth)
    out += ["", *kinds_table(judged, truth, model.decision)]
    out += ["", *decision_table(judged, truth, model.decision)]
    out += ["", *probabilities_table(judged)]
    return [*out, "", *boxes_table(judged, truth, model.decision), "", *costs_table(costs)]


# ---------------------------------------------------------------- steps


def judge(labelled: pd.DataFrame, model: fusion.Fusion) -> pd.DataFrame:
    """The pairs with the scores of all steps; of a pair that a step has not among its candidates it is missing."""
    by_global = labelled.global_rank.notna()
    united = (labelled.global_score.notna() | labelled.local_rank.notna()).to_numpy()
    scores = evaluation.steps(labelled, labelled.score, by_global)
    for name in list(scores)[-2:]:  # those with local candidates
        scores[name] = scores[name].where(united)
    candidates = labelled[united]
    for name, rows in (
        ("+ fusion", candidates),
        ("fusion without global scores", candidates.assign(global_score=np.nan)),
        ("fusion, global scores halved", candidates.assign(global_score=candidates.global_score / 2)),
    ):
        probability = fusion.one_source(rows, fusion.predict(model, fusion.feature_table(rows)))
        scores[name] = pd.Series(probability, index=rows.index).reindex(labelled.index)
    return labelled.assign(**{f"step {name}": score for name, score in scores.items()})


def steps_of(judged: pd.DataFrame) -> list[str]:
    """The names of the steps, in order."""
    return [name.removeprefix("step ") for name in judged.columns if name.startswith("step ")]


def steps_table(judged: pd.DataFrame, truth: pd.DataFrame) -> list[str]:
    """Micro-AP and recall at a precision of 90 %, with and without look-alikes, and recall at the first rank."""
    out = ["| | micro-AP | recall at P90 | recall at 1 | with look-alikes: micro-AP | recall at P90 |"]
    out += ["|---|---|---|---|---|---|"]
    for step in steps_of(judged):
        cells = []
        for queries in (truth[truth.role != "look-alike"], truth):
            rows = judged[judged.query_id.isin(queries.query_id) & judged[f"step {step}"].notna()]
            ranked = rows[["query_id", "reference_id"]].assign(score=rows[f"step {step}"])
            true = queries.loc[queries.role == "copy", ["query_id", "reference_id"]]
            hits = metrics.mark_hits(ranked, true)
            for metric in (metrics.weighted_average_precision, evaluation.recall_at_p90):
                once = np.ones((1, len(hits)), np.int64)
                order = metrics.worst_case_order(ranked.score, hits)
                value = metric(hits[order], once, np.array([len(true)]))[0]
                rng = runtime.generator("bootstrap", len(queries))
                names = queries.query_id.tolist()
                low, high = metrics.interval(metrics.bootstrap_values(ranked, true, names, metric, SAMPLES, rng, hits))
                cells.append(f"{value:.3f} [{low:.3f}, {high:.3f}]")
            if len(cells) == 2:
                cells.append(f"{metrics.recall_at_rank(ranked, true, 1, hits):.3f}")
        out.append(f"| {step} | {' | '.join(cells)} |")
    return out


def kinds_table(judged: pd.DataFrame, truth: pd.DataFrame, decision: float) -> list[str]:
    """By kind of edit: whether the copy stands first of its query, and whether it is called one."""
    shown = [step for step in steps_of(judged) if not step.startswith("fusion")]
    out = [f"| recall at 1 | copies | {' | '.join(shown)} | called | no candidate |"]
    out += [f"|---|---|{'---|' * len(shown)}---|---|"]
    copies = truth[truth.role == "copy"]
    for kind in (*edits.KINDS, None):
        chosen = copies if kind is None else copies[copies.kind == kind]
        if not len(chosen):
            continue
        rows = judged[judged.query_id.isin(chosen.query_id)]
        shares = []
        for step in shown:
            ranked = rows[rows[f"step {step}"].notna()]
            ranked = ranked[["query_id", "reference_id"]].assign(score=ranked[f"step {step}"])
            shares.append(metrics.recall_at_rank(ranked, chosen[["query_id", "reference_id"]], 1))
        true = rows[rows["copy"] & rows["step + fusion"].notna()]
        shares += [(true["step + fusion"] >= decision).sum() / len(chosen), 1 - len(true) / len(chosen)]
        name = "all" if kind is None else kind.replace("_", " ")
        out.append(f"| {name} | {len(chosen)} | {' | '.join(f'{share:.2f}' for share in shares)} |")
    return out


# ---------------------------------------------------------------- decision, calibration, boxes, cost


def decision_table(judged: pd.DataFrame, truth: pd.DataFrame, decision: float) -> list[str]:
    """Precision and recall at the model's decision, with intervals of Clopper and Pearson."""
    out = [f"| decision: {decision:.3f} | pairs called | precision | recall |", "|---|---|---|---|"]
    positives = (truth.role == "copy").sum()
    sets = {
        "copies and negatives": judged.role != "look-alike",
        "with look-alikes": judged.role != "",
        "copies and look-alikes": judged.role != "negative",
    }
    for step in ("+ fusion", "fusion without global scores", "fusion, global scores halved"):
        for name, chosen in sets.items():
            called = judged[chosen & (judged[f"step {step}"] >= decision)]
            n, k = len(called), int(called["copy"].sum())
            low, high = exact_interval(k, n) if n else (0.0, 1.0)
            share = f"{k / max(n, 1):.3f} [{low:.3f}, {high:.3f}]"
            out.append(f"| {step.removeprefix('+ ')}, {name} | {n} | {share} | {k / positives:.3f} |")
    return out


def probabilities_table(judged: pd.DataFrame) -> list[str]:
    """Predicted probabilities beside observed shares."""
    out = ["| probability | copies and negatives: pairs | predicted | observed | with look-alikes: observed |"]
    out += ["|---|---|---|---|---|"]
    rows = judged[judged["step + fusion"].notna()]
    plain = rows[rows.role != "look-alike"]
    first, second = (
        reliability_table(part["step + fusion"].to_numpy(), part["copy"].to_numpy(bool)).set_index("low")
        for part in (plain, rows)
    )
    low: Any
    for low, row in first.iterrows():
        observed = f"{row.observed:.3f} [{row.observed_low:.3f}, {row.observed_high:.3f}]"
        out.append(
            f"| {low:.1f} to {row.high:.1f} | {row.pairs:.0f} | {row.predicted:.3f} | {observed} | "
            f"{second.observed[low]:.3f} |"
        )
    return out


def boxes_table(judged: pd.DataFrame, truth: pd.DataFrame, decision: float) -> list[str]:
    """How well the evidence's boxes of the copies that are called lie over the true ones."""
    out = ["| boxes of called copies: IoU | copies | query: median | 10 % | reference: median | 10 % |"]
    out += ["|---|---|---|---|---|---|"]
    called = judged[judged["copy"] & (judged["step + fusion"] >= decision)].merge(truth[["query_id", "kind"]])
    overlap = {side: intersection_over_union(called, side) for side in ("query", "reference")}
    for kind in (*edits.KINDS, None):
        chosen = np.ones(len(called), bool) if kind is None else (called.kind == kind).to_numpy()
        if chosen.any():
            cells = [f"{np.quantile(overlap[side][chosen], q):.3f}" for side in overlap for q in (0.5, 0.1)]
            out.append(
                f"| {'all' if kind is None else kind.replace('_', ' ')} | {chosen.sum()} | {' | '.join(cells)} |"
            )
    return out


def intersection_over_union(pairs: pd.DataFrame, side: str) -> np.ndarray:
    """IoU of the boxes `{side}_x0` … with `true_{side}_x0` …; 0 where none was found."""
    found, true = (pairs[[f"{prefix}{side}_{name}" for name in BOX]].to_numpy(float) for prefix in ("", "true_"))
    sides = np.minimum(found[:, 2:], true[:, 2:]) - np.maximum(found[:, :2], true[:, :2])
    shared = np.prod(np.maximum(sides, 0), axis=1)
    union = sum(np.prod(box[:, 2:] - box[:, :2], axis=1) for box in (found, true)) - shared
    return np.nan_to_num(shared / union)


def collages_table(pairs: pd.DataFrame, truth: pd.DataFrame, model: fusion.Fusion) -> list[str]:
    """Of collages and pastes: how many of their references are candidates and called, and how often all of them."""
    out = ["| collages of | collages | references | candidates | called | all called | other pairs called |"]
    out += ["|---|---|---|---|---|---|---|"]
    pairs = pairs[pairs.global_score.notna() | pairs.local_rank.notna()].reset_index(drop=True)
    probability = fusion.one_source(pairs, fusion.predict(model, fusion.feature_table(pairs)))
    pairs = pairs.assign(called=probability >= model.decision, suspected=fusion.suspected_copies(pairs))
    shown = truth.merge(pairs, how="left", on=["query_id", "reference_id"])
    other = pairs.merge(truth[["query_id", "kind"]].drop_duplicates(), on="query_id")
    other = other.merge(truth, how="left", on=["query_id", "reference_id"], indicator=True)
    other = other[(other._merge == "left_only") & ~other.suspected]
    for kind, rows in shown.groupby("kind", sort=False):
        called = rows.called.fillna(False).astype(bool)
        whole = called.groupby(rows.query_id).all()
        shares = []
        for count, total in ((int(called.sum()), len(rows)), (int(whole.sum()), len(whole))):
            low, high = exact_interval(count, total)
            shares.append(f"{count / total:.3f} [{low:.3f}, {high:.3f}]")
        found, wrong = int(rows.inliers.notna().sum()), int(other.called[other.kind_x == kind].sum())
        out.append(f"| {kind} | {len(whole)} | {len(rows)} | {found} | {' | '.join(shares)} | {wrong} |")
    return out


def costs_table(costs: pd.DataFrame) -> list[str]:
    """Processor's milliseconds of each stage, and bytes of a reference."""
    out = ["| stage | times | ms each | ms a query |", "|---|---|---|---|"]
    queries = float(costs.set_index("stage").amount["query"])
    row: Any
    for row in costs[costs.unit == "s"].itertuples():
        each = 1000 * row.amount / row.times
        per_query = "" if row.stage.startswith("references") else f"{1000 * row.amount / queries:.1f}"
        out.append(f"| {row.stage} | {row.times:,} | {each:.1f} | {per_query} |")
    out += ["", "| a reference | bytes |", "|---|---|"]
    return out + [f"| {row.stage} | {row.amount:,.0f} |" for row in costs[costs.unit == "bytes"].itertuples()]


if __name__ == "__main__":
    verified_pairs.run(main)
