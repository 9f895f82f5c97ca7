"""What a network costs for one picture, counted on shapes alone: no weight is made and nothing is computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from copytrace.bill import FLOAT, Cost
from copytrace.detection.network import create_detector
from copytrace.networks.registry import create_backbone


@cache
def backbone_cost(network: str, side: int) -> Cost:
    """The cost of the backbone `network` for one picture of `side` × `side` pixels."""
    with torch.device("meta"):
        backbone = create_backbone(network)
    return _cost(backbone, backbone.features, side, backbone.feature_dim)


@cache
def detector_cost(network: str, channels: int, side: int) -> Cost:
    """The cost of the overlay detector on a backbone for one canvas, all but the choice of boxes; its width is 0."""
    with torch.device("meta"):
        detector = create_detector(create_backbone(network), channels, side)
    return _cost(detector, lambda pictures: detector.head(list(detector.backbone(pictures).values())), side, 0)


def _cost(module: nn.Module, forward: Callable[[torch.Tensor], Any], side: int, width: int) -> Cost:
    sizes: list[int] = []
    for part in module.modules():
        if not list(part.children()):
            part.register_forward_hook(lambda _, given, out: sizes.append(given[0].numel() + out.numel()))
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            saved[id(tensor.untyped_storage())] = tensor
        return tensor

    pictures = torch.empty(2, 3, side, side, device="meta")  # norms refuse the statistics of a single value
    module.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward(pictures)
    module.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward(pictures)
    return Cost(
        multiply_adds=counter.get_total_flops() // 2 // len(pictures),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        width=width,
        peak=FLOAT * max(sizes) // len(pictures),
        saved=FLOAT * sum(tensor.numel() for tensor in saved.values()) // len(pictures),
    )
