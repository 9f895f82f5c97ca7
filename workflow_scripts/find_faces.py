"""Counts the faces in one shard of the pictures of a role."""

import json
from functools import partial

import numpy as np
import pandas as pd

from copytrace import runtime
from copytrace.faces import FaceSettings, count_faces
from copytrace.imaging import load_image
from copytrace.sharding import shard_bounds


def main() -> None:
    """Read the arguments, count, write one table."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--manifest", required=True, help="pictures of a role")
    parser.add_argument("--faces", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--shard", required=True, type=int)
    parser.add_argument("--shards", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    manifest = pd.read_parquet(args.manifest)
    start, stop = shard_bounds(len(manifest), args.shard, args.shards)
    pictures = manifest.iloc[start:stop]

    settings = FaceSettings(*(args.faces[key] for key in ("model", "upsample", "max_side")))
    count = partial(count_in_file, settings=settings)
    counts = np.empty(len(pictures), np.int32)
    # dlib's detectors run on one thread each: processes, one for each thread.
    with runtime.Throughput("pictures", args.threads, total=len(pictures)) as done:
        for number, faces in enumerate(runtime.in_processes(count, pictures["path"], args.threads)):
            counts[number] = faces
            done.add()
    with runtime.atomic_output(args.output) as temporary:
        pd.DataFrame({"image_id": pictures["image_id"].array, "faces": counts}).to_parquet(temporary, index=False)


def count_in_file(path: str, settings: FaceSettings) -> int:
    """Decode a picture and count the faces in it."""
    return count_faces(load_image(path), settings)


if __name__ == "__main__":
    runtime.run(main)
