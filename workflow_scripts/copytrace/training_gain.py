"""What training did: every trained model beside its own initialisation, on edited copies held out for this.

Whole copies against whole references, so that nothing but the network differs between the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from copytrace import descriptor_files, matching, metrics
from copytrace.runtime import atomic_output, generator


def whole_picture_matches(
    model: str, files: dict[str, list[str]], scale: int, excluded: set[str], settings: dict[str, Any]
) -> pd.DataFrame:
    """The best pairs of a model, whole copies × whole references: `query_id, reference_id, score`.

    `files`: its unit's descriptor files by role, `validation`, `references` and `training`. `excluded`: ids of
    training pictures that are no background (D²LV sheet, E20).
    """
    rows = {role: descriptor_files.read_rows(files[role]) for role in ("validation", "references", "training")}
    vectors = {
        role: np.concatenate([descriptor_files.read_vectors(p, model, scale) for p in files[role]]) for role in rows
    }
    background = vectors["training"][~rows["training"].image_id.isin(excluded).to_numpy()]
    queries = vectors["validation"]
    bias = matching.query_bias(queries, [background], settings["neighbours"], settings["weight"])
    count = settings["pairs_per_query"] * len(queries)
    pairs = matching.best_pairs(queries, bias, lambda: [vectors["references"]], count)
    return pd.DataFrame(
        {
            "query_id": rows["validation"].image_id.to_numpy()[pairs.query],
            "reference_id": rows["references"].image_id.to_numpy()[pairs.reference],
            "score": pairs.score,
        }
    )


def average_precisions(
    predictions: pd.DataFrame, truth: pd.DataFrame, queries: list[str], samples: int, seed: int
) -> tuple[float, np.ndarray]:
    """Micro-AP, and its values on bootstrap draws of the queries: the same draws for every model."""
    hits = metrics.mark_hits(predictions, truth)
    value = metrics.micro_average_precision(predictions.score, hits, len(truth))
    drawn = metrics.bootstrap_values(
        predictions,
        truth,
        queries,
        metrics.weighted_average_precision,
        samples,
        generator(seed, "training gain"),
    )
    return value, drawn


def draw_gains(table: pd.DataFrame, path: Path) -> None:
    """Micro-AP before and after training, a line per model: `model, untrained, trained`."""
    ordered = table.sort_values("trained").reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.24 * len(ordered)), layout="constrained")
    better = ordered.trained >= ordered.untrained
    axes.hlines(
        ordered.index,
        ordered.untrained,
        ordered.trained,
        color=np.where(better, "tab:green", "tab:red"),
        lw=2,
    )
    axes.plot(ordered.untrained, ordered.index, "o", color="0.6", label="untrained")
    axes.plot(ordered.trained, ordered.index, "o", color="tab:blue", label="trained")
    axes.set_yticks(ordered.index, ordered.model, fontsize=8)
    axes.set_xlabel("micro-AP, whole edited copies against whole references")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower right")
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def draw_curves(curves: dict[str, pd.DataFrame], path: Path) -> None:
    """The cross-entropy of every model over its steps, a panel per family, beside ln(classes)."""
    families = sorted({model.split(".", 1)[0] for model in curves})
    columns = min(4, len(families))
    rows = -(-len(families) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(3 * columns, 0.6 + 2.2 * rows),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    names = sorted({model.split(".", 1)[1] for model in curves})
    for panel, family in zip(axes.flat, families):
        for number, backbone in enumerate(names):
            curve = curves.get(f"{family}.{backbone}")
            if curve is None:
                continue
            smooth = curve.cross_entropy.rolling(5, min_periods=1, center=True).mean()
            panel.plot(curve.step, smooth, lw=1.2, color=f"C{number}", label=backbone)
            chance = float(curve.ln_classes.iloc[0])
            panel.axhline(chance, color="0.4", ls="--", lw=1, label="ln(classes)" if number == 0 else None)
        panel.set_title(family, fontsize=9)
        panel.tick_params(labelsize=8)
    for panel in axes.flat[len(families) :]:
        panel.axis("off")
    figure.supxlabel("training step", fontsize=9)
    figure.supylabel("cross-entropy", fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8)
    with atomic_output(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
