"""Local features of one shard of pictures, or of some pictures spread over all."""

import json
from functools import partial

import numpy as np
import pandas as pd

from copytrace import runtime
from copytrace.imaging import load_image
from copytrace.sharding import shard_bounds
from copytrace.verification.feature_files import write_features
from copytrace.verification.features import Features, FeatureSettings, extract


def main() -> None:
    """Read the arguments, decode and describe, write one feature file."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--manifest", required=True, help="pictures of a role")
    parser.add_argument("--pictures", type=int, help="take only so many of them, evenly spread")
    parser.add_argument("--features", required=True, type=json.loads, help="verification.features")
    parser.add_argument("--shard", required=True, type=int)
    parser.add_argument("--shards", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    manifest = pd.read_parquet(args.manifest)
    if args.pictures:
        count = min(args.pictures, len(manifest))
        manifest = manifest.iloc[np.arange(count) * len(manifest) // count]
    start, stop = shard_bounds(len(manifest), args.shard, args.shards)
    pictures = manifest.iloc[start:stop]
    describe = partial(describe_file, settings=FeatureSettings(**args.features))
    with runtime.Throughput("pictures", args.threads, total=len(pictures)) as done:

        def counted():
            for features in runtime.in_processes(describe, pictures["path"], args.threads):
                done.add()
                yield features

        write_features(args.output, list(pictures["image_id"]), counted())


def describe_file(path: str, settings: FeatureSettings) -> Features:
    """Decode a picture and describe it."""
    return extract(load_image(path), settings)


if __name__ == "__main__":
    runtime.run(main)
