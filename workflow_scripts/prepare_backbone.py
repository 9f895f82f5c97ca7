"""Bring a backbone's weights from a file, an address, timm or a seeded random draw into the project's form."""

import json

from copytrace import runtime
from copytrace.networks.names import check_width
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import load_backbone_weights, save_weights


def main() -> None:
    """Read the arguments, load the weights strictly, write them as safetensors with a header."""
    parser = runtime.Arguments(__doc__)
    parser.add_argument("--backbone", required=True, help="name of the slot")
    parser.add_argument("--network", required=True, help="name in the registry of networks")
    parser.add_argument(
        "--weights", required=True, type=json.loads, help="source, and path or url, mapping, sha256 of a file"
    )
    parser.add_input("--file", help="for source file: the weights file")
    parser.add_argument("--downloads", help="for source url: folder to keep the file in")
    parser.add_argument("--dimensions", type=int, default=0, help="stop if its feature is narrower than this")
    parser.add_argument("--waveblock", action="store_true", help="stop if it has no place for a WaveBlock")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    with runtime.Throughput("networks", args.threads) as meter:
        if args.waveblock:
            create_backbone(args.network, waveblock=True)
        backbone = create_backbone(args.network)
        check_width(args.backbone, args.network, backbone.feature_dim, args.dimensions)
        here = {"path": args.file, "downloads": args.downloads, "seed": [args.seed, "backbone", args.backbone]}
        header = load_backbone_weights(backbone, {**args.weights, **here})
        header |= {"kind": "backbone", "backbone": args.backbone, "network": args.network}
        save_weights(args.output, backbone, header)
        meter.add()


if __name__ == "__main__":
    runtime.run(main)
