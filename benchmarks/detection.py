"""Does the overlay detector learn? Untrained and trained on held-out scenes of photographs.

Takes a folder of photographs, trains the detector with small settings by the workflow's own scripts, and measures it,
and one that took a single step, on the same held-out scenes.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = REPOSITORY / "workflow_scripts"
sys.path.insert(0, str(SCRIPTS))

from copytrace import manifests, runtime  # noqa: E402
from copytrace.networks.registry import create_backbone  # noqa: E402
from copytrace.networks.weights import load_backbone_weights, save_weights  # noqa: E402

DETECTING = ("confidence", "nms_iou", "limit", "batch", "precision")
MAKING = ("channels", "side", "steps", "batch", "learning_rate", "weight_decay", "warmup", "precision", "held_out")


def main() -> None:
    """Read the arguments, train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder, searched recursively")
    parser.add_argument("--output", type=Path, required=True, help="folder for detectors, figures and sheets")
    parser.add_argument("--network", default="resnet12_half", help="of the registry")
    parser.add_argument("--weights", default='{"source": "none"}', type=json.loads, help="as in backbone_table, JSON")
    parser.add_argument("--settings", default="{}", type=json.loads, help="keys of detection to change, JSON")
    parser.add_argument("--scenes", type=int, default=300, help="held-out scenes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_load((REPOSITORY / "config.yaml").read_text())["detection"] | args.settings

    photographs, _ = manifests.list_pictures(args.photographs.resolve())
    manifests.write_table(photographs, output / "pictures.parquet")
    backbone = create_backbone(args.network)
    pretrained = load_backbone_weights(backbone, {"seed": [args.seed, args.network], **args.weights})
    save_weights(output / "backbone.safetensors", backbone, {"kind": "backbone", "network": args.network, **pretrained})
    for name, steps in (("untrained", 1), ("trained", settings["steps"])):
        detector, measured = output / f"{name}.safetensors", output / f"{name}.json"
        making = {key: settings[key] for key in (*MAKING, "scenes")} | {"steps": steps}
        started = time.monotonic()
        run(
            "train_detector", args.threads, "--pictures", output / "pictures.parquet",
            "--backbone-weights", output / "backbone.safetensors", "--detection", json.dumps(making),
            "--seed", args.seed, "--execution", '{"workers": 0, "checkpoint_every": 100, "keep_checkpoints": 2}',
            "--checkpoints", output / "checkpoints", "--curve", output / f"{name}.curve.csv", "--output", detector,
        )  # fmt: skip
        seconds = time.monotonic() - started
        run(
            "evaluate_detector", args.threads, "--pictures", output / "pictures.parquet", "--detector", detector,
            "--detecting", json.dumps({key: settings[key] for key in DETECTING}),
            "--scenes", json.dumps(settings["scenes"]), "--held-out", settings["held_out"], "--number", args.scenes,
            "--shown", 24, "--seed", args.seed, "--sheet", output / f"{name}.jpg", "--output", measured,
        )  # fmt: skip
        print(f"\n{name}: {steps} steps of {settings['batch']} scenes in {seconds:.0f} s")
        for kind, figures in json.loads(measured.read_text())["classes"].items():
            print(f"{kind}: {figures['true']} boxes, average precision {figures['average_precision']:.3f}")
            for row in figures["at"]:
                values = {key: "-" if value is None else f"{value:.3g}" for key, value in row.items()}
                print("  " + ", ".join(f"{key} {value}" for key, value in values.items()))


def run(script: str, threads: str, *arguments: object) -> None:
    """One of the workflow's scripts."""
    command = [sys.executable, SCRIPTS / f"{script}.py", "--threads", threads, *arguments]
    subprocess.run(list(map(str, command)), check=True)


if __name__ == "__main__":
    runtime.run(main)
