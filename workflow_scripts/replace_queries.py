"""Table what the descriptor track describes of each query: a confidently detected overlay, or the whole picture."""

import json

import pandas as pd

from copytrace import parts, runtime


def main() -> None:
    """Read the arguments, choose a part of each query, write one table."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--queries", required=True, help="manifest of the queries")
    parser.add_input("--detections", required=True, nargs="+", help="what was detected in them")
    parser.add_argument("--replacement", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    queries = pd.read_parquet(args.queries)
    with runtime.Throughput("queries", args.threads, total=len(queries)) as done:
        detections = pd.concat(map(pd.read_parquet, args.detections), ignore_index=True)
        table = parts.replaced_pictures(detections, queries, **args.replacement)
        done.add(len(queries))
    runtime.log.info("%d of %d queries replaced by a box", (table["kind"] != "whole").sum(), len(table))
    with runtime.atomic_output(args.output) as temporary:
        table.to_parquet(temporary, index=False)


if __name__ == "__main__":
    runtime.run(main)
