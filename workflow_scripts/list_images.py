"""List the pictures of one role: the files of a folder, or those that a list file or a CSV of pairs names."""

import logging

from copytrace import manifests, runtime

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments, list, write the listing and what it could not name."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--source", required=True, help="folder, list file with one path per line, or CSV of pairs")
    parser.add_argument("--role", required=True, help="training, references, queries, backgrounds or pairs")
    parser.add_output("--listing", required=True, help="Parquet to write: image_id, path")
    parser.add_output("--rejected", required=True, help="CSV to write: role, path, reason")
    args = parser.parse()

    of_role = manifests.list_pairs if args.role == "pairs" else manifests.list_pictures
    with runtime.Throughput("pictures", threads=1) as done:
        listing, rejected = of_role(args.source)
        manifests.write_table(listing, args.listing)
        manifests.write_rejected(rejected, args.role, args.rejected)
        done.add(len(listing) + len(rejected))
    log.info("%d %s listed, %d rejected", len(listing), args.role, len(rejected))


if __name__ == "__main__":
    runtime.run(main)
