"""Score-normalised best pairs of a unit's models: query parts against references or their tiles."""

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd

from copytrace import descriptor_files, matching, runtime
from copytrace.errors import InputError
from copytrace.synthesis.classes import class_ids


def main() -> None:
    """Read the arguments, match every model and scale, write one table of pairs."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--queries", required=True, nargs="+", help="descriptor files of the query parts")
    parser.add_input("--references", required=True, nargs="+", help="descriptor files of references or tiles")
    parser.add_input("--background", required=True, nargs="+", help="descriptor files of the training pictures")
    parser.add_input("--training", required=True, help="manifest of the training pictures")
    parser.add_input("--faces", help="faces of the training pictures, for a family with classes of faces")
    parser.add_argument("--models", required=True, nargs="+")
    parser.add_argument("--scales", required=True, type=int, nargs="+")
    parser.add_argument("--matching", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--class-stride", type=int, help="leave the pictures trained on out of the background")
    parser.add_argument("--whole-queries", action="store_true", help="whole query pictures only (for tiles)")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    settings = args.matching

    query_rows = descriptor_files.read_rows(args.queries)
    reference_rows = descriptor_files.read_rows(args.references)
    chosen = query_rows.part.to_numpy() == 0 if args.whole_queries else np.ones(len(query_rows), bool)
    query_rows = query_rows[chosen].reset_index(drop=True)
    count = settings["pairs_per_query"] * query_rows.image_id.nunique()
    excluded = class_ids(args.training, args.class_stride, args.faces)  # D²LV sheet, E20
    background_rows = {
        path: ~descriptor_files.read_rows([path]).image_id.isin(excluded).to_numpy() for path in args.background
    }
    left = sum(int(kept.sum()) for kept in background_rows.values())
    if left < settings["neighbours"]:
        raise InputError(
            f"{left} training pictures are left as background for {', '.join(args.models)}, but matching.neighbours is "
            f"{settings['neighbours']}: name more training pictures, or set matching.exclude_trained: false"
        )

    tables = []
    similarities = len(query_rows) * len(reference_rows)
    searches = len(args.models) * len(args.scales)
    with runtime.Throughput("similarities", args.threads, total=searches * similarities) as meter:
        for model in args.models:
            for scale in args.scales:
                queries = descriptor_files.read_chosen(args.queries, model, scale, chosen)

                def background(model: str = model, scale: int = scale) -> Iterable[np.ndarray]:
                    for path, kept in background_rows.items():
                        yield descriptor_files.read_chosen([path], model, scale, kept)

                def references(model: str = model, scale: int = scale) -> Iterable[np.ndarray]:
                    for path in args.references:
                        yield from descriptor_files.read_blocks(path, model, scale)

                bias = matching.query_bias(queries, background(), settings["neighbours"], settings["weight"])
                pairs = matching.best_pairs(queries, bias, references, count)
                tables.append(_table(model, scale, pairs, query_rows, reference_rows))
                meter.add(similarities)
    with runtime.atomic_output(args.output) as temporary:
        pd.concat(tables, ignore_index=True).to_parquet(temporary, index=False)


def _table(
    model: str, scale: int, pairs: matching.Pairs, queries: pd.DataFrame, references: pd.DataFrame
) -> pd.DataFrame:
    query, reference = queries.iloc[pairs.query], references.iloc[pairs.reference]
    return pd.DataFrame(
        {
            "model": model,
            "scale": np.int32(scale),
            "query_id": query.image_id.to_numpy(),
            "query_part": query.part.to_numpy(),
            "reference_id": reference.image_id.to_numpy(),
            "reference_part": reference.part.to_numpy(),
            "score": pairs.score,
        }
    )


if __name__ == "__main__":
    runtime.run(main)
