"""Join the shards of one role to its manifest, and everything that was rejected to one list."""

import logging

import pandas as pd

from copytrace import manifests, runtime
from copytrace.errors import InputError

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments, join, and stop if not one picture is readable, or not all where that is asked for."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--manifests", nargs="+", required=True, help="Parquet shards in their order")
    parser.add_input("--rejected", nargs="+", required=True, help="CSVs: role, path, reason")
    parser.add_argument("--on-bad-image", choices=["reject", "fail"], default="reject", help="leave it out, or stop")
    parser.add_output("--manifest", required=True, help="Parquet to write: image_id, path, width, height")
    parser.add_output("--rejected-out", required=True, help="CSV to write: role, path, reason")
    args = parser.parse()

    with runtime.Throughput("pictures", threads=1) as done:
        manifest = pd.concat(map(pd.read_parquet, args.manifests), ignore_index=True)
        lists = {path: manifests.read_rejected(path) for path in args.rejected}
        rejected = pd.concat(lists.values(), ignore_index=True)
        if manifest.empty and rejected.empty:
            raise InputError("no pictures were listed")
        if rejected.size and args.on_bad_image == "fail":
            for _, path, reason in rejected.itertuples(index=False):
                log.info("%s: %s", path, reason)
            role, path, reason = rejected.iloc[0]
            raise InputError(
                f"{len(rejected)} of {len(manifest) + len(rejected)} pictures for {role} cannot be used, and "
                f"images.on_bad_image is fail; the first is {path}: {reason}; all are listed above and in "
                + ", ".join(path for path, rows in lists.items() if rows.size)
            )
        if manifest.empty:
            role, path, reason = rejected.iloc[0]
            raise InputError(f"none of the {len(rejected)} pictures for {role} is readable: {path}: {reason}")
        manifests.write_table(manifest, args.manifest)
        manifests.write_table(rejected, args.rejected_out)
        done.add(len(manifest) + len(rejected))
    log.info("%d readable pictures, %d rejected", len(manifest), len(rejected))


if __name__ == "__main__":
    runtime.run(main)
