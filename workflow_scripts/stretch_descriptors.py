"""Average the scales of the descriptor track, stretch the queries, write the contest's file and the nearest pairs."""

import json

import numpy as np
import pandas as pd

from copytrace import descriptor_files, ensembling, runtime, stretching, submission
from copytrace.synthesis.classes import class_ids


def main() -> None:
    """Read the arguments, average, stretch, write one file with both sides, search, write the list."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--query-vectors", required=True, nargs="+", help="descriptor files of the queries")
    parser.add_input("--reference-vectors", required=True, nargs="+", help="descriptor files of the references")
    parser.add_input("--background", required=True, nargs="+", help="descriptor files of the training pictures")
    parser.add_input("--queries", required=True, help="manifest of the queries")
    parser.add_input("--references", required=True, help="manifest of the references")
    parser.add_input("--training", required=True, help="manifest of the training pictures")
    parser.add_input("--faces", help="faces of the training pictures, for a family with classes of faces")
    parser.add_argument("--model", required=True)
    parser.add_argument("--scales", required=True, type=int, nargs="+")
    parser.add_argument("--stretching", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--class-stride", type=int, help="leave the pictures trained on out of the background")
    parser.add_argument("--pairs-per-query", required=True, type=float, help="pairs in the list, over all queries")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True, help="file in the submission format")
    parser.add_output("--list", required=True, help="CSV query_id,reference_id,score")
    args = parser.parse()
    runtime.set_threads(args.threads)
    settings = stretching.Stretching(**args.stretching)

    with runtime.Throughput("descriptors", args.threads) as done:
        sides = []
        for files, manifest in ((args.query_vectors, args.queries), (args.reference_vectors, args.references)):
            vectors = np.concatenate([stretching.averaged(path, args.model, args.scales) for path in files])
            side = submission.Side(list(descriptor_files.read_rows(files).image_id), vectors)
            submission.check_ids(
                side, pd.read_parquet(manifest, columns=["image_id"]).image_id, f"{files[0]} and others"
            )
            sides.append(side)
            done.add(len(vectors))
        queries, references = sides
        excluded = class_ids(args.training, args.class_stride, args.faces)
        training = stretching.background(args.background, args.model, args.scales, excluded)
        lengths, raised = stretching.query_lengths(queries.vectors, training, settings)
    stretched = submission.Side(queries.ids, lengths[:, None] * queries.vectors)
    submission.write_submission(args.output, stretched, references)
    count = max(int(args.pairs_per_query * len(queries.ids)), 1)
    nearest = stretching.nearest_pairs(stretched.vectors, lambda: [references.vectors], count)
    ensembling.write_final(args.list, stretching.named(nearest, queries.ids, references.ids))
    runtime.log.info(
        "%d queries of length %.3f … %.3f, median %.3f; the mean similarity of %d was below %g and raised to it",
        len(lengths), lengths.min(), lengths.max(), np.median(lengths), raised.sum(), settings.minimum_mean,
    )  # fmt: skip


if __name__ == "__main__":
    runtime.run(main)
