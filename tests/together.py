"""Trainings by groups of one, two and four processes, for the tests: `python tests/together.py FOLDER`.

The processes are forked from this one, so that torch is loaded once, and find what torch's launcher would tell them in
their environment. They compute in double precision: in single, roundings tip a ReLU now and then, and the trainings
part. torch synchronises batch norm on GPUs only: here it is given the pictures of all processes instead.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from copytrace import distributed, fitting
from copytrace.networks.model import CopyModel
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import seeded
from copytrace.runtime import Execution, set_threads
from copytrace.synthesis.tarset import TrainingSet, write_shard
from copytrace.training import ClassBalancedBatches, MatrixSettings, TrackTraining, TrainingSettings

CLASSES = 11  # divisible by none of the numbers of processes
STEPS = 20
IDENTITY = (0, "model")
SETTINGS = TrainingSettings(
    steps=STEPS,
    epochs=5,
    warmup_epochs=1,
    flat_epochs=2,
    classes_per_batch=4,
    copies_per_class=3,
    backbone_learning_rate=1e-3,
    head_learning_rate=1e-2,
    cross_entropy_weight=10,
    label_smoothing=0.1,
    triplet_weight=1,
    waveblock=True,
    projector_hidden=16,
    embedding=12,
    padding=10,
    padding_reference_side=256,
    precision="fp32",
    synchronised_batch_norm=False,
    augment=True,
    matrix=MatrixSettings(
        dimensions=5, cross_entropy_weight=1, distillation_weight=2, temperature=2, detach_teacher=False
    ),
)


def write_set(folder: Path) -> Path:
    """A training set of noise: the index of its only shard."""

    def copies():
        for label in range(CLASSES):
            for copy in range(4):
                draw = np.random.default_rng([label, copy])
                pictures = np.random.default_rng(label).integers(0, 256, (8, 8, 3)) + draw.integers(-40, 40, (8, 8, 3))
                pixels = pictures.clip(0, 255).astype(np.uint8).repeat(4, 0).repeat(4, 1)
                yield label, copy, simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 95, "RGB")

    write_shard(folder / "0.tar", "0.tar", copies()).to_parquet(folder / "0.parquet")
    return folder / "0.parquet"


class Watched(TrackTraining):
    """Keeps the gradients of its first step, those of the classifiers whole."""

    gradients: dict[str, torch.Tensor] | None = None

    def on_after_backward(self) -> None:
        if self.gradients is None:
            gradients = {name: p.grad.clone() for name, p in self.named_parameters() if p.grad is not None}
            self.gradients = whole(self, gradients)


def whole(module: TrackTraining, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Values by the name of a parameter, undivided on process 0."""
    divided = module.classifiers()
    return {k: distributed.whole(v, divided[k].classes) if k in divided else v for k, v in values.items()}


def create(index: Path) -> tuple[Watched, ClassBalancedBatches]:
    """The training at its beginning."""
    training_set = TrainingSet([index])
    with seeded("test"):
        backbone = create_backbone("resnet10_tiny", waveblock=True)
        backbone.unused = torch.nn.Linear(2, 2)  # as in networks of timm behind their features
        model = CopyModel(backbone, {"hidden": 16, "embedding": 12}, matrix=5)
    return Watched(model, CLASSES, SETTINGS, IDENTITY), ClassBalancedBatches(training_set, SETTINGS, IDENTITY)


def train(folder: Path, name: str, steps: int = STEPS) -> None:
    """Train, or go on from the checkpoints in `folder/name`; `folder/name.pt` gets what came of it."""
    module, batches = create(folder / "0.parquet")
    pictures = SETTINGS.classes_per_batch * SETTINGS.copies_per_class
    fitting.fit(
        module, batches, steps=steps, checkpoints=folder / name, precision="fp32", pictures=pictures, threads=1,
        execution=Execution(workers=0, checkpoint_every=10, keep_checkpoints=2),
    )  # fmt: skip
    state = whole(module, module.state_dict())
    if distributed.rank() == 0:
        result = {"state": state, "gradients": module.gradients, "curve": module.curve}
        torch.save(result, folder / f"{name}.pt")


def in_group(processes: int, work: Callable[..., None], *arguments: object) -> None:
    """Do `work` in so many processes that train together; RuntimeError if one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("fork")
    group = [context.Process(target=_member, args=(i, processes, port, work, *arguments)) for i in range(processes)]
    for process in group:
        process.start()
    for process in group:
        process.join()
    if any(process.exitcode for process in group):
        raise RuntimeError(f"exit status {[process.exitcode for process in group]}")


def _member(number: int, processes: int, port: int, work: Callable[..., None], *arguments: object) -> None:
    if processes > 1:
        here = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        here |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "test"}
        os.environ.update({name: str(value) for name, value in here.items()})
    set_threads(1)
    distributed.join()
    work(*arguments)


def compute_in_double_precision() -> None:
    """Draw weights in it, and take it where the code asks for float32."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double


def synchronise_batch_norm() -> None:
    """Give every batch norm in training the pictures of all processes."""
    alone = _BatchNorm.forward

    def over_all(norm: _BatchNorm, own: torch.Tensor) -> torch.Tensor:
        if not norm.training:
            return alone(norm, own)
        rows = distributed.part(len(own) * distributed.world())
        return alone(norm, distributed.gathered(own))[rows]

    _BatchNorm.forward = over_all


def main(folder: Path) -> None:
    write_set(folder)
    in_group(2, train, folder, "per-device", 1)  # as it is
    compute_in_double_precision()
    synchronise_batch_norm()
    for processes in (1, 2, 4):
        in_group(processes, train, folder, f"{processes}")
    for before, after in ((4, 1), (1, 2)):
        name = f"{before}-then-{after}"
        (folder / name).mkdir()
        shutil.copy(folder / str(before) / "step-10.ckpt", folder / name)
        in_group(after, train, folder, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
