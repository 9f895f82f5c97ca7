"""Self-supervised pretraining of a backbone: Barlow Twins and Momentum² teacher.

Barlow Twins: Zbontar et al., 2021; D²LV sheet, 3.1. Momentum² Teacher: Li et al., 2021; D²LV sheet, 3.2.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from copytrace import compat, losses, schedules
from copytrace.fitting import StepModule
from copytrace.imaging import load_image
from copytrace.networks.momentum_norm import momentum_norms, with_momentum_norms, without_momentum_norms
from copytrace.networks.registry import Backbone
from copytrace.preprocessing import to_network_input
from copytrace.runtime import generator
from copytrace.synthesis.chain import render_copy
from copytrace.synthesis.operations import Scene
from copytrace.synthesis.plan import plan_chain

#: Pictures per step that the configured learning rates hold for; they grow with the batch, as published.
BASE_BATCH = 256
#: Learning rate at the first step of the Momentum² teacher (D²LV sheet, 3.2).
FIRST_LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class PretrainingSettings:
    """What the sections `pretraining.barlow_twins` and `pretraining.momentum_teacher` have in common."""

    steps: int
    side: int
    reference_side: int | None
    batch: int
    base_learning_rate: float
    momentum: float
    weight_decay: float
    warmup: float
    views: list[dict[str, dict[str, Any]]]
    precision: str

    @property
    def warmup_steps(self) -> int:
        """Steps during which the learning rate rises."""
        return math.ceil(self.warmup * self.steps)

    def learning_rate(self, base: float) -> float:
        """The peak that a learning rate for 256 pictures means at this batch."""
        return base * self.batch / BASE_BATCH


@dataclass(frozen=True)
class BarlowTwinsSettings(PretrainingSettings):
    """The section `pretraining.barlow_twins` of the configuration."""

    projector: list[int]
    off_diagonal_weight: float
    optimiser: str
    base_learning_rate_1d: float
    final_learning_rate: float


@dataclass(frozen=True)
class MomentumTeacherSettings(PretrainingSettings):
    """The section `pretraining.momentum_teacher` of the configuration."""

    hidden: int
    output: int
    teacher_momentum: float
    batch_share: float
    faithful: dict[str, bool]


class TwoViews(Dataset):
    """The batch of each step: two distorted views of the same pictures, uint8 [batch, side, side, 3] each.

    Pictures are taken in passes without repetition, each pass in a new order.
    """

    def __init__(self, paths: list[str], settings: PretrainingSettings, identity: tuple[object, ...]):
        self.paths, self.settings, self.identity = paths, settings, identity
        self.per_pass = max(len(paths) // settings.batch, 1)
        scale = settings.side / settings.reference_side if settings.reference_side else 1.0
        self.scene = Scene(settings.side, scale, _no_foreign)
        self.chains = [
            plan_chain({"order": list(view), "steps": view}, "pretraining", {}, grey=False, partial_grey=False)
            for view in settings.views
        ]

    def __getitem__(self, step: int) -> tuple[torch.Tensor, ...]:
        """The two views of the pictures of `step`."""
        turn, batch = divmod(step, self.per_pass)
        order = generator(*self.identity, "pass", turn).permutation(len(self.paths))
        views: tuple[list[np.ndarray], ...] = ([], [])
        for i in order[batch * self.settings.batch : (batch + 1) * self.settings.batch].tolist():
            picture = Image.fromarray(load_image(self.paths[i]))
            for number, chain in enumerate(self.chains):
                view = render_copy(picture, chain, self.scene, (*self.identity, "view", step, i, number))
                views[number].append(np.asarray(view))
        return tuple(torch.from_numpy(np.stack(view)) for view in views)


def _no_foreign(_: np.random.Generator) -> Image.Image:
    raise RuntimeError("the views of a pretraining use no foreign pictures")


class Encoder(nn.Module):
    """A backbone, the mean over its map, and a projector."""

    def __init__(self, backbone: Backbone, projector: nn.Module):
        super().__init__()
        self.backbone, self.projector = backbone, projector

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, h, w], normalised by ImageNet's statistics → projections [n, d]."""
        return self.projector(self.backbone.features(x).mean((2, 3)))


class BarlowTwins(StepModule):
    """Backbone + projector whose two outputs' cross-correlation is driven to the identity."""

    def __init__(self, backbone: Backbone, settings: BarlowTwinsSettings):
        super().__init__()
        self.settings = settings
        widths = [backbone.feature_dim, *settings.projector]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
        self.encoder = Encoder(backbone, nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False)))

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> torch.Tensor:
        """The loss of one batch; both views pass the network one after the other, as published."""
        z1, z2 = (self.encoder(to_network_input(view, self.device)) for view in batch)
        loss = losses.barlow_twins_loss(z1, z2, self.settings.off_diagonal_weight)
        self.record(loss=loss)
        return loss

    def configure_optimizers(self) -> Any:
        """LARS as published, or AdamW for small batches; linear warm-up, half-cosine to the final share of the peak."""
        s = self.settings
        weights = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim == 1]  # biases, and weights of norms
        groups: list[dict[str, Any]] = [
            {"params": weights, "lr": s.learning_rate(s.base_learning_rate)},
            {"params": vectors, "lr": s.learning_rate(s.base_learning_rate_1d)},
        ]
        optimiser: torch.optim.Optimizer
        if s.optimiser == "lars":
            compat.ensure_torchvision()  # timm imports it
            from timm.optim import Lars

            groups[1]["weight_decay"] = 0.0  # which also leaves them out of the adaptation
            optimiser = Lars(groups, momentum=s.momentum, weight_decay=s.weight_decay, trust_coeff=0.001)
        else:
            optimiser = torch.optim.AdamW(groups, betas=(s.momentum, 0.999), weight_decay=s.weight_decay)
        return _scheduled(
            optimiser,
            lambda step: schedules.warmup_cosine(step, s.steps, s.warmup_steps, floor=s.final_learning_rate),
        )

    def trained(self) -> Backbone:
        """What the training was for."""
        return self.encoder.backbone


class MomentumTeacher(StepModule):
    """A student learns to predict what a slower copy of itself, the teacher, makes of the other view.

    The teacher's weights are a moving average of the student's, the statistics of its batch norms one of the batches'
    (`MomentumBatchNorm`). Both averages move by the number of the step alone, so a resumed training goes on with them
    where it stopped (P1 of the sheet). Where the published code clones the student's running buffers before each
    forward, because two of them come before one backward under DDP, one device needs nothing.
    """

    def __init__(self, backbone: Backbone, settings: MomentumTeacherSettings):
        super().__init__()
        self.settings = settings
        hidden, output = settings.hidden, settings.output
        self.student = Encoder(backbone, _perceptron(backbone.feature_dim, hidden, output))
        self.predictor = _perceptron(output, hidden, output)
        self.teacher = with_momentum_norms(copy.deepcopy(self.student), settings.faithful["double_bessel"])
        self.teacher.requires_grad_(False)

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> torch.Tensor:
        """The loss of one batch: each view's prediction against the teacher's projection of the other one."""
        x1, x2 = (to_network_input(view, self.device) for view in batch)
        k1, k2 = self._taught(x1, x2)
        q1, q2 = (self.predictor(self.student(x)) for x in (x1, x2))
        loss = losses.momentum_teacher_loss(q1, q2, k1, k2)
        self.record(loss=loss)
        return loss

    @torch.no_grad()
    def _taught(self, *views: torch.Tensor) -> list[torch.Tensor]:
        """The teacher's projections: its weights follow the student's first, its statistics the batches' afterwards."""
        s = self.settings
        momentum = schedules.cosine_between(s.teacher_momentum, 1, self.global_step, s.steps)
        for taught, learned in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            taught.lerp_(learned, 1 - momentum)
        norms = list(momentum_norms(self.teacher))
        for norm in norms:
            norm.share = schedules.cosine_between(s.batch_share, 0, self.global_step, s.steps)
        projections = [self.teacher(view) for view in views]
        for norm in norms:
            norm.remember()
        return projections

    def configure_optimizers(self) -> Any:
        """SGD with weight decay on all that the student has; linear warm-up, half-cosine to 0."""
        s = self.settings
        peak = s.learning_rate(s.base_learning_rate)
        learned = [*self.student.parameters(), *self.predictor.parameters()]
        return _scheduled(
            torch.optim.SGD(learned, lr=peak, momentum=s.momentum, weight_decay=s.weight_decay),
            lambda step: schedules.warmup_cosine(step, s.steps, s.warmup_steps, start=FIRST_LEARNING_RATE / peak),
        )

    def trained(self) -> Backbone:
        """The teacher's backbone, as published, with plain batch norms; takes the teacher apart."""
        return without_momentum_norms(self.teacher.backbone)


METHODS = {
    "barlow_twins": (BarlowTwins, BarlowTwinsSettings),
    "momentum_teacher": (MomentumTeacher, MomentumTeacherSettings),
}


def _perceptron(before: int, hidden: int, after: int) -> nn.Sequential:
    """Two layers, batch norm and ReLU between them only; with biases, as published."""
    return nn.Sequential(
        nn.Linear(before, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, after)
    )


def _scheduled(optimiser: torch.optim.Optimizer, factor: Callable[[int], float]) -> dict[str, Any]:
    """What Lightning wants: the optimiser, and its rates times `factor` of the step."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
