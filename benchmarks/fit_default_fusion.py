"""The model that ships with the project: pairs of photographs with free licences, measured, and fitted to.

Writes the pairs, then runs `workflow_scripts/fit_fusion.py` on them. The photographs are two of each three of the
training ones under CC0 or CC BY; benchmarks/verification_quality.py measures on the others.
"""

import verified_pairs  # first: it sets the threads and finds the library

# isort: split

import argparse
import os
import subprocess
import sys
from pathlib import Path

from copytrace import runtime
from copytrace.manifests import write_table

SCRIPTS = Path(__file__).resolve().parent.parent / "workflow_scripts"


def main() -> None:
    """Read the arguments, measure, fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with training/ and metadata.csv")
    parser.add_argument("--output", type=Path, required=True, help="folder for the pairs and the reliability")
    parser.add_argument("--model", type=Path, default=SCRIPTS / "copytrace" / "verification" / "default_fusion.json")
    parser.add_argument("--weights", default=os.environ.get("COPYTRACE_WEIGHTS"), help="MobileNetV2 as .npz")
    verified_pairs.add_counts(parser, verified_pairs.Counts())
    args = parser.parse_args()
    table = verified_pairs.photographs(args.photographs)
    table = table[verified_pairs.for_fitting(table)].reset_index(drop=True)
    counts = verified_pairs.read_counts(args)
    order = runtime.generator("fit", "split").permutation(len(table))
    references, others = table.iloc[order[: counts.references]], table.iloc[order[counts.references :]]
    pairs, truth, _ = verified_pairs.measured_pairs(references, others, args.weights, counts, "fit")
    args.output.mkdir(parents=True, exist_ok=True)
    write_table(pairs, args.output / "pairs.parquet")
    write_table(truth, args.output / "truth.parquet")
    command = [sys.executable, SCRIPTS / "fit_fusion.py", "--any-network", "--pairs", args.output / "pairs.parquet"]
    command += ["--truth", args.output / "truth.parquet", "--reliability", args.output / "reliability.csv"]
    command += ["--figure", args.output / "reliability.png", "--output", args.model]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    verified_pairs.run(main)
