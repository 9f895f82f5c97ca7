"""Decode every picture of a shard in full: the readable ones with their sizes, the others with the reason."""

import pandas as pd

from copytrace import manifests, runtime
from copytrace.imaging import MAX_PIXELS
from copytrace.sharding import shard_bounds


def main() -> None:
    """Read the arguments, decode the shard, write its part of the manifest and of the rejected list."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--listing", required=True, help="Parquet: image_id, path")
    parser.add_argument("--role", required=True, help="training, references, queries or backgrounds")
    parser.add_argument("--shard", type=int, default=0, help="which part of the listing, from 0")
    parser.add_argument("--shards", type=int, default=1, help="how many parts there are")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="larger pictures are rejected")
    parser.add_argument("--threads", type=int, default=1, help="pictures decoded at once")
    parser.add_output("--manifest", required=True, help="Parquet to write: image_id, path, width, height")
    parser.add_output("--rejected", required=True, help="CSV to write: role, path, reason")
    args = parser.parse()
    runtime.set_threads(args.threads)

    listing = pd.read_parquet(args.listing)
    start, stop = shard_bounds(len(listing), args.shard, args.shards)
    listing = listing.iloc[start:stop]
    runtime.log_files("input", "pictures", list(listing["path"]))
    # An AVIF file can hold a larger picture than its header says, and nothing shows that before it is decoded.
    runtime.limit_memory(args.threads * 1_000_000_000)
    manifest, rejected = manifests.scan_pictures(listing, args.max_pixels, args.threads)
    manifests.write_table(manifest, args.manifest)
    manifests.write_rejected(rejected, args.role, args.rejected)


if __name__ == "__main__":
    runtime.run(main)
