"""Residual networks in torchvision's naming, so that published state dicts load by name.

Deep Residual Learning (He et al., 2016), with the stride of a bottleneck in its 3×3 convolution; IBN-a after
Two at Once (Pan et al., 2018); the last stage keeps its resolution (D²LV sheet, 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class SplitNorm(nn.Module):
    """IBN-a: the first half of the channels is normalised per picture, the second half per batch."""

    def __init__(self, channels: int):
        super().__init__()
        self.split = channels // 2
        self.IN = nn.InstanceNorm2d(self.split, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.split)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, c, h, w] → the same shape."""
        return torch.cat([self.IN(x[:, : self.split]), self.BN(x[:, self.split :])], dim=1)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int, split_norm: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = SplitNorm(channels) if split_norm else nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, channels_in, h, w] → [n, channels, h / stride, w / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions around a shortcut; four times as many channels leave as lie inside."""

    expansion = 4

    def __init__(self, channels_in: int, channels: int, stride: int, split_norm: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.bn1 = SplitNorm(channels) if split_norm else nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, channels * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, channels * self.expansion, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, channels_in, h, w] → [n, 4·channels, h / stride, w / stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


class ResNet(nn.Module):
    """A residual network without its classifier: [n, 3, h, w] → [n, feature_dim, ⌈h/16⌉, ⌈w/16⌉].

    `block`: BasicBlock or Bottleneck. `depths`: blocks per stage. `width`: channels of the stem and inside
    the first stage, 64 as published. `last_stride`: 1, or 2 as in the original network (then the map is half
    as large). `ibn`: "a" splits the first norm of every block in layers 1–3, None leaves all of them batch
    norms.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        width: int = 64,
        last_stride: int = 1,
        ibn: str | None = None,
    ):
        super().__init__()
        if ibn not in (None, "a"):
            raise ValueError(f"ibn is 'a' or None, not {ibn!r}")
        self.feature_dim = width * 8 * block.expansion
        self.pyramid_dims = (width * 2 * block.expansion, self.feature_dim)
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        split = ibn == "a"
        inner = block.expansion * width
        self.layer1 = _stage(block, width, width, depths[0], 1, split)
        self.layer2 = _stage(block, inner, width * 2, depths[1], 2, split)
        self.layer3 = _stage(block, inner * 2, width * 4, depths[2], 2, split)
        self.layer4 = _stage(block, inner * 4, width * 8, depths[3], last_stride, False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The map of the last stage."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def pyramid(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The maps of layer2 and of the last stage: [n, pyramid_dims[i], ⌈h/s⌉, ⌈w/s⌉] for s = 8, 16."""
        x = self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))
        return x, self.layer4(self.layer3(x))


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    channels_in: int,
    channels: int,
    depth: int,
    stride: int,
    split_norm: bool,
) -> nn.Sequential:
    first = block(channels_in, channels, stride, split_norm)
    rest = [block(channels * block.expansion, channels, 1, split_norm) for _ in range(depth - 1)]
    return nn.Sequential(first, *rest)
