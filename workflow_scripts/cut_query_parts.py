"""Tables the parts of one shard of queries: fixed boxes, turns, boxes of selective search, detected overlays."""

import json
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from copytrace import parts, runtime
from copytrace.imaging import load_image
from copytrace.proposals import SearchSettings, propose
from copytrace.sharding import shard_bounds


def main() -> None:
    """Read the arguments, lay out the fixed parts, search the pictures if asked to, write one table."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--queries", required=True, help="manifest of the queries")
    parser.add_input("--detections", help="what was detected in this shard, where a kind of parts needs it")
    parser.add_argument("--parts", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--shard", required=True, type=int)
    parser.add_argument("--shards", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    kinds = args.parts["kinds"]
    parts.check_kinds(kinds, [*parts.QUERY_LAYOUTS, "selective_search", "detected_overlay"], "parts.kinds")
    manifest = pd.read_parquet(args.queries)
    start, stop = shard_bounds(len(manifest), args.shard, args.shards)
    queries = manifest.iloc[start:stop]

    with runtime.Throughput("queries", args.threads, total=len(queries)) as done:
        tables = [parts.fixed_query_parts(queries["width"].to_numpy(), queries["height"].to_numpy(), kinds)]
        if "selective_search" in kinds:
            tables.append(search(list(queries["path"]), args.parts["selective_search"], args.threads, done))
        else:
            done.add(len(queries))
        if args.detections:
            tables.append(parts.detected_parts(pd.read_parquet(args.detections), queries))
        table = parts.parts_table(tables, queries["image_id"], kinds)
    with runtime.atomic_output(args.output) as temporary:
        table.to_parquet(temporary, index=False)


def search(paths: list[str], settings: dict[str, Any], threads: int, done: runtime.Throughput) -> pd.DataFrame:
    """Rows of the boxes that selective search finds in each picture, on `threads` processes."""
    propose_boxes = partial(propose_in_file, settings=SearchSettings.from_table(settings))
    boxes, scores = [], []
    # Much of the search holds the interpreter's lock: processes, not threads.
    for found, rectangularity in runtime.in_processes(propose_boxes, paths, threads):
        boxes.append(found)
        scores.append(rectangularity)
        done.add()
    return parts.proposed_parts(boxes, scores, "selective_search")


def propose_in_file(path: str, settings: SearchSettings) -> tuple[np.ndarray, np.ndarray]:
    """Decode a picture and propose boxes in it."""
    return propose(load_image(path), settings)


if __name__ == "__main__":
    runtime.run(main)
