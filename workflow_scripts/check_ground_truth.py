"""Read the ground truth, hold its ids against the pictures, and write it in one form."""

import argparse
import logging

import pandas as pd

from copytrace import ground_truth, manifests, runtime

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments and the tables, check, write the normalised CSV."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ground-truth", required=True, help="CSV: query_id, reference_id (header optional)")
    parser.add_argument("--queries", required=True, help="Parquet with the queries' image_id")
    parser.add_argument("--references", required=True, help="Parquet with the references' image_id")
    parser.add_argument("--output", required=True, help="CSV to write: query_id, reference_id")
    args = parser.parse_args()

    truth = ground_truth.read(args.ground_truth)
    queries = pd.read_parquet(args.queries, columns=["image_id"])["image_id"]
    references = pd.read_parquet(args.references, columns=["image_id"])["image_id"]
    ground_truth.check(truth, queries, references)
    manifests.write_table(truth, args.output)
    pairs = (truth["reference_id"] != "").sum()
    log.info("%d pairs; %d of %d queries are named", pairs, truth["query_id"].nunique(), len(queries))


if __name__ == "__main__":
    runtime.run(main)
