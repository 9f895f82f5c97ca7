"""Join the shards of one role to its manifest, and everything that was rejected to one list."""

import argparse
import logging

import pandas as pd

from copytrace import manifests, runtime

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments, join, and stop if not one picture is readable."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifests", nargs="+", required=True, help="Parquet shards in their order")
    parser.add_argument("--rejected", nargs="+", required=True, help="CSVs: role, path, reason")
    parser.add_argument("--manifest", required=True, help="Parquet to write: image_id, path, width, height")
    parser.add_argument("--rejected-out", required=True, help="CSV to write: role, path, reason")
    args = parser.parse_args()

    manifest = pd.concat(map(pd.read_parquet, args.manifests), ignore_index=True)
    rejected = pd.concat(map(manifests.read_rejected, args.rejected), ignore_index=True)
    if manifest.empty and rejected.empty:
        raise runtime.InputError("no pictures were listed")
    if manifest.empty:
        role, path, reason = rejected.iloc[0]
        raise runtime.InputError(f"none of the {len(rejected)} pictures for {role} is readable: {path}: {reason}")
    manifests.write_table(manifest, args.manifest)
    manifests.write_table(rejected, args.rejected_out)
    log.info("%d readable pictures, %d rejected: %s", len(manifest), len(rejected), args.manifest)


if __name__ == "__main__":
    runtime.run(main)
