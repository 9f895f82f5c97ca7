"""Describe the parts of one shard of pictures with every model and scale of a unit."""

import json

import pandas as pd

from copytrace import descriptor_files, descriptors, runtime
from copytrace.parts import whole_pictures
from copytrace.sharding import shard_bounds
from copytrace.whitening import unit_length


def main() -> None:
    """Read the arguments, describe, whiten or make of unit length, write one descriptor file."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--manifest", required=True, help="pictures of a role")
    parser.add_input("--parts", help="their parts; whole pictures only where not given")
    parser.add_input("--whitening", help="of each model and scale; where not given, descriptors are not whitened")
    parser.add_argument("--models", required=True, type=json.loads, help="name, weights, grey, blur of each model")
    parser.add_argument("--scales", required=True, type=int, nargs="+")
    parser.add_argument("--descriptors", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--storage", choices=["float32", "float16"], required=True, help="numbers in the file")
    parser.add_argument("--shard", required=True, type=int)
    parser.add_argument("--shards", required=True, type=int)
    parser.add_argument("--execution", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.log_files("input", "weights", [model["weights"] for model in args.models])
    runtime.set_threads(args.threads)
    manifest = pd.read_parquet(args.manifest)
    start, stop = shard_bounds(len(manifest), args.shard, args.shards)
    pictures = manifest.iloc[start:stop]
    if args.parts:
        named = list(pictures.image_id) or [""]  # a shard may have no rows, and an empty list has no type
        parts = pd.read_parquet(args.parts, filters=[("image_id", "in", named)])
    else:
        parts = whole_pictures(pictures)
    models = descriptors.load_models(args.models)
    settings = descriptors.DescriptorSettings(**args.descriptors)
    finishing = {
        (model.name, scale): descriptor_files.read_whitening(args.whitening, model.name, scale).apply
        if args.whitening
        else unit_length
        for model in models
        for scale in args.scales
    }
    vectors = descriptors.describe(
        pictures, parts, models, args.scales, settings, args.threads, args.execution["workers"], finishing
    )
    descriptor_files.write_descriptors(
        args.output, parts, vectors, {m.name: m.attributes() for m in models}, args.storage
    )


if __name__ == "__main__":
    runtime.run(main)
