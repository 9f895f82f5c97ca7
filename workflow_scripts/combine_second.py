"""Merge the first list of matches with the voted pairs of models that were trained on known pairs."""

from pathlib import Path

from copytrace import ensembling, runtime
from copytrace.tables import read_footer


def main() -> None:
    """Read the arguments, take the larger score of each pair, write the ranked list."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--first", type=Path, required=True, help="CSV query_id,reference_id,score")
    parser.add_input("--voted", type=Path, nargs="+", required=True, help="voted pairs of the pair families")
    parser.add_argument("--ensembling", required=True, help="the section `ensembling` as JSON")
    parser.add_input("--queries", type=Path, required=True, help="manifest of the queries")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_output("--output", type=Path, required=True, help="CSV query_id,reference_id,score")
    args = parser.parse()
    runtime.set_threads(args.threads)

    settings = ensembling.Ensembling.from_json(args.ensembling)
    queries = read_footer(args.queries).num_rows
    with runtime.Throughput("pairs", args.threads) as done:
        voted, first = ensembling.read_pairs(args.voted), ensembling.read_final(args.first)
        best = ensembling.best_scores([first, voted])
        final = ensembling.cut(best, settings.rows_per_query, queries, settings.maximum_rows)
        ensembling.write_final(args.output, final)
        done.add(len(first) + len(voted))
    runtime.log.info("%d pairs of %d queries: %s", len(final), queries, args.output)


if __name__ == "__main__":
    runtime.run(main)
