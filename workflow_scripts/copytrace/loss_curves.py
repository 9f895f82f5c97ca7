"""Loss over steps, of trainings and pretrainings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from copytrace import figures

SMOOTHED = 5  # steps that a drawn value is the mean of


def draw(curves: Mapping[str, pd.DataFrame], loss: str, label: str, path: str | Path) -> None:
    """One panel per family, one line per backbone.

    Args:
        curves: tables by name, FAMILY.BACKBONE or, outside a family, BACKBONE; columns `step`, `loss`, and
            perhaps `ln_classes`, the cross-entropy of a guess, drawn as a dashed line.
        loss: the column to draw.
        label: what it is called on the axis.
        path: PNG to write.
    """
    families = sorted({_family(name) for name in curves})
    backbones = sorted({_backbone(name) for name in curves})
    columns = min(4, len(families))
    rows = -(-len(families) // columns)
    figure = Figure(figsize=(6 + 0.75 * columns, 2.2 + 1.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for family, panel in zip(families, panels):
        members = {name: curve for name, curve in sorted(curves.items()) if _family(name) == family}
        for name, curve in members.items():
            smooth = curve[loss].rolling(SMOOTHED, min_periods=1, center=True).mean()
            colour = f"C{backbones.index(_backbone(name))}"
            panel.plot(curve["step"], smooth, linewidth=1.4, color=colour, label=_backbone(name))
        for guess in {curve["ln_classes"].iloc[0] for curve in members.values() if "ln_classes" in curve}:
            panel.axhline(guess, color="0.35", linestyle="--", linewidth=1.2, label="ln(classes), a guess")
        panel.set_title(family, fontsize=10)
        panel.tick_params(labelsize=8)
        panel.grid(color="0.92")
    for panel in panels[len(families) :]:
        panel.axis("off")
    figure.supxlabel("step", fontsize=10)
    figure.supylabel(label, fontsize=10)
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=len(lines), fontsize=10)
    figures.save(figure, path)


def _family(name: str) -> str:
    return name.rpartition(".")[0]


def _backbone(name: str) -> str:
    return name.rpartition(".")[2]
