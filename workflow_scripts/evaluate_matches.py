"""Measure the verified matches beside the ranked list that they started from, step by step, and their probabilities."""

import json
from pathlib import Path

import pandas as pd

from copytrace import ablation, ensembling, ground_truth, runtime
from copytrace.ground_truth import PAIR
from copytrace.verification import evaluation
from copytrace.verification.matches import read_matches
from copytrace.verification.pair_files import read_pairs
from copytrace.verification.reliability import draw_reliability


def main() -> None:
    """Read the arguments, measure, write numbers, table and diagram."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--matches", type=Path, required=True, help="matches.csv")
    parser.add_input("--final", type=Path, required=True, help="matching.csv")
    parser.add_input("--pairs", type=Path, nargs="+", required=True, help="tables of measured pairs, of all queries")
    parser.add_input("--ground-truth", type=Path, required=True, help="CSV query_id,reference_id")
    parser.add_input("--queries", type=Path, required=True, help="manifest of the queries")
    parser.add_input("--edits", type=Path, help="CSV query_id,kind: the edit that made a query, where it is known")
    parser.add_argument("--evaluation", required=True, help="the section `evaluation` as JSON")
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_output("--output", type=Path, required=True, help="matches.json")
    parser.add_output("--table", type=Path, required=True, help="the measures as CSV")
    parser.add_output("--figure", type=Path, required=True, help="reliability diagram as PNG")
    parser.add_output("--curves", type=Path, required=True, help="both lists' precision over recall as PNG")
    args = parser.parse()
    runtime.set_threads(args.threads)
    settings = ablation.Evaluation.from_json(args.evaluation)
    queries = pd.read_parquet(args.queries, columns=["image_id"])["image_id"].tolist()
    truth = ground_truth.read(args.ground_truth)
    task = ablation.task(truth, queries, settings, args.seed, args.ground_truth)
    matches = read_matches(args.matches)
    pairs = read_pairs(args.pairs, [*PAIR, "global_score", "hash_distance", "inliers", "local_ncc"])
    scores = evaluation.steps(pairs, pairs["global_score"], pairs["global_score"].notna())
    steps = {name: pairs.assign(score=score)[score.notna()] for name, score in scores.items()}
    with runtime.Throughput("lists of matches", args.threads) as done:
        lists = {
            "ranked list": ensembling.read_final(args.final),
            **{name: final for name, final in steps.items() if len(final)},
            "verified matches": matches.rename(columns={"probability": "score"})[ensembling.FINAL_COLUMNS],
        }
        rows = [ablation.measure(name, "verification", final, task) for name, final in lists.items()]
        recalls = [evaluation.recall_interval(final, task) for final in lists.values()]
        decided = evaluation.at_decision(matches, task)
        reliability = evaluation.reliability(matches, task)
        done.add(len(lists))
    result = {
        "protocol": {
            "queries": len(task.queries),
            "queries_counted": settings.queries,
            "positives": len(task.truth),
            "pairs": len(matches),
            "interval": f"{task.confidence:.0%} percentile bootstrap over queries, {task.samples} samples",
            "seed": task.seed,
        },
        "rows": ablation.as_json(rows),
        "recall_at_p90_intervals": [list(recall) for recall in recalls],
        "gain": evaluation.gain(rows[-1], rows[0], task),
        "decision": decided,
        "reliability": reliability.to_dict("records"),
    }
    with runtime.atomic_output(args.output) as temporary:
        temporary.write_text(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    table = evaluation.as_table(rows, recalls, decided)
    if args.edits:
        kinds = pd.read_csv(args.edits, dtype=str).set_index("query_id")["kind"]
        table = pd.concat([table, evaluation.recall_by_kind(lists, kinds, task)])
    with runtime.atomic_output(args.table) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")
    draw_reliability(reliability, args.figure)
    ablation.draw_precision_recall([(row.name, row) for row in (rows[0], rows[-1])], args.curves)
    for line in table.itertuples(index=False):
        runtime.log.info("%-29s %-24s %-16s %.3f [%.3f, %.3f]", *line)


if __name__ == "__main__":
    runtime.run(main)
