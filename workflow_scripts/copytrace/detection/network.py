"""The detector: FCOS (Tian et al., 2019; torchvision's) on one of the registry's backbones.

The published one is YOLOv5x, whose code is GPL. Like it, FCOS looks at each picture once, without proposals: none
of torchvision's compiled operators but non-maximum suppression is needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from copytrace import compat
from copytrace.detection import letterbox
from copytrace.detection.scenes import CLASSES
from copytrace.devices import autocast
from copytrace.errors import InputError
from copytrace.networks.registry import Backbone, create_backbone
from copytrace.networks.weights import read_weights
from copytrace.preprocessing import to_network_input

compat.ensure_torchvision()
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.fcos import FCOS, FCOSHead  # noqa: E402
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelP6P7  # noqa: E402

STRIDES = (8, 16, 32, 64)  # of the pyramid's maps, pixels


@dataclass(frozen=True)
class DetectingSettings:
    """How pictures are searched (D²LV sheet, 5.2): keys of the section `detection` of the configuration."""

    confidence: float
    """Less sure boxes go. The product of class and centredness, each in [0, 1], as in the paper; torchvision's
    score is its root."""
    nms_iou: float
    """A box goes if it overlaps a surer one of its class by more."""
    limit: int
    """Boxes per picture."""
    batch: int
    precision: str


class Detections(NamedTuple):
    """What was found in one picture, the surest first."""

    boxes: np.ndarray
    """float64 [n, 4], (x0, y0, x1, y1) in pixels of the picture, clipped to it, none empty."""
    labels: np.ndarray
    """int64 [n], positions in `CLASSES`."""
    confidences: np.ndarray
    """float32 [n], in [0, 1]."""


class Pyramid(nn.Module):
    """A feature pyramid (Lin et al., 2017): the backbone's maps at strides 8 and 16 and two halvings more.

    Our backbones keep the resolution of the stage before in their last one, so that it stands at 16.
    """

    def __init__(self, backbone: Backbone, channels: int):
        super().__init__()
        self.backbone, self.out_channels = backbone, channels
        self.fpn = FeaturePyramidNetwork(list(self.network.pyramid_dims), channels, LastLevelP6P7(channels, channels))

    @property
    def network(self) -> Any:
        """The backbone's own network."""
        return self.backbone.network

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """[n, 3, h, w] → maps [n, channels, h/s, w/s] for each of `STRIDES`."""
        fine, coarse = self.network.pyramid(x)
        return self.fpn({"fine": fine, "coarse": coarse})


class _Head(FCOSHead):
    """FCOS's head with its outputs in float32: losses, boxes and confidences need more than a bf16 holds."""

    def forward(self, x: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value.float() for name, value in super().forward(x).items()}


def create_detector(backbone: Backbone, channels: int, side: int) -> FCOS:
    """An untrained detector for canvases of `side`; the head's weights come from torch's generator.

    Args:
        backbone: a network with a `pyramid`: every one of the registry but timm's.
        channels: width of the pyramid and the head, a multiple of 32 (groups of the head's norms).
        side: pixels, a multiple of 64 (the coarsest stride), so that all maps have whole cells.
    """
    return FCOS(
        Pyramid(backbone, channels),
        len(CLASSES),
        # Canvases come in the right size and normalised.
        min_size=side,
        max_size=side,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        anchor_generator=AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * len(STRIDES)),
        head=_Head(channels, 1, len(CLASSES)),
    )


def load_detector(path: str | Path, settings: DetectingSettings) -> tuple[FCOS, int]:
    """The detector in a weights file, in eval mode, and the side of its canvas in pixels.

    Raises:
        InputError: the file holds no detector.
    """
    state, header = read_weights(path)
    if header.get("kind") != "detector":
        raise InputError(f"{path} holds no detector, its header says: {header}")
    detector = create_detector(create_backbone(header["network"]), header["channels"], header["side"])
    detector.load_state_dict(state)
    set_limits(detector, settings)
    return detector.eval(), header["side"]


def set_limits(detector: FCOS, settings: DetectingSettings) -> None:
    """Tell a detector which boxes to keep."""
    detector.score_thresh = math.sqrt(settings.confidence)
    detector.nms_thresh = settings.nms_iou
    detector.detections_per_img = settings.limit


@torch.inference_mode()
def detect(
    detector: FCOS, canvases: torch.Tensor, sizes: Sequence[tuple[int, int]], settings: DetectingSettings
) -> list[Detections]:
    """What is found in some pictures; needs eval mode.

    The batch is filled up with empty canvases: in batches of one size, a picture's boxes do not depend on how many
    others there are.

    Args:
        detector: see `load_detector`.
        canvases: the pictures as `letterbox.on_canvas` lays them, uint8 [n, side, side, 3], n ≤ `settings.batch`.
        sizes: their own (width, height) in pixels.
        settings: batch and precision; the others are the detector's already.
    """
    device = next(detector.parameters()).device
    filled = canvases.new_zeros((settings.batch, *canvases.shape[1:]))
    filled[: len(canvases)] = canvases
    with autocast(settings.precision, device):
        found = detector(list(to_network_input(filled, device)))
    side = canvases.shape[1]
    return [_in_picture(one, size, side) for one, size in zip(found, sizes)]


def _in_picture(found: dict[str, torch.Tensor], size: tuple[int, int], side: int) -> Detections:
    """Boxes on a canvas mapped to the picture and put in order; ties go by class and place."""
    on_canvas, labels, scores = (found[key].float().cpu().numpy() for key in ("boxes", "labels", "scores"))
    boxes = letterbox.boxes_in_picture(on_canvas, *size, side)
    order = np.lexsort((*boxes.T[::-1], labels, -scores))
    order = order[(boxes[order, 2:] > boxes[order, :2]).all(axis=1)]
    return Detections(boxes[order], labels[order].astype(np.int64), scores[order] ** 2)
