"""Draw the galleries of verified matches: pairs called copies, and doubtful pairs."""

from pathlib import Path

import pandas as pd

from copytrace import evidence_gallery, gallery, ground_truth, runtime
from copytrace.ground_truth import PAIR
from copytrace.verification.matches import read_matches
from copytrace.verification.pair_files import POINTS, read_pairs


def main() -> None:
    """Read the arguments, choose pairs, read what agrees in them, draw the sheets."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--matches", required=True, type=Path, help="matches.csv")
    parser.add_input("--pairs", required=True, nargs="+", help="tables of measured pairs")
    parser.add_input("--queries", required=True, type=Path, help="manifest of the queries")
    parser.add_input("--references", required=True, type=Path, help="manifest of the references")
    parser.add_input("--ground-truth", type=Path, help="CSV query_id,reference_id")
    parser.add_argument("--count", choices=["all", "listed"], required=True, help="evaluation.queries")
    parser.add_argument("--rows", type=int, required=True, help="of a sheet")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_output("--copies", required=True, type=Path, help="sheet of pairs called copies (PNG)")
    parser.add_output("--doubtful", required=True, type=Path, help="sheet of the least sure pairs (PNG)")
    args = parser.parse()
    runtime.set_threads(args.threads)

    with runtime.Throughput("matches", args.threads) as done:
        truth = ground_truth.read(args.ground_truth) if args.ground_truth else None
        matches = evidence_gallery.judge_decisions(read_matches(args.matches), truth, args.count)
        choices = {
            args.copies: evidence_gallery.choose_copies(matches, args.rows),
            args.doubtful: evidence_gallery.choose_doubtful(matches, args.rows),
        }
        shown = pd.concat([choice.pairs[PAIR] for choice in choices.values()]).drop_duplicates()
        points = read_pairs(args.pairs, [*PAIR, "local_ncc", "hash_distance", *POINTS], shown)
        queries = paths(args.queries, shown["query_id"])
        references = paths(args.references, shown["reference_id"])
        for path, choice in choices.items():
            evidence_gallery.draw_sheet(choice, points, queries, references, path)
            done.add(len(choice.pairs))
            runtime.log.info("%s: %s", choice.title, path)


def paths(manifest: Path, ids: pd.Series) -> dict[str, str]:
    """Where some pictures of a manifest lie, by their ids."""
    rows = pd.read_parquet(manifest, filters=gallery.among("image_id", ids))
    return dict(zip(rows["image_id"], rows["path"]))


if __name__ == "__main__":
    runtime.run(main)
