"""Draw the gallery of the descriptor track's nearest pairs: right, wrong and missed ones, or without truth the best."""

from pathlib import Path

import pandas as pd

from copytrace import ensembling, gallery, ground_truth, parts, runtime

SOURCE = "descriptors.csv, the descriptor track's nearest pairs"
LEGEND = "A score is minus the squared Euclidean distance of the two descriptors, the query's stretched."
REPLACED = "Where a detected box of a query was described instead of the whole, it is outlined, and shown beside it."


def main() -> None:
    """Read the arguments, choose pairs, draw the sheets."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--list", type=Path, required=True, help="CSV query_id,reference_id,score")
    parser.add_input("--queries", type=Path, required=True, help="manifest of the queries")
    parser.add_input("--references", type=Path, required=True, help="manifest of the references")
    parser.add_input("--replaced", type=Path, help="parts table of the queries, where some are replaced by a box")
    parser.add_input("--ground-truth", type=Path, help="CSV query_id,reference_id")
    parser.add_argument("--count", choices=["all", "listed"], required=True, help="evaluation.queries")
    parser.add_argument("--matches", type=int, required=True, help="rows of a sheet")
    parser.add_argument("--threads", type=int, required=True)
    args = gallery.parse_sheets(parser)
    runtime.set_threads(args.threads)
    with runtime.Throughput("matches", args.threads) as done:
        nearest = ensembling.read_final(args.list)
        truth = ground_truth.read(args.ground_truth) if args.ground_truth else None
        choices = gallery.choose(nearest, truth, args.count, args.matches)
        shown = pd.concat([choice.pairs for choice in choices])
        of_queries = gallery.among("image_id", shown["query_id"])
        queries = pd.read_parquet(args.queries, filters=of_queries)
        references = pd.read_parquet(args.references, filters=gallery.among("image_id", shown["reference_id"]))
        described = (
            pd.read_parquet(args.replaced, filters=of_queries) if args.replaced else parts.whole_pictures(queries)
        )
        sides = gallery.pictures(queries, described), gallery.pictures(references, parts.whole_pictures(references))
        sheets = {
            path: (choice, gallery.describe_nearest(choice.pairs, *sides, len(nearest)))
            for path, choice in zip(args.sheets, choices, strict=True)
        }
        gallery.draw_sheets(sheets, SOURCE, REPLACED if args.replaced else "", LEGEND)
        done.add(len(shown))


if __name__ == "__main__":
    runtime.run(main)
