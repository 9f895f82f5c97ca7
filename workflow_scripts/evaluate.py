"""Measure the ranked list of matches, and what each ingredient of the ensemble is worth."""

import json
from pathlib import Path

import pandas as pd

from copytrace import ablation, ensembling, ground_truth, runtime
from copytrace.tables import read_footer


def main() -> None:
    """Read the arguments, measure, write numbers, table, curves and figures."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--final", type=Path, required=True, help="the full system's CSV")
    parser.add_input("--pairs", type=Path, nargs="+", required=True, help="unvoted pairs of every family")
    parser.add_input("--tile-pairs", type=Path, nargs="*", default=[], help="unvoted reference-tile pairs")
    parser.add_input("--parts", type=Path, required=True, help="parts of the queries")
    parser.add_input("--faces", type=Path, help="number of faces in each reference")
    parser.add_input("--second", type=Path, help="the second submission's CSV")
    parser.add_input("--pair-votes", type=Path, nargs="*", default=[], help="voted pairs of each pair family")
    parser.add_argument("--second-submission", type=json.loads, required=True, help="the section of that name as JSON")
    parser.add_input("--hash", type=Path, help="the perceptual hash's CSV, as baseline")
    parser.add_input("--ground-truth", type=Path, required=True, help="CSV query_id,reference_id")
    parser.add_input("--queries", type=Path, required=True, help="manifest of the queries")
    parser.add_input("--references", type=Path, required=True, help="manifest of the references")
    parser.add_argument("--ensembling", required=True, help="the section `ensembling` as JSON")
    parser.add_argument("--evaluation", required=True, help="the section `evaluation` as JSON")
    parser.add_argument("--family-sides", required=True, help='JSON {"family": minimum part side in pixels}')
    parser.add_argument("--families", nargs="+", required=True, help="trained families of the full system")
    parser.add_argument("--untrained", nargs="*", default=[], help="families of untrained networks")
    parser.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_output("--output", type=Path, required=True, help="matching.json")
    parser.add_output("--table", type=Path, required=True, help="the rows as CSV")
    parser.add_output("--curve", type=Path, required=True, help="precision-recall curves as CSV")
    parser.add_output("--figure", type=Path, required=True, help="precision-recall curves as PNG")
    parser.add_output("--ablation-figure", type=Path, required=True, help="micro-AP of every row as PNG")
    args = parser.parse()
    runtime.set_threads(args.threads)

    settings = ensembling.Ensembling.from_json(args.ensembling)
    sides = json.loads(args.family_sides)
    evaluation = ablation.Evaluation.from_json(args.evaluation)
    queries = pd.read_parquet(args.queries, columns=["image_id"])["image_id"].tolist()
    truth = ground_truth.read(args.ground_truth)
    task = ablation.task(truth, queries, evaluation, args.seed, args.ground_truth)
    with runtime.Throughput("lists of matches", args.threads) as done:
        evidence = ablation.gather(
            ensembling.read_pairs(args.pairs, [*args.families, *args.untrained]),
            ensembling.read_pairs(args.tile_pairs) if args.tile_pairs else None,
            ensembling.read_parts(args.parts),
            pd.read_parquet(args.faces) if args.faces else None,
            sides,
            settings,
        )
        final = ensembling.read_final(args.final)
        hashes = ensembling.read_final(args.hash) if args.hash else None
        rows = ablation.ablation(evidence, final, hashes, args.families, args.untrained, settings, len(queries), task)
        if args.second:
            second = ensembling.read_final(args.second)
            votes = {
                family: ensembling.read_pairs([path])
                for family, path in zip(args.second_submission["families"], args.pair_votes, strict=True)
            }
            rows += ablation.second_submission(second, votes, settings, len(queries), task)
        done.add(len(rows))
    choices = ablation.protocol(
        evidence,
        task,
        read_footer(args.references).num_rows,
        args.families,
        args.untrained,
        sides,
        settings,
        evaluation.queries,
    )
    choices["second_submission"] = args.second_submission if args.second else None
    result = {
        "protocol": choices,
        "rows": ablation.as_json(rows),
        "summary": ablation.summary(rows),
    }
    with runtime.atomic_output(args.output) as temporary:
        temporary.write_text(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    with runtime.atomic_output(args.table) as temporary:
        ablation.as_table(rows).to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")
    with runtime.atomic_output(args.curve) as temporary:
        ablation.curves(rows).to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")
    ablation.draw_precision_recall(ablation.headline_rows(rows), args.figure)
    ablation.draw_ablation(rows, evaluation.confidence, args.ablation_figure)
    for line in ablation.report_lines(rows, choices):
        runtime.log.info("%s", line)


if __name__ == "__main__":
    runtime.run(main)
