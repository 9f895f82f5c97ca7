"""What pretraining without labels is worth: copy retrieval on photographs before and after it, without whitening.

Takes a folder with `training/` and `references/`. Networks learn from `training/` as the section `pretraining` of
config.yaml says, but for milder crops and blur; edited copies of some references, none of them seen in training, are
searched among all references by their pooled features. Weights stay in the output folder, so a second call makes only
what is missing.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from copytrace import imaging, manifests, metrics, runtime
from copytrace.networks.model import CopyModel, load_copy_model
from copytrace.preprocessing import Preprocessing, cut_to_scale, to_network_input

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = REPOSITORY / "workflow_scripts"
METHODS = ("barlow_twins", "momentum_teacher")
AREA = [0.3, 1.0]  # of a picture that a view shows; published: from 0.08, which retrieved worse after 200 steps
BATCH = 64


def main() -> None:
    """Read the arguments, make copies and weights, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder with training/ and references/")
    parser.add_argument("--output", type=Path, required=True, help="folder for copies and weights")
    parser.add_argument("--networks", nargs="+", default=["resnet10_half"])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64, help="pixels, in training and in retrieval")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=600)
    parser.add_argument("--settings", type=json.loads, default={}, help="JSON: {method: changed keys of its section}")
    args = parser.parse_args()
    runtime.set_threads(side_by_side.THREADS)
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)

    sections = yaml.safe_load((REPOSITORY / "config.yaml").read_text())["pretraining"]
    for role in ("training", "references"):
        listing, _ = manifests.list_pictures(args.photographs.resolve() / role)
        manifests.write_table(listing, output / f"{role}.parquet")
    if not (output / "queries").exists():
        run(
            "edit_copies.py", "--manifest", output / "references.parquet", "--foreign", output / "training.parquet",
            "--copies", args.copies, "--output", output / "queries", "--ground-truth", output / "ground_truth.csv",
            "--edits", output / "edits.csv", "--threads", side_by_side.THREADS,
        )  # fmt: skip
    training, references = (pd.read_parquet(output / f"{role}.parquet") for role in ("training", "references"))
    queries, _ = manifests.list_pictures(output / "queries")
    truth = pd.read_csv(output / "ground_truth.csv").set_index("query_id").reference_id
    hits = truth[queries.image_id].to_numpy()[:, None] == references.image_id.to_numpy()[None]
    sample = training.iloc[runtime.generator("calibration").permutation(len(training))[: 8 * BATCH]]
    seen, asked, there = (pictures(table.path, args.side) for table in (sample, queries, references))

    rows = []
    for network in args.networks:
        for seed in range(args.seeds):
            slot = ["--backbone", network, "--network", network, "--seed", seed, "--threads", side_by_side.THREADS]
            weights = output / f"{network}.{seed}.random.safetensors"
            if not weights.exists():
                run("prepare_backbone.py", *slot, "--weights", '{"source": "none"}', "--output", weights)
            drawn = load_copy_model(weights)
            models = {"random": drawn, "random, batch norm calibrated": calibrated(drawn, seen)}
            for method in args.methods:
                section = sections[method] | {"steps": args.steps, "side": args.side, "reference_side": None}
                for view in section["views"]:
                    view["resized_crop"]["area"] = AREA
                settings = section | args.settings.get(method, {})
                weights = output / f"{network}.{seed}.{method}.safetensors"
                if not weights.exists():
                    run(
                        "pretrain_backbone.py", *slot, "--pictures", output / "training.parquet", "--method", method,
                        "--settings", json.dumps(settings), "--checkpoints", output / "checkpoints",
                        "--execution", json.dumps({"workers": 1, "checkpoint_every": 100, "keep_checkpoints": 1}),
                        "--curve", weights.with_suffix(".csv"), "--output", weights,
                    )  # fmt: skip
                models[method] = load_copy_model(weights)
            for name, model in models.items():
                similarity = features(model, asked) @ features(model, there).T
                score = metrics.micro_average_precision(similarity.ravel(), hits.ravel(), len(queries))
                rows.append({"network": network, "weights": name, "seed": seed, "micro_ap": score})
                print(rows[-1], file=sys.stderr, flush=True)

    table = pd.DataFrame(rows).groupby(["network", "weights"], sort=False).micro_ap
    print(f"{side_by_side.processor()}; torch {torch.__version__}")
    print(f"{len(training)} training photographs, {len(queries)} copies among {len(references)} references, ", end="")
    print(f"{args.side} px, {args.steps} steps, {args.seeds} seeds: mean (smallest to largest) micro-AP\n")
    print("| network | weights | micro-AP |\n|---|---|---|")
    summary = table.agg(["mean", "min", "max"]).reset_index()
    for network, name, mean, smallest, largest in summary.itertuples(index=False):
        print(f"| {network} | {name} | {mean:.3f} ({smallest:.3f} to {largest:.3f}) |")


def run(script: str, *arguments: object) -> None:
    """Run a script of the workflow."""
    subprocess.run([sys.executable, SCRIPTS / script, *map(str, arguments)], check=True)


def pictures(paths: pd.Series, side: int) -> torch.Tensor:
    """Whole pictures at one size, uint8 [n, side, side, 3], as the workflow would describe them."""
    squares = []
    for path in paths:
        image = Preprocessing().apply(imaging.load_image(path))
        whole = np.array([[0, 0, image.width, image.height, 0, False]])
        squares.append(cut_to_scale(image, whole, side)[0])
    return torch.from_numpy(np.stack(squares))


def features(model: CopyModel, squares: torch.Tensor) -> np.ndarray:
    """Pooled features (GeM, exponent 3) of unit length, [n, c]; nothing is learned from other pictures."""
    batches = [model.descriptor(to_network_input(batch, torch.device("cpu"))) for batch in squares.split(BATCH)]
    return nn.functional.normalize(torch.cat(batches)).numpy()


@torch.no_grad()
def calibrated(model: CopyModel, squares: torch.Tensor) -> CopyModel:
    """The same weights, with the batch norms' running statistics taken from pictures: what is not learning's merit."""
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over the batches
    for batch in squares.split(BATCH):
        model.backbone(to_network_input(batch, torch.device("cpu")))
    return model.eval()


if __name__ == "__main__":
    main()
