"""Train one model: a family's synthesised set on a pretrained backbone."""

import json
import logging
import math
import shutil
from pathlib import Path

import pandas as pd

from copytrace import distributed, fitting, provenance, runtime
from copytrace.networks.model import CopyModel
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import read_weights, save_weights, seeded
from copytrace.synthesis.tarset import TrainingSet
from copytrace.training import ClassBalancedBatches, CopyTraining, TrackTraining, TrainingSettings, stripped

log = logging.getLogger("copytrace")


def main() -> None:
    """Read the arguments, train or go on, write the model without its classifiers, and its curve.

    Started by torch's launcher, several processes do so together, and the first of them writes.
    """
    distributed.join()
    parser = runtime.Arguments(__doc__)
    parser.add_input("--index", required=True, nargs="+", help="index tables of the synthesised set")
    parser.add_input("--backbone-weights", required=True)
    parser.add_argument("--model", required=True, help="FAMILY.BACKBONE")
    parser.add_argument("--training", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--execution", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--checkpoints", required=True, type=Path, help="folder of all checkpoints")
    parser.add_output("--curve", required=True)
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(max(args.threads // distributed.processes_here(), 1))
    settings = TrainingSettings.from_table(args.training)
    identity = (args.seed, "training", args.model)
    run = provenance.value_digest(
        provenance.code_digest(__file__), identity, args.training, provenance.file_digest(args.backbone_weights),
        [provenance.file_digest(index) for index in args.index],
    )  # fmt: skip

    training_set = TrainingSet(args.index)
    runtime.log_files("input", "tars", training_set.tars)
    state, pretrained = read_weights(args.backbone_weights)
    backbone = create_backbone(pretrained["network"], waveblock=settings.waveblock)
    backbone.load_state_dict(state)
    projector = {"hidden": settings.projector_hidden, "embedding": settings.embedding}
    matrix = settings.matrix.dimensions if settings.matrix else None
    with seeded(*identity, "projector"):
        model = CopyModel(backbone, projector, matrix=matrix)
    classes = len(training_set.classes)
    module = (TrackTraining if matrix else CopyTraining)(model, classes, settings, identity)
    log.info("%s: %d classes, ln(classes) = %.3f", args.model, classes, math.log(classes))
    folder = args.checkpoints / f"{args.model}.{run}"
    fitting.fit(
        module,
        ClassBalancedBatches(training_set, settings, identity),
        steps=settings.steps,
        checkpoints=folder,
        precision=settings.precision,
        pictures=settings.classes_per_batch * settings.copies_per_class,
        threads=args.threads,
        execution=runtime.Execution(**args.execution),
        synchronised_batch_norm=settings.synchronised_batch_norm,
    )
    if distributed.rank() > 0:
        return
    curve = pd.DataFrame(module.curve).assign(ln_classes=math.log(classes))
    last = curve.tail(max(len(curve) // 10, 1)).mean()
    log.info(
        "cross-entropy over the last tenth %.3f (ln of %d classes is %.3f), accuracy in training %.2f",
        last.cross_entropy, classes, math.log(classes), last.accuracy,
    )  # fmt: skip
    header = {
        "kind": "model", "model": args.model, "network": pretrained["network"], "projector": projector,
        "matrix": matrix, "pretrained": pretrained, "classes": classes, "steps": settings.steps, "seed": args.seed,
        "run": run,
    }  # fmt: skip
    with runtime.atomic_output(args.curve) as temporary:
        curve.to_csv(temporary, index=False)
    save_weights(args.output, stripped(model), header)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    runtime.run(main)
