"""Edit one shard of trial queries, and extract the local features of what comes out; no picture is stored."""

import json
from functools import partial

import pandas as pd

from copytrace import runtime
from copytrace.sharding import shard_bounds
from copytrace.verification.feature_files import write_features
from copytrace.verification.features import Features, FeatureSettings, extract
from copytrace.verification.trials import Trial, make


def main() -> None:
    """Read the arguments, edit and describe, write one feature file."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--plan", required=True, help="all trial queries")
    parser.add_input("--foreign", required=True, help="manifest of unrelated pictures, for collages and the like")
    parser.add_argument("--features", required=True, type=json.loads, help="verification.features")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--shard", required=True, type=int)
    parser.add_argument("--shards", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    plan = pd.read_parquet(args.plan, columns=list(Trial._fields))
    start, stop = shard_bounds(len(plan), args.shard, args.shards)
    trials = [Trial(*row) for row in plan[start:stop].to_numpy()]
    foreign = list(pd.read_parquet(args.foreign)["path"])
    describe = partial(describe_trial, foreign=foreign, seed=args.seed, settings=FeatureSettings(**args.features))
    with runtime.Throughput("queries", args.threads, total=len(trials)) as done:

        def counted():
            for features in runtime.in_processes(describe, trials, args.threads):
                done.add()
                yield features

        write_features(args.output, [trial.query_id for trial in trials], counted())


def describe_trial(trial: Trial, foreign: list[str], seed: int, settings: FeatureSettings) -> Features:
    """Make the picture of a trial query and describe it."""
    return extract(make(trial, foreign, seed)[0], settings)


if __name__ == "__main__":
    runtime.run(main)
