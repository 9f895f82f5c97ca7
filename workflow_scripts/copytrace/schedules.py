"""Schedules of learning rates and of averages. Plain arithmetic: nothing here needs torch."""

from __future__ import annotations

import math


def lr_factor(epoch: float, epochs: int, warmup: int, flat: int) -> float:
    """D²LV's schedule: linear warm-up from 0.01, flat, half a cosine towards 0 (D²LV sheet, 4.3).

    `epoch` counts from 0 to `epochs`; the warm-up ends at epoch `warmup`, the flat part at epoch `flat`.
    Published: epochs 25, warmup 5, flat 10.
    """
    if epoch < warmup:
        return 0.01 + 0.99 * epoch / warmup
    if epoch < flat or flat >= epochs:
        return 1.0
    return _half_cosine((epoch - flat) / (epochs - flat))


def warmup_cosine(step: int, steps: int, warmup: int, start: float = 0.001, floor: float = 0.0) -> float:
    """Linear from `start` to 1 over `warmup` steps, then half a cosine to `floor` (D²LV sheet, 3.1, 3.2).

    `step` counts from 0; `floor` would be reached at `steps`. Barlow Twins: floor 0.001; Momentum² teacher:
    0.
    """
    if step < warmup:
        return start + (1 - start) * step / warmup
    return floor + (1 - floor) * _half_cosine(min((step - warmup) / max(steps - warmup, 1), 1.0))


def cosine_between(start: float, end: float, step: int, steps: int) -> float:
    """From `start` at step 0 to `end` at `steps` along half a cosine.

    Momentum² teacher: momentum of the weights 0.99 → 1, share of the batch in its batch norm 1 → 0 (D²LV sheet, 3.2).
    """
    return end + (start - end) * _half_cosine(step / steps)


def _half_cosine(t: float) -> float:
    """From 1 at t = 0 to 0 at t = 1."""
    return 0.5 * (1 + math.cos(math.pi * t))
