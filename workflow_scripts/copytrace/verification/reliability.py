"""Whether probabilities hold: what they predict beside the share that is true, as a table and as a diagram."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import binomtest

from copytrace import figures

BINS = 10  # of equal width in probability
COLOUR, LIGHT, GREY = "#1b4f72", "#aebfcc", "#5f6368"


def reliability_table(probabilities: np.ndarray, true: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """How often pairs of about the same probability are true: a row for each bin that has pairs.

    `probabilities` [n] in [0, 1]; `true` bool [n]. Columns: `low`, `high`, the bin; `pairs`; `predicted`, their mean
    probability; `observed`, the share that is true, with its interval `observed_low`, `observed_high`.
    """
    place = np.minimum((probabilities * bins).astype(np.int64), bins - 1)
    rows = []
    for number in np.unique(place):
        own = place == number
        count, hits = int(own.sum()), int(true[own].sum())
        interval = exact_interval(hits, count)
        rows.append((number / bins, (number + 1) / bins, count, probabilities[own].mean(), hits / count, *interval))
    columns = ["low", "high", "pairs", "predicted", "observed", "observed_low", "observed_high"]
    return pd.DataFrame(rows, columns=columns)


def exact_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of the share `hits` / `count` of independent pairs (Clopper and Pearson, 1934); `count` > 0."""
    interval = binomtest(hits, count).proportion_ci(0.95, method="exact")
    return float(interval.low), float(interval.high)


def draw_reliability(table: pd.DataFrame, path: Path) -> None:
    """The diagram of `reliability_table`, with the number of pairs at each point; PNG."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="probability = share of true pairs")
    bounds = table["predicted"], table["observed_low"], table["observed_high"]
    axes.vlines(*bounds, color=LIGHT, linewidth=6, label="95 % interval of the share")
    axes.plot(table["predicted"], table["observed"], "o-", color=COLOUR, label="pairs of such a probability")
    for pairs, predicted, observed in table[["pairs", "predicted", "observed"]].itertuples(index=False):
        # to the lower right, where no line goes that rises
        text = axes.annotate(f"{pairs:,}", (predicted, observed), (8, -14), textcoords="offset points", color=GREY)
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    axes.set(xlim=(-0.02, 1.06), ylim=(-0.09, 1.04), xlabel="probability", ylabel="share of true pairs")
    axes.set_title("Does the probability hold? Numbers are pairs", loc="left")
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    figures.save(figure, path)
