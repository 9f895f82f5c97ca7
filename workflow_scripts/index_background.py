"""Index the local features of unrelated pictures, and of what people lay over pictures."""

import json

from copytrace import runtime
from copytrace.verification.background import build_background
from copytrace.verification.descriptor_index import IndexSettings, write_index
from copytrace.verification.feature_files import FeatureFiles
from copytrace.verification.features import FeatureSettings


def main() -> None:
    """Read the arguments, describe the overlays, build, write one index."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--unrelated", required=True, nargs="+", help="feature files of unrelated pictures")
    parser.add_argument("--features", required=True, type=json.loads, help="verification.features")
    parser.add_argument("--index", required=True, type=json.loads, help="kind, lists and probes of verification.index")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    with runtime.Throughput("keypoints", args.threads) as done:
        index = build_background(
            FeatureFiles(args.unrelated), FeatureSettings(**args.features), IndexSettings(**args.index)
        )
        done.add(index.ntotal)
    write_index(args.output, index)


if __name__ == "__main__":
    runtime.run(main)
