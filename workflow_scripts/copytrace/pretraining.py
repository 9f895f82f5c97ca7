"""Self-supervised pretraining of a backbone: Barlow Twins (Zbontar et al. 2021; D²LV sheet, 3.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from copytrace import losses, schedules
from copytrace.fitting import StepModule
from copytrace.imaging import load_image
from copytrace.networks.registry import Backbone
from copytrace.preprocessing import to_network_input
from copytrace.runtime import generator
from copytrace.synthesis.chain import render_copy
from copytrace.synthesis.operations import Scene
from copytrace.synthesis.plan import plan_chain


@dataclass(frozen=True)
class BarlowTwinsSettings:
    """The section `pretraining.barlow_twins` of the configuration."""

    steps: int
    side: int
    reference_side: int | None
    batch: int
    projector: list[int]
    off_diagonal_weight: float
    learning_rate: float
    weight_decay: float
    warmup: float
    views: list[dict[str, dict[str, Any]]]
    precision: str


class TwoViews(Dataset):
    """The batch of each step: two distorted views of the same pictures, uint8 [batch, side, side, 3] each.

    Pictures are taken in passes without repetition, each pass in a new order.
    """

    def __init__(self, paths: list[str], settings: BarlowTwinsSettings, identity: tuple[object, ...]):
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
    raise RuntimeError("the views of pretraining.barlow_twins use no foreign pictures")


class BarlowTwins(StepModule):
    """Backbone + projector whose two outputs' cross-correlation is driven to the identity."""

    def __init__(self, backbone: Backbone, settings: BarlowTwinsSettings):
        super().__init__()
        self.backbone, self.settings = backbone, settings
        widths = [backbone.feature_dim, *settings.projector]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths[:-1]):
            layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
        self.projector = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False))

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> torch.Tensor:
        """The loss of one batch; both views pass the network one after the other, as published."""
        z1, z2 = (self.projector(self.backbone.features(to_network_input(v, self.device)).mean((2, 3))) for v in batch)
        loss = losses.barlow_twins_loss(z1, z2, self.settings.off_diagonal_weight)
        self.record(loss=loss)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW, linear warm-up, half-cosine to zero."""
        s = self.settings
        optimiser = torch.optim.AdamW(self.parameters(), lr=s.learning_rate, weight_decay=s.weight_decay)
        warmup = math.ceil(s.warmup * s.steps)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: schedules.warmup_cosine(step, s.steps, warmup)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
