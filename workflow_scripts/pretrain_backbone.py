"""Pretrain a backbone without labels, by Barlow Twins or a Momentum² teacher, from a seeded random draw."""

import json
import shutil
from pathlib import Path

import pandas as pd

from copytrace import fitting, provenance, runtime
from copytrace.errors import InputError
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import load_backbone_weights, save_weights, seeded
from copytrace.pretraining import METHODS, TwoViews


def main() -> None:
    """Read the arguments, train or go on, write weights and curve."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pictures", required=True, help="manifest of the pictures to learn from")
    parser.add_argument("--backbone", required=True, help="name of the slot")
    parser.add_argument("--network", required=True, help="name in the registry of networks")
    parser.add_argument("--method", required=True, choices=METHODS)
    parser.add_argument("--settings", required=True, type=json.loads, help="the section `pretraining` has for it")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--execution", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--checkpoints", required=True, type=Path, help="folder of all checkpoints")
    parser.add_output("--curve", required=True)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    create_module, settings_class = METHODS[args.method]
    settings = settings_class(**args.settings)
    identity = (args.seed, args.method, args.backbone)
    run = provenance.value_digest(
        provenance.code_digest(__file__), identity, args.network, args.settings, provenance.file_digest(args.pictures)
    )

    paths = list(pd.read_parquet(args.pictures).path)
    if len(paths) < settings.batch:
        raise InputError(
            f"pretraining.{args.method} takes {settings.batch} pictures a step for {args.backbone}, "
            f"but there are only {len(paths)}"
        )
    backbone = create_backbone(args.network)
    load_backbone_weights(backbone, {"source": "none", "seed": [args.seed, "backbone", args.backbone]})
    with seeded(*identity, "projector"):
        module = create_module(backbone, settings)
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
        "kind": "backbone", "backbone": args.backbone, "network": args.network, "source": args.method,
        "steps": settings.steps, "seed": args.seed, "run": run,
    }  # fmt: skip
    with runtime.atomic_output(args.curve) as temporary:
        pd.DataFrame(module.curve).to_csv(temporary, index=False)
    save_weights(args.output, module.trained(), header)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    runtime.run(main)
