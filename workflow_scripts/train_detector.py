"""Train the overlay detector on synthetic scenes of the training pictures, or of the backgrounds."""

import json
import logging
import shutil
from pathlib import Path

import pandas as pd

from copytrace import fitting, provenance, runtime
from copytrace.detection.network import create_detector
from copytrace.detection.scenes import CLASSES, SceneSettings, training_and_held_out
from copytrace.detection.training import DetectorTraining, DetectorTrainingSettings, SceneBatches
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import read_weights, save_weights, seeded

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments, train or go on, write the detector and its curve."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--pictures", required=True, help="manifest of the pictures that scenes are made of")
    parser.add_input("--backbone-weights", required=True)
    parser.add_argument("--detection", required=True, type=json.loads, help="keys of the section of that name")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--execution", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--checkpoints", required=True, type=Path, help="folder of all checkpoints")
    parser.add_output("--curve", required=True)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(args.threads)
    settings = DetectorTrainingSettings(**args.detection)
    identity = (args.seed, "detection")
    paths = pd.read_parquet(args.pictures, columns=["path"])["path"].tolist()
    run = provenance.value_digest(
        provenance.code_digest(__file__), identity, args.detection, provenance.file_digest(args.backbone_weights),
        provenance.file_digest(args.pictures),
    )  # fmt: skip

    scenes, _ = training_and_held_out(
        paths, settings.side, SceneSettings(**settings.scenes), settings.held_out, args.seed
    )
    log.info("scenes of %d pictures and %d emoji", len(scenes.pictures.paths), len(scenes.emoji))
    state, pretrained = read_weights(args.backbone_weights)
    backbone = create_backbone(pretrained["network"])
    backbone.load_state_dict(state)
    with seeded(*identity, "head"):
        detector = create_detector(backbone, settings.channels, settings.side)
    module = DetectorTraining(detector, settings)
    folder = args.checkpoints / f"detector.{run}"
    fitting.fit(
        module,
        SceneBatches(scenes, settings.batch),
        steps=settings.steps,
        checkpoints=folder,
        precision=settings.precision,
        pictures=settings.batch,
        threads=args.threads,
        execution=runtime.Execution(**args.execution),
    )
    curve = pd.DataFrame(module.curve)
    last = curve.tail(max(len(curve) // 10, 1)).mean()
    log.info("loss over the first step %.3f, over the last tenth %.3f", curve.loss.iloc[0], last.loss)
    header = {
        "kind": "detector", "network": pretrained["network"], "channels": settings.channels, "side": settings.side,
        "classes": CLASSES, "pretrained": pretrained, "steps": settings.steps, "seed": args.seed, "run": run,
    }  # fmt: skip
    with runtime.atomic_output(args.curve) as temporary:
        curve.to_csv(temporary, index=False)
    save_weights(args.output, detector, header)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    runtime.run(main)
