"""What score normalisation subtracts from the similarities of some query parts: how alike unrelated pictures are."""

import json

import numpy as np

from copytrace import descriptor_files, low_precision, matching, runtime
from copytrace.errors import InputError
from copytrace.synthesis.classes import class_ids


def main() -> None:
    """Read the arguments, hold the queries against the background for every model and scale, write one file."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--queries", required=True, nargs="+", help="descriptor files of query parts")
    parser.add_input("--background", required=True, nargs="+", help="descriptor files of the training pictures")
    parser.add_input("--training", required=True, help="manifest of the training pictures")
    parser.add_input("--faces", help="faces of the training pictures, for a family with classes of faces")
    parser.add_argument("--models", required=True, nargs="+")
    parser.add_argument("--scales", required=True, type=int, nargs="+")
    parser.add_argument("--matching", required=True, type=json.loads, help="neighbours and weight")
    parser.add_argument("--class-stride", type=int, help="leave the pictures trained on out of the background")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    neighbours, weight = args.matching["neighbours"], args.matching["weight"]

    queries = len(descriptor_files.read_rows(args.queries))
    excluded = class_ids(args.training, args.class_stride, args.faces)  # D²LV sheet, E20
    kept = ~descriptor_files.read_rows(args.background).image_id.isin(excluded).to_numpy()
    left = int(kept.sum())
    if left < neighbours:
        raise InputError(
            f"{left} training pictures are left as background for {', '.join(args.models)}, but matching.neighbours is "
            f"{neighbours}: name more training pictures, or set matching.exclude_trained: false"
        )

    found = {}
    similarities = queries * left
    searches = len(args.models) * len(args.scales)
    with runtime.Throughput("similarities", args.threads, total=searches * similarities) as meter:
        for model in args.models:
            for scale in args.scales:
                vectors = descriptor_files.read_chosen(args.queries, model, scale, np.ones(queries, bool))
                background = descriptor_files.read_chosen_blocks(args.background, model, scale, kept)
                index = low_precision.index_for(similarities * vectors.shape[1])
                found[model, scale] = matching.query_bias(vectors, background, neighbours, weight, index)
                meter.add(similarities)
    descriptor_files.write_bias(args.output, found)


if __name__ == "__main__":
    runtime.run(main)
