"""Measure the descriptor track's list of pairs as the contest does, and what scales and stretching are worth."""

import json
from pathlib import Path

import pandas as pd

from copytrace import ablation, ensembling, ground_truth, runtime, stretching, track_evaluation
from copytrace.synthesis.classes import class_ids


def main() -> None:
    """Read the arguments, rank and measure every variant, write numbers and table."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--list", required=True, help="CSV query_id,reference_id,score: all scales, stretched")
    parser.add_input("--query-vectors", required=True, nargs="+", help="descriptor files of the queries")
    parser.add_input("--reference-vectors", required=True, nargs="+", help="descriptor files of the references")
    parser.add_input("--background", required=True, nargs="+", help="descriptor files of the training pictures")
    parser.add_input("--replaced", help="parts table of the queries, where some are replaced by a box")
    parser.add_input("--training", required=True, help="manifest of the training pictures")
    parser.add_input("--faces", help="faces of the training pictures, for a family with classes of faces")
    parser.add_input("--queries", required=True, type=Path, help="manifest of the queries")
    parser.add_input("--ground-truth", required=True, type=Path, help="CSV query_id,reference_id")
    parser.add_argument("--model", required=True)
    parser.add_argument("--scales", required=True, type=int, nargs="+")
    parser.add_argument("--stretching", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--normalisation", required=True, type=json.loads, help="neighbours and weight of matching")
    parser.add_argument("--class-stride", type=int, help="leave the pictures trained on out of the background")
    parser.add_argument("--pairs-per-query", required=True, type=float, help="pairs in a list, over all queries")
    parser.add_argument("--evaluation", required=True, help="the section of that name as JSON")
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_output("--output", type=Path, required=True, help="descriptors.json")
    parser.add_output("--table", type=Path, required=True, help="the rows as CSV")
    parser.add_output("--curves", type=Path, required=True, help="precision over recall of all scales together, PNG")
    args = parser.parse()
    runtime.set_threads(args.threads)
    evaluation = ablation.Evaluation.from_json(args.evaluation)
    truth = ground_truth.read(args.ground_truth)
    ids = pd.read_parquet(args.queries, columns=["image_id"])["image_id"].tolist()
    task = ablation.task(truth, ids, evaluation, args.seed, args.ground_truth)
    described = track_evaluation.Described(
        model=args.model,
        scales=args.scales,
        queries=args.query_vectors,
        references=args.reference_vectors,
        training=args.background,
        excluded=class_ids(args.training, args.class_stride, args.faces),
    )
    settings = stretching.Stretching(**args.stretching)
    count = max(int(args.pairs_per_query * len(ids)), 1)
    with runtime.Throughput("lists of matches", args.threads) as done:
        lists = {track_evaluation.SUBMITTED: ensembling.read_final(args.list)}
        done.add()
        for name, matches in track_evaluation.variants(described, settings, args.normalisation, count):
            lists[name] = matches
            done.add()
        rows, steps = track_evaluation.measure(lists, task)
    replaced = (pd.read_parquet(args.replaced)["kind"] != "whole").sum() if args.replaced else 0
    protocol = track_evaluation.protocol(described, task, evaluation.queries, settings, args.normalisation, count)
    result = {
        "protocol": protocol | {"replaced_queries": int(replaced)},
        "rows": ablation.as_json(rows),
        "steps": steps,
    }
    with runtime.atomic_output(args.output) as temporary:
        temporary.write_text(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    with runtime.atomic_output(args.table) as temporary:
        ablation.as_table(rows).to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")
    ablation.draw_precision_recall(track_evaluation.headline_rows(rows), args.curves)
    for line in track_evaluation.report_lines(rows, steps):
        runtime.log.info("%s", line)


if __name__ == "__main__":
    runtime.run(main)
