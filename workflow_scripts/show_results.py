"""Say where the results of a run lie and what they came to; the last lines of `make demo` and `demo-descriptors`."""

import argparse
import json
import sys
from pathlib import Path

import yaml

HEADLINES = {
    "full": "full ensemble",
    "second_submission": "second submission, with models of known pairs",
    "without_local_verification": "whole pictures only (no local verification)",
    "best_family": "best family vote",
    "best_model": "best single model, same parts",
    "median_model": "median single model, same parts",
    "untrained_vote": "untrained networks with a vote",
    "hash": "perceptual hash PDQ",
}


def main() -> None:
    """Read the evaluation, where there is one, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configuration", required=True, type=Path, help="the run's config.yaml")
    parser.add_argument("--report", required=True, type=Path, help="the HTML that Snakemake made of the run")
    parser.add_argument("--descriptors", action="store_true", help="those of the descriptor track")
    args = parser.parse_args()
    settings = yaml.safe_load(args.configuration.read_text())
    results = Path(settings["results"])
    if args.descriptors:
        show_descriptors(results, args.report, settings["evaluation"]["confidence"])
    else:
        show_matches(results, args.report, settings["evaluation"]["confidence"])


def show_matches(results: Path, report: Path, confidence: float) -> None:
    """The matching track."""
    matches, matching, gain = (
        results / name for name in ("matching.csv", "evaluation/matching.json", "evaluation/training_gain.json")
    )
    if not matches.is_file():
        sys.exit(f"error: {matches} is not there: run the workflow first")
    if gain.is_file():
        print_gain(json.loads(gain.read_text()))
    if matching.is_file():
        print_headlines(json.loads(matching.read_text())["summary"], confidence)
    if (measured := results / "evaluation" / "matches.json").is_file():
        print_verified(json.loads(measured.read_text()))
    print(f"\nReport:      {report}, to be opened in a browser")
    print(f"Matches:     {matches}")
    if (verified := results / "matches.csv").is_file():
        print(f"Verified:    {verified}, with evidence in {results / 'report' / 'matches'}")
    if matching.is_file():
        print(f"Evaluation:  {matching}, tables and figures beside it")
    print(f"Rejected:    {results / 'images' / 'rejected.csv'}")


def show_descriptors(results: Path, report: Path, confidence: float) -> None:
    """The descriptor track."""
    descriptors, measured = results / "descriptors.h5", results / "evaluation" / "descriptors.json"
    if not descriptors.is_file():
        sys.exit(f"error: {descriptors} is not there: run `snakemake descriptor_track` first")
    if measured.is_file():
        evaluation = json.loads(measured.read_text())
        print(f"\n{'':46} micro-AP  {100 * confidence:.0f} % interval")
        for row in evaluation["rows"]:
            print(f"{row['name']:46} {row['micro_ap']:.3f}     [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]")
        for step in evaluation["steps"]:
            low, high = step["interval"]
            print(f"gain: {step['step']:40} {step['gain']:+.3f}    [{low:+.3f}, {high:+.3f}]")
    print(f"\nReport:      {report}, to be opened in a browser")
    print(f"Descriptors: {descriptors}, in the contest's layout")


def print_headlines(summary: dict, confidence: float) -> None:
    """The few lines that a person wants first."""
    print(f"\n{'':46} micro-AP  {100 * confidence:.0f} % interval")
    for key, label in HEADLINES.items():
        if row := summary.get(key):
            low, high = row["interval"]
            print(f"{label:46} {row['micro_ap']:.3f}     [{low:.3f}, {high:.3f}]")


def print_verified(measured: dict) -> None:
    """The verified matches, as a list and at their decision."""
    row, decided = measured["rows"][0], measured["decision"]
    print(f"{'verified matches':46} {row['micro_ap']:.3f}     [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]")
    print(f"  {decided['right']} of {decided['called']} pairs that are called copies are some")


def print_gain(gain: dict) -> None:
    """Each trained model beside its own initialisation."""
    print(f"\nmicro-AP of whole pictures on {gain['copies']} other copies, untrained and trained")
    for row in gain["rows"]:
        print(f"  {row['model']:30} {row['untrained']:.3f}  {row['trained']:.3f}  {row['gain']:+.3f}")
    low, high = gain["mean_gain_interval"]
    mean = f"{gain['mean_gain']:+.3f} [{low:+.3f}, {high:+.3f}]"
    print(f"  {gain['improved']} of {gain['models']} models gain, in the mean {mean}")


if __name__ == "__main__":
    main()
