"""Merge the voted pairs of all families, and of the reference tiles, into the ranked list of matches."""

import json
from pathlib import Path

import pandas as pd

from copytrace import ensembling, runtime
from copytrace.tables import read_footer


def main() -> None:
    """Read the arguments, combine, write the ranked list."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--voted", type=Path, nargs="+", required=True, help="voted pairs of the families")
    parser.add_input(
        "--tile-votes",
        type=Path,
        nargs="*",
        default=[],
        help="voted pairs of whole queries and reference tiles",
    )
    parser.add_input("--parts", type=Path, required=True, help="parts of the queries")
    parser.add_input("--faces", type=Path, help="number of faces in each reference")
    parser.add_argument("--ensembling", required=True, help="the section `ensembling` as JSON")
    parser.add_argument("--family-sides", required=True, help='JSON {"family": minimum part side in pixels}')
    parser.add_input("--queries", type=Path, required=True, help="manifest of the queries")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_output("--output", type=Path, required=True, help="CSV query_id,reference_id,score")
    args = parser.parse()
    runtime.set_threads(args.threads)

    settings = ensembling.Ensembling.from_json(args.ensembling)
    sides = json.loads(args.family_sides)
    parts = ensembling.read_parts(args.parts)
    queries = read_footer(args.queries).num_rows
    with runtime.Throughput("pairs", args.threads) as done:
        evidence = []
        for path in args.voted:
            voted = ensembling.read_pairs([path])
            evidence.append(ensembling.collect_evidence(voted, parts, sides, settings))
            done.add(len(voted))
        if args.tile_votes:
            faces = pd.read_parquet(args.faces) if args.faces else None
            tiles = ensembling.read_pairs(args.tile_votes)
            evidence.append(ensembling.collect_tile_evidence(tiles, faces, settings))
            done.add(len(tiles))
        rows = ensembling.stack(evidence)
        del evidence
        scored = ensembling.final_scores(rows, settings.final_score)
        final = ensembling.cut(scored, settings.rows_per_query, queries, settings.maximum_rows)
        ensembling.write_final(args.output, final)
    runtime.log.info("%d pairs of %d queries: %s", len(final), queries, args.output)


if __name__ == "__main__":
    runtime.run(main)
