"""MobileNetV2 as the ONNX model zoo has it: unlike timm's and torchvision's, its first block expands too.

MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al., 2018). Names follow the published
file.
"""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)


class LinearBottleneck(nn.Module):
    """Expansion 1×1, depthwise 3×3, projection 1×1 without activation; a shortcut where shapes agree."""

    def __init__(self, channels_in: int, channels_out: int, expansion: int, stride: int):
        super().__init__()
        inside = channels_in * expansion
        self.conv0 = nn.Conv2d(channels_in, inside, 1, bias=False)
        self.batchnorm0 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False)
        self.batchnorm1 = nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, channels_out, 1, bias=False)
        self.batchnorm2 = nn.BatchNorm2d(channels_out)
        self.relu6 = nn.ReLU6(inplace=True)
        self.shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, channels_in, h, w] → [n, channels_out, h / stride, w / stride]."""
        y = self.relu6(self.batchnorm0(self.conv0(x)))
        y = self.relu6(self.batchnorm1(self.conv1(y)))
        y = self.batchnorm2(self.conv2(y))
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """MobileNetV2 1.0 without its classifier: [n, 3, h, w] → [n, 1280, ⌈h/32⌉, ⌈w/32⌉]."""

    feature_dim = 1280
    pyramid_dims = (32, 96)

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.batchnorm0 = nn.BatchNorm2d(32)
        self.linearbottleneck = nn.Sequential(
            *(
                LinearBottleneck(before, width, 1 if number == 0 else 6, stride)
                for number, (before, width, stride) in enumerate(zip((32, *WIDTHS), WIDTHS, STRIDES))
            )
        )
        self.conv1 = nn.Conv2d(WIDTHS[-1], self.feature_dim, 1, bias=False)
        self.batchnorm1 = nn.BatchNorm2d(self.feature_dim)
        self.relu6 = nn.ReLU6(inplace=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # By incoming connections: counted by outgoing ones, depthwise layers would starve the rest.
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The map before the classifier's pooling."""
        x = self.linearbottleneck(self.relu6(self.batchnorm0(self.conv0(x))))
        return self.relu6(self.batchnorm1(self.conv1(x)))

    def pyramid(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last maps of an eighth and of a sixteenth of the side: [n, pyramid_dims[i], ⌈h/s⌉, ⌈w/s⌉]."""
        x = self.linearbottleneck[:6](self.relu6(self.batchnorm0(self.conv0(x))))
        return x, self.linearbottleneck[6:13](x)
