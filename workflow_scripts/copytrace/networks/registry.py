"""Backbones by name: our own networks, one function each, and any network of timm as `timm:NAME`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from copytrace.errors import InputError
from copytrace.networks.layers import WaveBlock
from copytrace.networks.mobilenet_v2 import MobileNetV2
from copytrace.networks.names import TIMM_PREFIX, check_name
from copytrace.networks.resnet import BasicBlock, Bottleneck, ResNet
from copytrace.suggestions import hint

OwnNetwork = ResNet | MobileNetV2

_constructors: dict[str, Callable[[], OwnNetwork]] = {}


def register(constructor: Callable[[], OwnNetwork]) -> Callable[[], OwnNetwork]:
    """Make a network known by the name of the function that builds it."""
    _constructors[constructor.__name__] = constructor
    return constructor


@register
def resnet50() -> ResNet:
    """ResNet-50; D²LV's first slot."""
    return ResNet(Bottleneck, (3, 4, 6, 3))


@register
def resnet152() -> ResNet:
    """ResNet-152; D²LV's second slot."""
    return ResNet(Bottleneck, (3, 8, 36, 3))


@register
def resnet50_ibn_a() -> ResNet:
    """ResNet-50-IBN-a; D²LV's third slot."""
    return ResNet(Bottleneck, (3, 4, 6, 3), ibn="a")


@register
def resnet10_half() -> ResNet:
    """Four basic blocks of half width; the sample's first slot."""
    return ResNet(BasicBlock, (1, 1, 1, 1), width=32)


@register
def resnet10_half_ibn_a() -> ResNet:
    """The same with IBN-a; the sample's second slot."""
    return ResNet(BasicBlock, (1, 1, 1, 1), width=32, ibn="a")


@register
def resnet12_half() -> ResNet:
    """Five basic blocks of half width; the sample's third slot."""
    return ResNet(BasicBlock, (1, 1, 2, 1), width=32)


@register
def resnet10_tiny() -> ResNet:
    """An eighth of the width, for tests of the workflow."""
    return ResNet(BasicBlock, (1, 1, 1, 1), width=8)


@register
def resnet10_tiny_ibn_a() -> ResNet:
    """An eighth of the width with IBN-a, for tests of the workflow."""
    return ResNet(BasicBlock, (1, 1, 1, 1), width=8, ibn="a")


@register
def resnet12_tiny() -> ResNet:
    """An eighth of the width and one block more, for tests of the workflow."""
    return ResNet(BasicBlock, (1, 1, 2, 1), width=8)


@register
def mobilenet_v2() -> MobileNetV2:
    """MobileNetV2 of the ONNX model zoo."""
    return MobileNetV2()


class Backbone(nn.Module):
    """A network without its head. Its state dict has the published names behind the prefix `network.`."""

    def __init__(self, name: str, network: nn.Module, feature_dim: int):
        super().__init__()
        self.name, self.network, self.feature_dim = name, network, feature_dim

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, h, w], normalised by ImageNet's statistics → map [n, feature_dim, h', w']."""
        return self.network(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same as `features`."""
        return self.features(x)


class TimmBackbone(Backbone):
    """A network of timm; the tokens of a transformer are laid out as a map, class tokens left out."""

    network: Any

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Pictures [n, 3, h, w] → map [n, feature_dim, h', w']; InputError if the network gives none."""
        try:
            y = self.network.forward_features(x)
        except (AssertionError, RuntimeError) as refused:
            of_its_own_size = tuple(x.shape[1:]) == tuple(self.network.pretrained_cfg["input_size"])
            if of_its_own_size or isinstance(refused, torch.OutOfMemoryError):
                raise
            raise InputError(f"{self.name} takes no pictures of {x.shape[3]}×{x.shape[2]}: {refused}") from None
        if y.ndim == 3 and hasattr(getattr(self.network, "patch_embed", None), "dynamic_feat_size"):
            height, width = self.network.patch_embed.dynamic_feat_size(tuple(x.shape[2:]))
            tokens = y[:, getattr(self.network, "num_prefix_tokens", 0) :]
            if tokens.shape[1] == height * width:
                return tokens.transpose(1, 2).unflatten(2, (height, width))
        if y.ndim == 4 and getattr(self.network, "output_fmt", "NCHW") == "NHWC":
            y = y.permute(0, 3, 1, 2)
        if y.ndim == 4 and y.shape[1] == self.feature_dim:
            return y
        raise InputError(f"{self.name} gives no map of features to pool: choose another network")


def create_backbone(name: str, waveblock: bool = False) -> Backbone:
    """The backbone called `name`, with random weights from torch's generator (see `weights.seeded`).

    `waveblock`: add a WaveBlock after layer2 and after layer3 (D²LV sheet, 4.1). InputError for an unknown
    name and for a WaveBlock in a network without such stages.
    """
    check_name(name)
    if name.startswith(TIMM_PREFIX):
        timm_network = create_timm_network(name)
        backbone: Backbone = TimmBackbone(name, timm_network, timm_network.num_features)
    else:
        network = _constructors[name]()
        backbone = Backbone(name, network, network.feature_dim)
    if waveblock:
        _add_waveblocks(backbone)
    return backbone


def create_timm_network(name: str, pretrained: bool = False) -> Any:
    """The network `timm:NAME` without classifier and pooling; `pretrained` weights come from the internet.

    InputError for an unknown name. Transformers are told to take pictures of any size, where they can.
    """
    from copytrace.compat import ensure_torchvision

    ensure_torchvision()
    import timm

    timm_name = name.removeprefix(TIMM_PREFIX)
    if not timm.is_model(timm_name):
        raise InputError(f"timm has no network {timm_name!r}: {hint(timm_name, timm.list_models())}")
    options: dict[str, Any] = {"pretrained": pretrained, "num_classes": 0, "global_pool": ""}
    try:
        return timm.create_model(timm_name, **options, dynamic_img_size=True)
    except TypeError:  # not a transformer with position embeddings
        return timm.create_model(timm_name, **options)
    except RuntimeError as wrong:
        if "pretrained tag" not in str(wrong):
            raise
        known = [other for other in timm.list_pretrained() if other.startswith(timm_name.split(".")[0] + ".")]
        raise InputError(f"timm has no weights {timm_name!r}: {hint(timm_name, known)}") from None


def _add_waveblocks(backbone: Backbone) -> None:
    stages = [getattr(backbone.network, stage, None) for stage in ("layer2", "layer3")]
    for stage in stages:
        if not isinstance(stage, nn.Sequential):
            raise InputError(f"{backbone.name} has no stages layer2 and layer3 for a WaveBlock: set waveblock: false")
        stage.append(WaveBlock())  # no parameters, so the names in the state dict stay as published
