"""Join the lists of rejected pictures of all roles."""

import argparse
import logging

import pandas as pd

from copytrace import manifests, runtime

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments, join, write and say how many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rejected", required=True, nargs="+", help="CSV files role,path,reason")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    rejected = pd.concat(map(manifests.read_rejected, args.rejected), ignore_index=True)
    manifests.write_table(rejected, args.output)
    log.info("%d pictures rejected: %s", len(rejected), args.output)


if __name__ == "__main__":
    runtime.run(main)
