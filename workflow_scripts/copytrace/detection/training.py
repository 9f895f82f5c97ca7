"""Training of the overlay detector on scenes that are drawn while it learns (D²LV sheet, 5.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from copytrace import schedules
from copytrace.detection import letterbox
from copytrace.detection.scenes import SceneRenderer
from copytrace.fitting import StepModule
from copytrace.preprocessing import to_network_input


@dataclass(frozen=True)
class DetectorTrainingSettings:
    """What of the section `detection` of the configuration makes a detector."""

    channels: int
    side: int
    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    warmup: float
    precision: str
    held_out: float
    scenes: dict[str, Any]


Batch = tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]


class SceneBatches(Dataset):
    """The batch of each step, new scenes in every one: canvases uint8 [batch, side, side, 3], boxes and labels."""

    def __init__(self, render: SceneRenderer, batch: int):
        self.render, self.batch = render, batch

    def __getitem__(self, step: int) -> Batch:
        """The batch of `step`, the same whenever it is asked for."""
        scenes = [self.render(step * self.batch + i) for i in range(self.batch)]
        canvases = [torch.from_numpy(letterbox.on_canvas(scene.picture, self.render.side)) for scene in scenes]
        boxes = [torch.from_numpy(scene.boxes) for scene in scenes]
        return torch.stack(canvases), boxes, [torch.from_numpy(scene.labels) for scene in scenes]


class DetectorTraining(StepModule):
    """FCOS's own losses, equally weighted: focal loss of the class, GIoU of the box, cross-entropy of centredness.

    `detector`: what `network.create_detector` makes.
    """

    def __init__(self, detector: nn.Module, settings: DetectorTrainingSettings):
        super().__init__()
        self.detector, self.settings = detector, settings

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        """The loss of one batch."""
        canvases, boxes, labels = batch
        targets = [{"boxes": b, "labels": n} for b, n in zip(boxes, labels, strict=True)]
        parts = self.detector(list(to_network_input(canvases, self.device)), targets)
        loss = torch.stack(list(parts.values())).sum()
        self.record(loss=loss, **parts)
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
