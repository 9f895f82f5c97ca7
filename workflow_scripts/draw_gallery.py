"""Draw the gallery of matches: right, wrong and missed ones, or the best where there is no ground truth."""

import json
from pathlib import Path

import pandas as pd

from copytrace import ensembling, gallery, ground_truth, runtime

SCORE = "A score is the mean of its pieces of evidence."
VERIFIED = "Not the last word: verification, matches.csv, can find what this list misses and drop what is wrong."


def main() -> None:
    """Read the arguments, choose pairs, read their evidence, draw the sheets."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--final", type=Path, required=True, help="CSV query_id,reference_id,score")
    parser.add_input("--voted", type=Path, nargs="+", required=True, help="voted pairs of the families")
    parser.add_input(
        "--tile-votes",
        type=Path,
        nargs="*",
        default=[],
        help="voted pairs of whole queries and reference tiles; needs --tiles",
    )
    parser.add_input("--parts", type=Path, required=True, help="parts of the queries")
    parser.add_input("--tiles", type=Path, help="tiles of the references")
    parser.add_input("--faces", type=Path, help="number of faces in each reference")
    parser.add_input("--queries", type=Path, required=True, help="manifest of the queries")
    parser.add_input("--references", type=Path, required=True, help="manifest of the references")
    parser.add_input("--ground-truth", type=Path, help="CSV query_id,reference_id")
    parser.add_argument(
        "--count",
        choices=["all", "listed"],
        default="all",
        help="evaluation.queries: judge all queries, or those that the ground truth names",
    )
    parser.add_argument("--ensembling", required=True, help="the section `ensembling` as JSON")
    parser.add_argument("--family-sides", required=True, help='JSON {"family": minimum part side in pixels}')
    parser.add_argument("--matches", type=int, default=8, help="rows of a sheet")
    parser.add_argument("--verified", action="store_true", help="there is a verified list, too: the sheets say so")
    parser.add_argument("--threads", type=int, default=1)
    args = gallery.parse_sheets(parser)
    if args.tile_votes and not args.tiles:
        parser.error("--tile-votes needs --tiles")
    runtime.set_threads(args.threads)

    settings = ensembling.Ensembling.from_json(args.ensembling)
    with runtime.Throughput("matches", args.threads) as done:
        final = ensembling.read_final(args.final)
        truth = ground_truth.read(args.ground_truth) if args.ground_truth else None
        choices = gallery.choose(final, truth, args.count, args.matches)
        shown = pd.concat([choice.pairs for choice in choices])
        of_queries = gallery.among("image_id", shown["query_id"])
        of_references = gallery.among("image_id", shown["reference_id"])
        parts = pd.read_parquet(args.parts, filters=of_queries)
        faces = pd.read_parquet(args.faces, filters=of_references) if args.faces else None
        tiles = pd.read_parquet(args.tiles, filters=of_references) if args.tiles else None
        evidence = gallery.read_evidence(
            shown, args.voted, args.tile_votes, parts, faces, json.loads(args.family_sides), settings
        )
        queries = gallery.pictures(pd.read_parquet(args.queries, filters=of_queries), parts)
        manifest = pd.read_parquet(args.references, filters=of_references)
        references = gallery.pictures(manifest, gallery.whole_and_tiles(manifest, tiles))
        sheets = {}
        for path, choice in zip(args.sheets, choices, strict=True):
            pairs = gallery.check_scores(choice.pairs, evidence, settings.final_score)
            matches = gallery.describe_matches(pairs, evidence, queries, references, len(final), settings)
            sheets[path] = choice, matches
        source = "matching.csv, the ranked list" + ", before verification" * args.verified
        gallery.draw_sheets(sheets, source, VERIFIED if args.verified else "", f"{gallery.LEGEND} {SCORE}")
        done.add(len(shown))


if __name__ == "__main__":
    runtime.run(main)
