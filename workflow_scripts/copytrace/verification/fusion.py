"""One probability for a pair from all that was measured of it, and the decision (section 5 of the fact sheet).

Gradient-boosted trees, fitted by scikit-learn on pairs whose truth is known (`calibration`). They are kept as plain
numbers in a JSON file, and used without scikit-learn.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from copytrace import metrics, runtime
from copytrace.errors import InputError
from copytrace.verification.frames import bounding_box

#: What transfers from one collection to another (section 5); the share of inliers among the matches does not. 1: the
#: more of it, the more probable a copy; -1: the less.
FEATURES = {
    "global_score": 1,
    "global_margin": 1,
    "hash_distance": -1,
    "log_inliers": 1,
    "log_weighted_inliers": 1,
    "local_ncc": 1,
    "agreeing_share": 1,
    "thumbnail_ncc": 1,
    "inlier_margin": 1,
}

#: A query has one source, as a rule: a candidate beside a better one loses so much, in logits,
SECOND_SOURCE = 2.0
#: unless its region of the query is another one: this share at most of the smaller region lies in the larger.
DISJOINT = 0.1

# Negatives that look like this are taken for copies that nobody labelled, and fitted to neither side.
UNLABELLED_INLIERS, UNLABELLED_NCC = 50, 0.8


@dataclass(frozen=True)
class Fusion:
    """Fitted trees. Node n of tree t is a leaf of `value` where `left[t][n]` is n; else it asks for `feature`.

    Attributes:
        features: names of the columns.
        baseline: logit before the first tree.
        feature, left, right: [trees, nodes], whole numbers; shorter trees are filled up with leaves of value 0.
        threshold: [trees, nodes]: values up to it go left.
        missing_left: [trees, nodes]: 1 where a missing value goes left.
        value: [trees, nodes], logits.
        decision: probability from which on a pair is called a copy.
    """

    features: list[str]
    baseline: float
    feature: list[list[int]]
    threshold: list[list[float]]
    missing_left: list[list[int]]
    left: list[list[int]]
    right: list[list[int]]
    value: list[list[float]]
    decision: float = 0.5


def feature_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """The features of pairs, float64, in the order of `FEATURES`.

    `pairs` has all candidates of each of its queries: `query_id`, `global_score` (score-normalised; may be missing) and
    the columns of `verify.verify`. Margins are against the best other candidate of the query that does not lie in
    another region of it, or 0 where there is none: about what an unrelated picture scores.
    """
    regions = _regions(pairs)
    inliers = pairs.inliers.astype(np.float64).map(np.log1p)
    table = {
        "global_score": pairs.global_score,
        "global_margin": pairs.global_score - _best_other(pairs.query_id, regions, pairs.global_score),
        "hash_distance": pairs.hash_distance,
        "log_inliers": inliers,
        "log_weighted_inliers": np.log1p(pairs.weighted_inliers),
        "local_ncc": pairs.local_ncc,
        "agreeing_share": pairs.agreeing_share,
        "thumbnail_ncc": pairs.thumbnail_ncc,
        "inlier_margin": inliers - _best_other(pairs.query_id, regions, inliers),
    }
    return pd.DataFrame(table, columns=list(FEATURES)).astype(np.float64)


def _best_other(queries: pd.Series, regions: np.ndarray, values: pd.Series) -> np.ndarray:
    """The largest value [n] of the other candidates of each row's query, those that are `_disjoint` from it left out.

    0 where there is none. Each row is compared with the next one of its query, then each with the one after that, and
    so on: all rows at once, and without a table of all with all.
    """
    query = pd.factorize(queries)[0]
    order = np.argsort(query, kind="stable")
    query, regions, ordered = query[order], regions[order], values.to_numpy(np.float64)[order]
    best = np.full(len(query), np.nan)
    for step in range(1, int(np.bincount(query).max(initial=0))):
        compared = (query[step:] == query[:-step]) & ~_disjoint(regions[step:], regions[:-step])
        best[step:] = np.fmax(best[step:], np.where(compared, ordered[:-step], np.nan))
        best[:-step] = np.fmax(best[:-step], np.where(compared, ordered[step:], np.nan))
    found = np.empty(len(query))
    found[order] = np.nan_to_num(best)
    return found


def suspected_copies(pairs: pd.DataFrame) -> pd.Series:
    """Whether pairs look so much like copies that, called negatives, they are rather unlabelled duplicates: bool."""
    return (pairs.inliers > UNLABELLED_INLIERS) & (pairs.local_ncc > UNLABELLED_NCC)


def predict(fusion: Fusion, table: pd.DataFrame) -> np.ndarray:
    """The probability that each pair is a copy, before the rule of one source: float64 [n]."""
    values = table[fusion.features].to_numpy(np.float64)
    logits = np.full(len(values), fusion.baseline)
    rows = np.arange(len(values))
    columns = fusion.feature, fusion.threshold, fusion.missing_left, fusion.left, fusion.right, fusion.value
    for tree in zip(*columns):
        feature, threshold, missing_left, left, right, value = map(np.array, tree)
        node = np.zeros(len(values), np.int64)
        while (left[node] != node).any():
            asked = values[rows, feature[node]]
            goes_left = np.where(np.isnan(asked), missing_left[node] == 1, asked <= threshold[node])
            node = np.where(goes_left, left[node], right[node])
        logits += value[node]
    return expit(logits)


def one_source(pairs: pd.DataFrame, probabilities: np.ndarray) -> np.ndarray:
    """Probabilities [n] after the rule that a query has one source, of pairs as for `feature_table`.

    From the best candidate of a query on, each one is a source of its own if its region of the query is disjoint from
    those of all sources before it, as in a collage; else it loses `SECOND_SOURCE`. A candidate without a region stands
    for the whole query. Of equally probable ones, which trees make many of, that with more inliers is the better.
    """
    regions, inliers = _regions(pairs), pairs.inliers.to_numpy()
    lost = np.zeros(len(pairs))
    for rows in pairs.groupby("query_id", sort=False).indices.values():
        sources: list[int] = []
        for row in np.array(rows)[np.lexsort((-inliers[rows], -probabilities[rows]))].tolist():
            if _disjoint(regions[row], regions[sources]).all():
                sources.append(row)
            else:
                lost[row] = SECOND_SOURCE
    return expit(logit(probabilities) - lost)


def _regions(pairs: pd.DataFrame) -> np.ndarray:
    """The box around each pair's agreeing keypoints in the query: float64 [n, 4]; not-a-number where there are none.

    The reference's frame would reach over the neighbours of one that was cut to its cell of a collage. A keypoint is a
    pixel wide here, so that keypoints on one line have an area, too.
    """
    boxes = [bounding_box(np.reshape(points, (-1, 2))) for points in pairs.query_points]
    return np.reshape(boxes, (-1, 4)) + np.array([-0.5, -0.5, 0.5, 0.5])


def _disjoint(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether regions [..., 4] are different ones, as two pictures in a collage, by `DISJOINT`: bool [...].

    One that is not-a-number is disjoint from none.
    """
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    areas = (np.prod(box[..., 2:] - box[..., :2], axis=-1) for box in (one, other))
    shared = np.prod(np.maximum(sides, 0), axis=-1) / np.minimum(*areas)
    return shared <= DISJOINT


def decide_at_precision(fusion: Fusion, probabilities: np.ndarray, copies: np.ndarray, precision: float) -> Fusion:
    """The fusion with the decision that reaches `precision` with most recall on pairs whose truth is known.

    They should contain mined look-alikes: a decision that is set on plain negatives does not hold for others.
    Raises InputError where the precision is never reached.
    """
    _, decision = metrics.recall_at_precision(probabilities, copies, int(np.sum(copies)), precision)
    if decision is None:
        raise InputError(
            f"no decision reaches a precision of {precision} on the {len(copies)} pairs it is set on: lower "
            "verification.fitting.precision"
        )
    return replace(fusion, decision=decision)


def write_fusion(path: str | Path, fusion: Fusion) -> None:
    """Store the trees as JSON; every number is read back as it was."""
    with runtime.atomic_output(path) as temporary:
        temporary.write_text(json.dumps(asdict(fusion)) + "\n")


def read_fusion(path: str | Path) -> Fusion:
    """Load what `write_fusion` stored. InputError for anything else: a tree that is cut off, or that never ends."""
    try:
        fusion = Fusion(**json.loads(Path(path).read_text()))
        _check(fusion)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path} holds no fusion model ({error})") from None
    return fusion


def _check(fusion: Fusion) -> None:
    feature, left, right = (np.array(table, np.int64) for table in (fusion.feature, fusion.left, fusion.right))
    numbers = [np.array(table, np.float64) for table in (fusion.threshold, fusion.missing_left, fusion.value)]
    trees, nodes = feature.shape
    if any(table.shape != (trees, nodes) for table in (left, right, *numbers)):
        raise ValueError("its tables differ in size")
    if not ((feature >= 0) & (feature < len(fusion.features))).all():
        raise ValueError("it asks for features that it does not name")
    own = np.arange(nodes)
    inner = left != own
    if not (((left > own) & (right > own)) | ~inner).all() or (np.maximum(left, right) >= nodes).any():
        raise ValueError("its branches do not lead on to other nodes")
