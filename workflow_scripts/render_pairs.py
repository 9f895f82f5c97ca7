"""Render the training set of a pair family: known pairs of a query and its reference as classes, not edited."""

from pathlib import Path

import pandas as pd

from copytrace import pairs, runtime
from copytrace.errors import InputError
from copytrace.synthesis.rendering import render_unedited
from copytrace.synthesis.tarset import write_shard


def main() -> None:
    """Read the arguments, make classes of the pairs whose pictures could be read, render and write."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pairs", type=Path, required=True, help="CSV query,reference: two paths per line")
    parser.add_input("--manifest", type=Path, required=True, help="manifest of their pictures")
    parser.add_argument("--side", type=int, required=True, help="of a rendered picture, pixels")
    parser.add_argument("--quality", type=int, required=True, help="of the JPEGs")
    parser.add_argument("--grey", action="store_true", help="for a grey family")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_output("--tar", type=Path, required=True)
    parser.add_output("--index", type=Path, required=True, help="in the folder of the tar")
    args = parser.parse()

    given = pairs.read(args.pairs)
    readable = pd.read_parquet(args.manifest, columns=["path"])["path"]
    left_out = int((~given.isin(set(readable)).all(axis=1)).sum())
    if left_out:
        runtime.log.warning("%d of %d pairs are left out: a picture of them was rejected", left_out, len(given))
    classes = pairs.class_table(given, readable)
    if classes.empty:
        raise InputError(f"no pair of {args.pairs} can be used: a picture of each was rejected")
    runtime.log.info("%d pairs, %d classes", len(given) - left_out, classes["class_id"].nunique())

    with runtime.atomic_output(args.tar) as temporary:
        pictures = render_unedited(classes, args.side, args.grey, args.quality, args.threads)
        index = write_shard(temporary, args.tar.name, pictures)
    with runtime.atomic_output(args.index) as temporary:
        index.to_parquet(temporary, index=False)


if __name__ == "__main__":
    runtime.run(main)
