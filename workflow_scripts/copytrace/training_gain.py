"""What training did: every trained model beside its own initialisation, on edited copies held out for this.

Whole copies against whole references, so that nothing but the network differs between the two.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from copytrace import descriptor_files, figures, matching, metrics
from copytrace.runtime import generator


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
    ordered = table.sort_values("trained", ascending=False).reset_index(drop=True)
    figure = Figure(figsize=(9, 1.4 + 0.21 * len(ordered)), layout="constrained")
    axes = figure.subplots()
    gain = ordered["trained"] - ordered["untrained"]
    colours = np.where(gain >= 0, "tab:green", "tab:red")
    axes.hlines(ordered.index, ordered["untrained"], ordered["trained"], color=colours, linewidth=2)
    axes.plot(ordered["untrained"], ordered.index, "o", color="0.6", label="untrained")
    axes.plot(ordered["trained"], ordered.index, "o", color="tab:blue", label="trained")
    for y, value in enumerate(gain):
        axes.text(1.01, y, f"{value:+.3f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set_yticks(ordered.index, ordered["model"], fontsize=9)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.set_xlabel("micro-AP, whole edited copies against whole references")
    axes.grid(axis="x", color="0.92")
    figure.legend(loc="outside upper center", ncols=2, fontsize=10)
    figures.save(figure, path)
