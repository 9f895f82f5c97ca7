"""What a network costs for one picture, counted on shapes alone: no weight is made and nothing is computed."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from copytrace.bill import FLOAT, Cost
from copytrace.networks.registry import create_backbone


@cache
def backbone_cost(network: str, side: int) -> Cost:
    """The cost of the backbone `network` for one picture of `side` × `side` pixels."""
    with torch.device("meta"):
        backbone = create_backbone(network)
        pictures = torch.empty(1, 3, side, side)
    sizes: list[int] = []
    for module in backbone.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _, given, out: sizes.append(given[0].numel() + out.numel()))
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            saved[id(tensor.untyped_storage())] = tensor
        return tensor

    backbone.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone.features(pictures)
    backbone.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # two pictures: batch norm refuses the statistics of a single value
        backbone.features(torch.empty(2, 3, side, side, device="meta"))
    return Cost(
        multiply_adds=counter.get_total_flops() // 2,
        parameters=sum(parameter.numel() for parameter in backbone.parameters()),
        width=backbone.feature_dim,
        peak=FLOAT * max(sizes[: len(sizes) // 2]),
        saved=FLOAT * sum(tensor.numel() for tensor in saved.values()) // 2,
    )
