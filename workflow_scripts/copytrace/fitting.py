"""Training loops on Lightning: one batch a step, checkpoints in a side folder, resumed exactly where they stopped.

A step's data and random draws depend on nothing but the run's identity and the step's number, so a run that was
killed and resumed sees what an undisturbed one sees.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from copytrace import compat, distributed, runtime
from copytrace.devices import choose_precision
from copytrace.errors import InputError

compat.ensure_torchvision()  # Lightning imports torchvision where there is one
import lightning.pytorch as lightning  # noqa: E402
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment  # noqa: E402
from lightning.pytorch.plugins.io import TorchCheckpointIO  # noqa: E402
from lightning.pytorch.utilities.exceptions import SIGTERMException  # noqa: E402

logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # tips and advertisements

log = logging.getLogger("copytrace")

_LIGHTNING_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


class StepModule(lightning.LightningModule):
    """A Lightning module that keeps its curve: one row of figures a step, saved with every checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self._curve: list[dict[str, float]] = []
        self._recorded: list[dict[str, torch.Tensor | float]] = []

    @property
    def curve(self) -> list[dict[str, float]]:
        """The rows so far, `step` and the recorded figures."""
        for row in self._recorded:
            self._curve.append({k: v.item() if isinstance(v, torch.Tensor) else v for k, v in row.items()})
        self._recorded = []
        return self._curve

    def record(self, **figures: torch.Tensor) -> None:
        """Add the current step's figures to the curve; they stay on their device until somebody looks."""
        self._recorded.append({"step": self.global_step, **{name: value.detach() for name, value in figures.items()}})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the curve beside the weights."""
        checkpoint["curve"] = self.curve

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the curve up again."""
        self._curve, self._recorded = checkpoint["curve"], []


class _StepsFrom(Sampler[int]):
    """The step numbers start, start + 1, …; without a length, so that Lightning counts steps and not epochs."""

    def __init__(self, start: int):
        self.start = start

    def __iter__(self) -> Iterator[int]:
        step = self.start
        while True:
            yield step
            step += 1


class _WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints as whole files; Lightning's own way takes each through the system's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`, whole or not at all."""
        with runtime.atomic_output(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


class _Checkpoints(lightning.Callback):
    """Writes step-N.ckpt every `every` steps and keeps the last `keep`."""

    def __init__(self, folder: Path, every: int, keep: int):
        self.folder, self.every, self.keep = folder, every, keep

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Save when the step's number says so; the last step needs none, its weights follow."""
        step = trainer.global_step
        if step % self.every or step == trainer.max_steps:
            return
        trainer.save_checkpoint(self.folder / f"step-{step}.ckpt")
        if trainer.is_global_zero:
            for old in _newest_first(self.folder)[self.keep :]:
                old.unlink(missing_ok=True)  # the leftover of a killed run may do the same


class _Progress(lightning.Callback):
    """The throughput line of the project for a training."""

    def __init__(self, meter: runtime.Throughput):
        self.meter = meter

    def on_train_batch_end(self, *_: object) -> None:
        """Count a step."""
        self.meter.add()


class _EndAtOnce(lightning.Callback):
    """On SIGTERM several processes end where they are.

    Lightning lets them exchange one thing more, in the middle of whatever they are exchanging.
    """

    def on_train_start(self, trainer: lightning.Trainer, _: lightning.LightningModule) -> None:
        """Take the place of Lightning's handler."""

        def end(*_: object) -> None:
            log.info("ended by SIGTERM after step %d of %d", trainer.global_step, trainer.max_steps)
            os._exit(128 + signal.SIGTERM)

        if distributed.world() > 1:
            signal.signal(signal.SIGTERM, end)


def _newest_first(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("step-*.ckpt") if re.fullmatch(r"step-\d+\.ckpt", p.name)]
    return sorted(found, key=lambda p: int(p.stem.split("-")[1]), reverse=True)


def fit(
    module: StepModule,
    batches: Dataset,
    *,
    steps: int,
    checkpoints: Path,
    precision: str,
    pictures: int,
    threads: int,
    execution: runtime.Execution,
    synchronised_batch_norm: bool = False,
) -> None:
    """Train `module` for `steps` steps, going on from the newest checkpoint in the folder `checkpoints`.

    `batches[step]` is the batch of a step. `precision`: auto, fp32, bf16 or fp16. A batch has
    `pictures` pictures. The folder is left to the caller, who removes it once the result is written.

    Where several processes train (`distributed.join`), DDP gives them the mean of their gradients. Their batch norms
    see the pictures of one device, and the running statistics are those of process 0, unless
    `synchronised_batch_norm`: then those of all. InputError if that is wanted without GPUs.
    """
    several = distributed.world() > 1
    synchronised = synchronised_batch_norm and several
    if synchronised and not torch.cuda.is_available():
        raise InputError("training.synchronised_batch_norm is true, but torch has it on GPUs only: set it to false")
    module.to(memory_format=torch.channels_last)  # as the batches come
    resumed = distributed.agreed(_newest_readable(checkpoints))
    start = int(resumed.stem.split("-")[1]) if resumed else 0
    if resumed:
        log.info("going on from step %d of %d (%s)", start, steps, resumed)
    loader: DataLoader = DataLoader(
        batches,
        batch_size=None,
        sampler=_StepsFrom(start),
        num_workers=execution.workers,
        persistent_workers=execution.workers > 0,
    )
    with warnings.catch_warnings(), runtime.Throughput("steps", threads, steps - start, pictures) as meter:
        for said in (
            "does not have many workers",
            "num_workers",
            "mid-epoch",
            "The `srun` command",
            "LeafSpec",
            "find_unused_parameters",
        ):
            warnings.filterwarnings("ignore", message=f".*{said}")
        trainer = lightning.Trainer(
            accelerator="auto",
            devices=distributed.processes_here(),
            num_nodes=distributed.world() // distributed.processes_here(),
            # Networks of timm have layers behind their features, which get no gradient.
            strategy="ddp_find_unused_parameters_true" if several else "auto",
            sync_batchnorm=synchronised,
            use_distributed_sampler=False,  # each process gets its part of every batch from `batches`
            max_steps=steps,
            max_epochs=-1,
            precision=_LIGHTNING_PRECISION[choose_precision(precision)],  # type: ignore[arg-type]
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            # Inside a SLURM job Lightning would take SLURM's place: requeue the job and let SIGTERM pass unheard.
            plugins=[_WholeCheckpoints(), TorchElasticEnvironment() if several else LightningEnvironment()],
            callbacks=[
                _Checkpoints(checkpoints, execution.checkpoint_every, execution.keep_checkpoints),
                _Progress(meter),
                _EndAtOnce(),
            ],
        )
        try:
            with distributed.together():
                trainer.fit(module, loader, ckpt_path=resumed, weights_only=True)
        except SIGTERMException:
            log.info("ended by SIGTERM after step %d of %d", trainer.global_step, steps)
            sys.exit(128 + signal.SIGTERM)  # Lightning's own status is 0, as if all were done


def _newest_readable(folder: Path) -> Path | None:
    """The newest checkpoint that can be read; one that can't is set aside by name, and said so."""
    for path in _newest_first(folder):
        try:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as broken:
            log.warning("checkpoint %s can't be read (%s): taking the one before", path, broken)
        else:
            return path
    return None
