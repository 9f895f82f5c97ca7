"""The best pairs of all shards of a unit's search together, by name."""

import numpy as np
import pandas as pd

from copytrace import descriptor_files, ensembling, matching, runtime
from copytrace.sharding import shard_of


def main() -> None:
    """Read the arguments, cut each model's and scale's pairs over all shards, write one table of pairs."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pairs", required=True, nargs="+", help="the shards' tables, in order")
    parser.add_input("--queries", required=True, nargs="+", help="descriptor files of all query parts")
    parser.add_input("--references", required=True, nargs="+", help="descriptor files of all references or tiles")
    parser.add_argument("--models", required=True, nargs="+")
    parser.add_argument("--scales", required=True, type=int, nargs="+")
    parser.add_argument("--pairs-per-query", required=True, type=int, help="pairs kept, over all queries together")
    parser.add_argument("--whole-queries", action="store_true", help="whole query pictures only (for tiles)")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)

    queries = descriptor_files.read_rows(args.queries)
    references = descriptor_files.read_rows(args.references)
    chosen = matching.chosen_parts(queries, args.whole_queries)
    count = matching.pairs_to_keep(queries, chosen, args.pairs_per_query)
    shards = len(args.pairs)
    rows = [sum(map(descriptor_files.count_rows, shard_of(args.references, i, shards))) for i in range(shards)]

    tables = []
    with runtime.Throughput("pairs", args.threads) as done:
        for model in args.models:
            for scale in args.scales:
                best = matching.BestPairs(count)
                for path, first_row in zip(args.pairs, np.cumsum([0, *rows[:-1]]), strict=True):
                    pairs = matching.read_pairs(path, model, scale)
                    pairs.reference = pairs.reference + first_row
                    best.add(pairs)
                    done.add(len(pairs))
                tables.append(_named(best.ranked().table(model, scale), queries, references))
    ensembling.write_pairs(args.output, pd.concat(tables, ignore_index=True))


def _named(pairs: pd.DataFrame, queries: pd.DataFrame, references: pd.DataFrame) -> pd.DataFrame:
    """Ids and parts in the place of rows."""
    query, reference = queries.iloc[pairs["query"]], references.iloc[pairs["reference"]]
    return pairs.assign(
        query_id=query.image_id.to_numpy(),
        query_part=query.part.to_numpy(),
        reference_id=reference.image_id.to_numpy(),
        reference_part=reference.part.to_numpy(),
    )


if __name__ == "__main__":
    runtime.run(main)
