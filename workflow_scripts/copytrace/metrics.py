"""How good a ranked list of matches is: the official measures of DISC21, and intervals for them.

All predictions of all queries share one ranking. Equal scores are ordered against the submitter: the wrong
pair first (sections 1.6 and 1.7 of the benchmark sheet).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma

from copytrace.ground_truth import PAIR

#: At this precision recall is read off, here as in the contest.
PRECISION = 0.9

# A measure of many weightings of one ranking at once, like `weighted_average_precision`.
WeightedMetric = Callable[[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]

# How many weights the bootstrap holds at once: 64 MB in each of a few arrays.
BLOCK = 8_000_000


def mark_hits(predictions: pd.DataFrame, truth: pd.DataFrame) -> NDArray[np.bool_]:
    """Which predictions are pairs of `truth` (both with `query_id, reference_id`); bool [n].

    Raises:
        ValueError: a pair is predicted twice, which the official tool refuses too.
    """
    if predictions.duplicated(PAIR).any():
        raise ValueError("a pair is predicted twice")
    true = truth[PAIR].drop_duplicates().assign(hit=True)
    plain = predictions[PAIR].astype(str)
    return plain.merge(true, how="left", on=PAIR)["hit"].notna().to_numpy()


def worst_case_order(scores: ArrayLike, hits: ArrayLike) -> NDArray[np.intp]:
    """Indices that sort by score, descending; at equal scores the wrong pairs come first."""
    return np.lexsort((np.asarray(hits, bool), -np.asarray(scores, np.float64)))


def micro_average_precision(scores: ArrayLike, hits: ArrayLike, positives: int) -> float:
    """Micro-average precision µAP in [0, 1] (benchmark sheet 1.6).

    Σ_i (c_i − c_{i−1})·p_i over the ranks i of all predictions pooled, with worst-case ties, without
    interpolation. True pairs that are not predicted add nothing, yet count in the denominator.

    Args:
        scores: [n], larger = more confident.
        hits: bool [n], whether the prediction is a true pair.
        positives: number of true pairs, > 0.
    """
    hits = np.asarray(hits, bool)
    _check_positives(hits, positives)
    places = np.flatnonzero(hits[worst_case_order(scores, hits)]) + 1
    return float(np.sum(np.arange(1, len(places) + 1) / places) / positives)


def weighted_average_precision(
    hits: NDArray[np.bool_], weights: NDArray[np.int64], positives: NDArray[np.int64]
) -> NDArray[np.float64]:
    """µAP of a ranking whose predictions stand in it several times, for several such weightings; float64 [b].

    A hit of weight w behind N predictions, F of them false, adds Σ_{j=1..w} (1 − F/(N+j)), the sum of the
    precisions at its copies: with the harmonic numbers H, w − F·(H(N+w) − H(N)). No row is copied.

    Args:
        hits: bool [n] in worst-case order.
        weights: int [b, n], how often each prediction stands in the ranking.
        positives: int [b], true pairs, predicted or not; where there is none the value is NaN.
    """
    places = np.flatnonzero(hits)
    own = weights[:, places]
    if not len(places):
        return np.where(positives > 0, 0.0, np.nan)
    # what stands in the ranking up to each hit: summed from hit to hit, because few predictions are hits
    after = np.cumsum(np.add.reduceat(weights[:, : places[-1] + 1], np.r_[0, places[:-1] + 1], axis=1), axis=1)
    before = after - own
    false_before = before - (np.cumsum(own, axis=1) - own)
    found = np.sum(own - false_before * (digamma(after + 1) - digamma(before + 1)), axis=1)
    return np.divide(found, positives, out=np.full(len(found), np.nan), where=positives > 0)


def recall_at_precision(
    scores: ArrayLike, hits: ArrayLike, positives: int, precision: float = 0.9
) -> tuple[float, float | None]:
    """The largest recall at a precision of at least `precision`, and the first score that reaches it.

    (0.0, None) where that precision is never reached (benchmark sheet 1.7).
    """
    hits, scores = np.asarray(hits, bool), np.asarray(scores, np.float64)
    _check_positives(hits, positives)
    order = worst_case_order(scores, hits)
    found = np.cumsum(hits[order])
    reached = np.flatnonzero(found >= precision * np.arange(1, len(found) + 1) - 1e-9)
    if not len(reached):
        return 0.0, None
    most = found[reached[-1]]
    return float(most / positives), float(scores[order][np.searchsorted(found, most)])


def recall_at_rank(
    predictions: pd.DataFrame, truth: pd.DataFrame, rank: int, hits: NDArray[np.bool_] | None = None
) -> float:
    """Share of the true pairs that stand among the first `rank` predictions of their query.

    A pair's place is the number of predictions of its query that score as much or more, itself included: ties
    count against the submitter; pairs that are not predicted are misses (benchmark sheet 1.7).

    Args:
        predictions: `query_id, reference_id, score`, each pair once.
        truth: `query_id, reference_id`, the true pairs.
        rank: 1, 10, …
        hits: what `mark_hits` says, if it was asked before.
    """
    if not len(truth):
        raise ValueError("recall needs at least one true pair")
    hits = mark_hits(predictions, truth) if hits is None else hits
    place = predictions.groupby("query_id", observed=True)["score"].rank(method="max", ascending=False)
    return float((hits & (place.to_numpy() <= rank)).sum() / len(truth))


def precision_recall_curve(
    scores: ArrayLike, hits: ArrayLike, positives: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(precision, recall, threshold), one entry per distinct score, the highest first.

    Each says what accepting every prediction of at least that score gives, so ties need no convention.
    """
    hits, scores = np.asarray(hits, bool), np.asarray(scores, np.float64)
    _check_positives(hits, positives)
    order = worst_case_order(scores, hits)
    ranked = scores[order]
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True][: len(ranked)])
    found = np.cumsum(hits[order])[last]
    return found / (last + 1), found / positives, ranked[last]


def bootstrap_values(
    predictions: pd.DataFrame,
    truth: pd.DataFrame,
    queries: Sequence[str],
    metric: WeightedMetric,
    samples: int,
    rng: np.random.Generator,
    hits: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The metric on `samples` sets of queries drawn with replacement; float64 [samples].

    A query drawn w times brings each of its predictions and of its true pairs w times. No table is copied:
    the ranking is sorted once and the draws enter as weights. The same state of `rng` draws the same sets, so
    values of two systems can be subtracted one by one.

    Args:
        predictions: `query_id, reference_id, score`.
        truth: `query_id, reference_id`, the true pairs.
        queries: ids of all queries, with and without source.
        metric: for example `weighted_average_precision`.
        samples: number of draws.
        rng: source of the draws.
        hits: what `mark_hits` says, if it was asked before.

    Raises:
        ValueError: a prediction or a true pair belongs to none of `queries`.
    """
    index = pd.Index(queries)
    names = predictions["query_id"].astype("category")
    query_of_pair = index.get_indexer(pd.Index(truth["query_id"].astype(str)))
    query = index.get_indexer(names.cat.categories)[names.cat.codes]
    if (query < 0).any() or (query_of_pair < 0).any():
        raise ValueError("a prediction or a true pair belongs to a query that is not listed")
    positives = np.bincount(query_of_pair, minlength=len(index))
    hits = mark_hits(predictions, truth) if hits is None else hits
    order = worst_case_order(predictions["score"], hits)
    hits, query = hits[order], query[order]
    values = np.empty(samples)
    block = max(BLOCK // max(len(hits), len(index)), 1)
    for start in range(0, samples, block):
        count = min(block, samples - start)
        drawn = rng.integers(0, len(index), (count, len(index))) + len(index) * np.arange(count)[:, None]
        times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        values[start : start + count] = metric(hits, np.take(times, query, axis=1), times @ positives)
    return values


def interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap values; samples without any positive (NaN) are left out."""
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _check_positives(hits: NDArray[np.bool_], positives: int) -> None:
    if positives <= 0 or hits.sum() > positives:
        raise ValueError(f"{hits.sum()} predictions are right, yet there are {positives} true pairs")
