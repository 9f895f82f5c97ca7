"""Hold ground truth, settings and known pairs against the pictures of all roles, before any of them is decoded."""

import json
import logging

import pandas as pd

from copytrace import counts, ground_truth, manifests, pairs, runtime

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments and the tables, check, write the numbers of pictures and the ground truth in one form."""
    parser = runtime.Arguments(__doc__)
    parser.add_argument("--roles", nargs="+", required=True, help="training, references, queries, backgrounds, pairs")
    parser.add_input("--listings", nargs="+", required=True, help="Parquet: image_id and path, one for each role")
    parser.add_argument("--demand", type=json.loads, required=True, help="JSON: what the settings ask of the numbers")
    parser.add_input("--ground-truth", help="CSV: query_id, reference_id (header optional)")
    parser.add_output("--counts", required=True, help="CSV to write: role, pictures")
    parser.add_output("--output", help="CSV to write: query_id, reference_id")
    args = parser.parse()

    with runtime.Throughput("pictures", threads=1) as done:
        listings = {role: pd.read_parquet(listing) for role, listing in zip(args.roles, args.listings, strict=True)}
        pictures = {role: len(listing) for role, listing in listings.items()}
        counts.check(args.demand, pictures)
        if "pairs" in listings:
            pairs.check_leakage(listings["queries"]["path"], listings["pairs"]["path"])
        if args.ground_truth:
            truth = ground_truth.read(args.ground_truth)
            ground_truth.check(truth, listings["queries"]["image_id"], listings["references"]["image_id"])
            manifests.write_table(truth, args.output)
            positive = (truth["reference_id"] != "").sum()
            log.info("%d pairs; %d of %d queries are named", positive, truth["query_id"].nunique(), pictures["queries"])
        manifests.write_table(pd.DataFrame(pictures.items(), columns=["role", "pictures"]), args.counts)
        done.add(sum(pictures.values()))
    log.info("%s", ", ".join(f"{number} {role}" for role, number in pictures.items()))


if __name__ == "__main__":
    runtime.run(main)
