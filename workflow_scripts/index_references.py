"""Index the first local features of all references, for the search of candidates."""

import json

from copytrace import runtime
from copytrace.verification.descriptor_index import IndexSettings, build, write_index
from copytrace.verification.feature_files import FeatureFiles


def main() -> None:
    """Read the arguments, build, write one index."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--features", required=True, nargs="+", help="feature files of the references, in order")
    parser.add_argument("--index", required=True, type=json.loads, help="verification.index")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    keypoints = args.index.pop("keypoints")
    features = FeatureFiles(args.features)
    with runtime.Throughput("keypoints", args.threads) as done:
        index = build(lambda: features.first(keypoints), IndexSettings(**args.index))
        done.add(index.ntotal)
    write_index(args.output, index)


if __name__ == "__main__":
    runtime.run(main)
