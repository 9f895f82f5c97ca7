"""Say where the results of a run lie and what they came to; the last line of `make demo`."""

import argparse
import json
from pathlib import Path

from copytrace import runtime

HEADLINES = {
    "full": "full ensemble",
    "without_local_verification": "whole pictures only (no local verification)",
    "best_family": "best family vote",
    "median_model": "median single model, same parts",
    "best_model": "best single model, same parts",
    "untrained_vote": "untrained networks with a vote",
    "hash": "perceptual hash PDQ",
}


def main() -> None:
    """Read the evaluation, where there is one, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", required=True, type=Path, help="folder of the run's results")
    args = parser.parse_args()
    matches = args.results / "matching.csv"
    if not matches.is_file():
        raise runtime.InputError(f"{matches} is not there: run the workflow first")
    evaluation = args.results / "evaluation"
    if (evaluation / "matching.json").is_file():
        summary = json.loads((evaluation / "matching.json").read_text())["summary"]
        print(f"\n{'':46} micro-AP  95 % interval")
        for key, label in HEADLINES.items():
            if row := summary.get(key):
                low, high = row["interval"]
                print(f"{label:46} {row['micro_ap']:.3f}     [{low:.3f}, {high:.3f}]")
    if (evaluation / "training_gain.json").is_file():
        gain = json.loads((evaluation / "training_gain.json").read_text())
        low, high = gain["mean_gain_interval"]
        print(
            f"\nTraining: {gain['improved']} of {gain['models']} models are better than their own initialisation on "
            f"{gain['copies']} other copies,\nin the mean by {gain['mean_gain']:+.3f} [{low:+.3f}, {high:+.3f}]\n"
            f"micro-AP (each model: {evaluation / 'training_gain.csv'})"
        )
    print(f"\nMatches:     {matches}")
    if evaluation.is_dir():
        print(f"Evaluation:  {evaluation / 'matching.json'}, figures beside it")
    print(f"Rejected:    {args.results / 'images' / 'rejected.csv'}")


if __name__ == "__main__":
    runtime.run(main)
