"""Pretrain a backbone with Barlow Twins on the training pictures, from a seeded random draw."""

import json
import shutil
from pathlib import Path

import pandas as pd

from copytrace import fitting, provenance, runtime
from copytrace.errors import InputError
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import load_backbone_weights, save_weights, seeded
from copytrace.pretraining import BarlowTwins, BarlowTwinsSettings, TwoViews


def main() -> None:
    """Read the arguments, train or go on, write weights and curve."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--training", required=True, help="manifest of the training pictures")
    parser.add_argument("--backbone", required=True, help="name of the slot")
    parser.add_argument("--network", required=True, help="name in the registry of networks")
    parser.add_argument("--barlow-twins", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--execution", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--checkpoints", required=True, type=Path, help="folder of all checkpoints")
    parser.add_output("--curve", required=True)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    settings = BarlowTwinsSettings(**args.barlow_twins)
    identity = (args.seed, "barlow_twins", args.backbone)
    run = provenance.value_digest(
        provenance.code_digest(__file__), identity, args.network, args.barlow_twins,
        provenance.file_digest(args.training),
    )  # fmt: skip

    paths = list(pd.read_parquet(args.training).path)
    if len(paths) < settings.batch:
        raise InputError(
            f"pretraining.barlow_twins.batch is {settings.batch}, but there are only {len(paths)} training pictures"
        )
    backbone = create_backbone(args.network)
    load_backbone_weights(backbone, {"source": "none", "seed": [args.seed, "backbone", args.backbone]})
    with seeded(*identity, "projector"):
        module = BarlowTwins(backbone, settings)
    folder = args.checkpoints / f"pretraining.{args.backbone}.{run}"
    fitting.fit(
        module,
        TwoViews(paths, settings, identity),
        steps=settings.steps,
        checkpoints=folder,
        precision=settings.precision,
        pictures=settings.batch,
        threads=args.threads,
        execution=runtime.Execution(**args.execution),
    )
    header = {
        "kind": "backbone", "backbone": args.backbone, "network": args.network, "source": "barlow_twins",
        "steps": settings.steps, "seed": args.seed, "run": run,
    }  # fmt: skip
    with runtime.atomic_output(args.curve) as temporary:
        pd.DataFrame(module.curve).to_csv(temporary, index=False)
    save_weights(args.output, backbone, header)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    runtime.run(main)
