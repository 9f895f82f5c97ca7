"""Generalised-mean pooling and WaveBlock, the two layers that D²LV adds to a residual network."""

from __future__ import annotations

import torch
from torch import nn

PUBLISHED_GEM_EXPONENT = 3.0


class GeM(nn.Module):
    """Generalised-mean pooling, (mean of x^p)^(1/p): [n, c, h, w] → float32 [n, c] (D²LV sheet, 4.1).

    One exponent for all channels, learned from `p` on. Values are clamped at
    `eps`, so the map should be the output of a ReLU. p = 1 is the mean, p → ∞ the maximum.
    """

    def __init__(self, p: float = PUBLISHED_GEM_EXPONENT, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.p = nn.Parameter(torch.tensor([float(p)]))

    def forward(self, x: torch.Tensor, p: float | None = None) -> torch.Tensor:
        """Pool `x`; a given `p` > 0 takes the place of the layer's own exponent."""
        exponent = self.p if p is None else p
        # In float32 whatever autocast says: the cube of a bfloat16 keeps two digits.
        return x.float().clamp(min=self.eps).pow(exponent).mean(dim=(2, 3)).pow(1 / exponent)


class WaveBlock(nn.Module):
    """Multiplies all rows of a map but one strip by `factor`, in training only (D²LV sheet, 4.1).

    The strip has round(`height_ratio`·h) rows and is the same for the whole batch and all channels. It begins
    at row ⌊`start`·(h − strip + 1)⌋, where `start` in [0, 1) is the step's random number: see
    `set_wave_start`.
    """

    def __init__(self, height_ratio: float = 0.3, factor: float = 1.5):
        super().__init__()
        self.height_ratio, self.factor = height_ratio, factor
        self.start = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, c, h, w] → the same shape."""
        if not self.training:
            return x
        height = x.shape[2]
        strip = round(self.height_ratio * height)
        first = int(self.start * (height - strip + 1))
        gain = x.new_full((height, 1), self.factor)
        gain[first : first + strip] = 1.0
        return x * gain


def set_wave_start(module: nn.Module, u: float) -> None:
    """Give every `WaveBlock` inside `module` its strip for the next step, from one number `u` in [0, 1).

    The caller draws `u` from the step's own seed, so that a resumed training sees the strips of an
    undisturbed one. The first block takes u; each further one takes the next twelve binary digits, which
    makes them independent.
    """
    if not 0 <= u < 1:
        raise ValueError(f"the start of a strip lies in [0, 1), not at {u}")
    for block in module.modules():
        if isinstance(block, WaveBlock):
            block.start = u
            u = u * 4096 % 1.0
