"""Mine look-alikes of the originals, and list all trial queries with their truth."""

import json

import pandas as pd

from copytrace import runtime
from copytrace.manifests import write_table
from copytrace.verification import trials
from copytrace.verification.candidates import VoteSettings
from copytrace.verification.descriptor_index import read_index
from copytrace.verification.feature_files import FeatureFiles


def main() -> None:
    """Read the arguments, mine, write the plan."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--originals", required=True, help="manifest of the pictures that play references")
    parser.add_input("--negatives", required=True, help="manifest of pictures that no original is the source of")
    parser.add_input("--pool", required=True, help="manifest of the pictures that look-alikes are mined from")
    parser.add_input("--features", required=True, nargs="+", help="feature files of the pool, in order")
    parser.add_input("--index", required=True, help="index of the originals")
    parser.add_argument("--copies", required=True, type=int)
    parser.add_argument("--look-alikes", required=True, type=int)
    parser.add_argument("--search", required=True, type=json.loads, help="verification.search")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True, help="query_id, reference_id, role, kind, path")
    args = parser.parse()
    runtime.set_threads(args.threads)
    features = FeatureFiles(args.features)
    with runtime.Throughput("pictures", args.threads, total=len(features)) as done:

        def counted():
            for number in range(len(features)):
                yield features[number]
                done.add()

        votes = VoteSettings(**args.search, candidates=1)
        look_alikes = trials.mine(
            pd.read_parquet(args.pool), counted(), read_index(args.index), votes, args.look_alikes
        )
    originals = pd.read_parquet(args.originals)[: args.copies]
    plan = trials.plan(originals, pd.read_parquet(args.negatives), look_alikes)
    write_table(pd.DataFrame(plan), args.output)


if __name__ == "__main__":
    runtime.run(main)
