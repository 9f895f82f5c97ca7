"""What all figures share: their size in pixels, how they are written, and which of many things they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from copytrace.runtime import atomic_output

DPI = 110  # nine inches are what the report shows at full size in a window of 1366 pixels


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as PNG without a date or version in it, so that equal figures are equal bytes."""
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None})


def spread(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` positions, evenly spread over `count`, the first and the last among them; int64, rising."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).round().astype(np.int64))
