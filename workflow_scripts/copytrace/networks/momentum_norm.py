"""Batch norm with a memory, for the teacher of Momentum² Teacher (Li et al., 2021; D²LV sheet, 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

Network = TypeVar("Network", bound=nn.Module)


class MomentumBatchNorm(nn.Module):
    """A batch norm whose statistics are b·batch + (1 − b)·running, in the output and in the running values alike.

    `share` is b, in [0, 1]. In training every forward pass normalises with that mixture and leaves the running
    statistics alone; `remember` then moves them by all passes since, so that the views of a step see the same ones.
    In evaluation it is the batch norm it was made from (P4 of the sheet: the published one updates there too).

    The variance of a batch is the population variance, as in torch's own batch norm in training. `double_bessel`:
    multiply it by n/(n − 1) twice, n values per channel, as the published code does (P2).

    It wraps the given norm and does not replace it, so that whatever a network of timm joins to a batch norm, an
    activation say, stays with it.
    """

    def __init__(self, norm: _BatchNorm, double_bessel: bool = False):
        super().__init__()
        self.norm: Any = norm  # its running statistics are there, which its type leaves open
        self.double_bessel = double_bessel
        self.share = 1.0
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, c, …] → the same shape; no gradient flows through the statistics."""
        self.norm.eval()  # it uses the statistics that it is given
        if not self.training:
            return self.norm(x)
        mean, variance = self._statistics(x)
        self._seen.append((mean, variance))
        mixed = {
            "running_mean": self.norm.running_mean.lerp(mean, self.share),
            "running_var": self.norm.running_var.lerp(variance, self.share),
        }
        return functional_call(self.norm, mixed, (x,))

    @torch.no_grad()
    def remember(self) -> None:
        """Running ← b·(mean of the statistics of the batches since the last call) + (1 − b)·running."""
        means, variances = zip(*self._seen)
        self._seen = []
        self.norm.running_mean.lerp_(torch.stack(means).mean(0), self.share)
        self.norm.running_var.lerp_(torch.stack(variances).mean(0), self.share)

    @torch.no_grad()
    def _statistics(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance per channel, in the precision of the running ones whatever autocast makes of `x`."""
        values = x.to(self.norm.running_mean.dtype)
        variance, mean = torch.var_mean(values, dim=[d for d in range(x.ndim) if d != 1], correction=0)
        n = x.numel() // x.shape[1]
        return mean, variance * (n / (n - 1)) ** 2 if self.double_bessel else variance


def with_momentum_norms(module: Network, double_bessel: bool = False) -> Network:
    """Wrap every batch norm with running statistics inside `module`, in place; returns `module`.

    Instance norms, such as the half of IBN-a, have no statistics of batches and stay.
    """
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and child.track_running_stats:
                setattr(parent, name, MomentumBatchNorm(child, double_bessel))
    return module


def without_momentum_norms(module: Network) -> Network:
    """Undo `with_momentum_norms`: plain batch norms under their old names, with what they have learned."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, MomentumBatchNorm):
                setattr(parent, name, child.norm)
    return module


def momentum_norms(module: nn.Module) -> Iterator[MomentumBatchNorm]:
    """All wrapped norms inside `module`."""
    return (norm for norm in module.modules() if isinstance(norm, MomentumBatchNorm))
