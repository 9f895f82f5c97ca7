"""Score-normalised best pairs of a unit's models: query parts against some of the references or of their tiles."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from copytrace import descriptor_files, low_precision, matching, runtime


def main() -> None:
    """Read the arguments, match every model and scale, write one table of pairs by their rows."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--queries", required=True, nargs="+", help="descriptor files of all query parts")
    parser.add_input("--normalisation", required=True, nargs="+", help="what is subtracted from their similarities")
    parser.add_input("--references", required=True, nargs="+", help="descriptor files of references or tiles")
    parser.add_argument("--models", required=True, nargs="+")
    parser.add_argument("--scales", required=True, type=int, nargs="+")
    parser.add_argument("--pairs-per-query", required=True, type=int, help="pairs kept, over all queries together")
    parser.add_argument("--whole-queries", action="store_true", help="whole query pictures only (for tiles)")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True, help="Parquet: model, scale, rows of query part and reference, score")
    args = parser.parse()
    runtime.set_threads(args.threads)

    parts = descriptor_files.read_rows(args.queries)
    chosen = matching.chosen_parts(parts, args.whole_queries)
    rows = np.flatnonzero(chosen)
    count = matching.pairs_to_keep(parts, chosen, args.pairs_per_query)

    tables = []
    similarities = len(rows) * sum(map(descriptor_files.count_rows, args.references))
    searches = len(args.models) * len(args.scales)
    with runtime.Throughput("similarities", args.threads, total=searches * similarities) as meter:
        for model in args.models:
            for scale in args.scales:
                queries = descriptor_files.read_chosen(args.queries, model, scale, chosen)
                bias = descriptor_files.read_bias(args.normalisation, model, scale)[chosen]

                def references(model: str = model, scale: int = scale) -> Iterable[np.ndarray]:
                    for path in args.references:
                        yield from descriptor_files.read_blocks(path, model, scale)

                index = low_precision.index_for(similarities * queries.shape[1])
                pairs = matching.best_pairs(queries, bias, references, count, index)
                pairs.query = rows[pairs.query]
                tables.append(pairs.table(model, scale))
                meter.add(similarities)
    with runtime.atomic_output(args.output) as temporary:
        pd.concat(tables, ignore_index=True).to_parquet(temporary, index=False)


if __name__ == "__main__":
    runtime.run(main)
