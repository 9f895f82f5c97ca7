"""Render one shard of a family's training set: a class per picture, its copies drawn from the chain."""

import json
from pathlib import Path

import pandas as pd

from copytrace import runtime
from copytrace.sharding import shard_bounds
from copytrace.synthesis.classes import class_table
from copytrace.synthesis.foreign import ForeignPictures
from copytrace.synthesis.rendering import Renderer, render_classes
from copytrace.synthesis.tarset import write_shard


def main() -> None:
    """Read the arguments, choose the shard's classes, render and write."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--training", type=Path, required=True, help="manifest of the training pictures")
    parser.add_input("--backgrounds", type=Path, required=True, help="manifest of the foreign pictures")
    parser.add_input("--faces", type=Path, help="table of faces: makes a face family")
    parser.add_argument("--family", required=True)
    parser.add_argument("--synthesis", type=json.loads, required=True, help="section of that name, JSON")
    parser.add_argument("--family-settings", type=json.loads, required=True, help="family_table.FAMILY, JSON")
    parser.add_argument("--shard", type=int, default=0)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_output("--tar", type=Path, required=True)
    parser.add_output("--index", type=Path, required=True, help="in the folder of the tar")
    args = parser.parse()

    manifest = pd.read_parquet(args.training, columns=["image_id", "path"])
    faces = pd.read_parquet(args.faces) if args.faces else None
    classes = class_table(manifest, args.synthesis["class_stride"], faces)
    if faces is not None and not (classes["reason"] == "face").any():
        runtime.log.warning(
            "%s: no face outside the %d base classes, so this family has the same classes as the base",
            args.family,
            len(classes),
        )
    start, stop = shard_bounds(len(classes), args.shard, args.shards)

    backgrounds = ForeignPictures(pd.read_parquet(args.backgrounds, columns=["path"])["path"].tolist())
    renderer = Renderer.from_settings(args.seed, args.family, args.synthesis, args.family_settings, backgrounds)
    with runtime.atomic_output(args.tar) as temporary:
        copies = render_classes(renderer, classes.iloc[start:stop], args.threads)
        index = write_shard(temporary, args.tar.name, copies)
    with runtime.atomic_output(args.index) as temporary:
        index.to_parquet(temporary, index=False)


if __name__ == "__main__":
    runtime.run(main)
