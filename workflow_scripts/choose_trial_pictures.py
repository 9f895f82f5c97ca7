"""Choose the training pictures that play a part in fitting the fusion; none of them is in the background."""

import json

import pandas as pd

from copytrace import counts, runtime
from copytrace.manifests import write_table
from copytrace.verification import trials
from copytrace.verification.feature_files import FeatureFiles


def main() -> None:
    """Read the arguments, choose, write a manifest of each part."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pictures", required=True, help="manifest of the training pictures")
    parser.add_input("--background", required=True, nargs="+", help="feature files of those in the background")
    parser.add_argument("--sizes", required=True, type=json.loads, help="verification.fitting: how many of each part")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--originals", required=True, help="pictures that play references")
    parser.add_output("--negatives", required=True, help="pictures for queries without an original")
    parser.add_output("--pool", required=True, help="pictures that look-alikes are mined from")
    args = parser.parse()
    pictures = pd.read_parquet(args.pictures)
    with runtime.Throughput("pictures", args.threads) as done:
        background = FeatureFiles(args.background).image_ids
        counts.check_trial_pictures(args.sizes, len(background), len(pictures))
        free = pictures[~pictures["image_id"].isin(background)]
        parts = trials.divide(free, args.sizes, runtime.generator(args.seed, "trial pictures"))
        for name, part in parts.items():
            write_table(part, getattr(args, name))
            done.add(len(part))


if __name__ == "__main__":
    runtime.run(main)
