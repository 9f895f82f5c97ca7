"""Fitting the fusion to pairs of known truth, its decision, and whether its probabilities hold (section 5).

Three roles of queries: copies and plain negatives are fitted to; mined look-alikes, pictures whose local features find
some reference much alike, take part in the decision alone. What is said of a pair here was never fitted to its query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.verification import fusion
from copytrace.verification.fusion import Fusion

ROLES = ("copy", "negative", "look-alike")

ROUNDS, LEAVES, LEARNING_RATE, LEAST_PER_LEAF = 120, 8, 0.08, 20

#: Queries are cut into so many folds; each is judged by trees that are fitted to the others.
FOLDS = 5

#: Another network's scores may be so many times as large or as small, for all that is known.
SCALE = 2.0


@dataclass(frozen=True)
class Fitted:
    """A fitted fusion, and what it is known to be worth.

    Attributes:
        fusion: fitted to all queries, with its decision.
        held_out: the pairs as they are, with `role`, `copy`, and `probability` by trees that never saw the query.
    """

    fusion: Fusion
    held_out: pd.DataFrame


def label(pairs: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """The pairs with `role` of their query and `copy`, whether they are true; unlabelled copies are left out.

    Args:
        pairs: as for `fusion.feature_table`.
        truth: `query_id, reference_id, role`: every query, one of `ROLES`; `reference_id` of copies alone.

    Raises:
        InputError: a query without truth, or with a role that there is not.
    """
    unknown = sorted(set(truth.role.unique()) - set(ROLES))
    if unknown:
        raise InputError(f"the truth has the role {unknown[0]!r}: it must be one of {', '.join(ROLES)}")
    known = truth.set_index("query_id")
    missing = pairs.query_id[~pairs.query_id.isin(known.index)]
    if len(missing):
        raise InputError(f"the truth says nothing of the query {missing.iloc[0]}")
    copy = pairs.reference_id == pairs.query_id.map(known.reference_id)
    labelled = pairs.assign(role=pairs.query_id.map(known.role), copy=copy)
    return labelled[copy | ~fusion.suspected_copies(pairs)].reset_index(drop=True)


def for_any_network(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs three times: as they are, with the global scores of each query scaled at random, and without them.

    So trees are fitted that rest less on the scale of one network's scores. Queries are told apart by a suffix.
    """
    names = pairs.query_id.unique()
    scales = pd.Series([SCALE ** runtime.generator("scale", name).uniform(-1, 1) for name in names], index=names)
    scaled = pairs.assign(
        query_id=pairs.query_id + " scaled", global_score=pairs.global_score * pairs.query_id.map(scales)
    )
    without = pairs.assign(query_id=pairs.query_id + " without", global_score=np.nan)
    return pd.concat([pairs, scaled, without], ignore_index=True)


def fit(labelled: pd.DataFrame, precision: float, any_network: bool = False) -> Fitted:
    """Fit to copies and plain negatives, and decide at a precision that holds among look-alikes, too.

    Args:
        labelled: what `label` gives.
        precision: to aim at, 0 to 1; on other collections expect less (section 5: .95 gave .90).
        any_network: fit for global scores of other networks, too, and for none.

    Raises:
        InputError: there are no copies or no negatives, or the precision is never reached.
    """
    pairs = labelled.assign(fold=pd.factorize(labelled.query_id)[0] % FOLDS)
    if any_network:
        pairs = for_any_network(pairs)
    table = fusion.feature_table(pairs)
    fitting = (pairs.role != "look-alike").to_numpy()
    copies, fold = pairs["copy"].to_numpy(bool), pairs.fold.to_numpy()
    probability = np.empty(len(pairs))
    for number in range(FOLDS):
        seen, held_out = fitting & (fold != number), fold == number
        trees = fit_trees(table[seen], copies[seen])
        probability[held_out] = fusion.predict(trees, table[held_out])
    probability = fusion.one_source(pairs, probability)
    trees = fit_trees(table[fitting], copies[fitting])
    decided = fusion.decide_at_precision(trees, probability, copies, precision)
    return Fitted(decided, labelled.assign(probability=probability[: len(labelled)]))


def fit_trees(table: pd.DataFrame, copies: np.ndarray) -> Fusion:
    """Fit the trees to features [n] and which of them are copies, bool [n]; the decision is left at one half.

    More evidence of one kind, all else equal, never lowers the probability (`fusion.FEATURES`): a person can follow
    that, and few pairs of a kind can't teach the contrary.
    A feature that no pair has, as the global score of pictures that no network described, is not among theirs.

    Raises InputError unless there are pairs of both kinds.
    """
    copies, table = np.asarray(copies, bool), table.loc[:, table.notna().any()]
    if copies.all() or not copies.any():
        raise InputError(
            f"trees learn from copies and from other pairs, but of the candidates to learn from {copies.sum()} are "
            f"copies and {(~copies).sum()} others: there are too few trial queries, or their pictures have no keypoints"
        )
    boosting = HistGradientBoostingClassifier(
        max_iter=ROUNDS,
        max_leaf_nodes=LEAVES,
        learning_rate=LEARNING_RATE,
        min_samples_leaf=LEAST_PER_LEAF,
        early_stopping=False,
        monotonic_cst=[fusion.FEATURES[str(name)] for name in table],
        random_state=0,
    ).fit(table.to_numpy(np.float64), copies)
    trees = [predictor.nodes for (predictor,) in boosting._predictors]
    nodes = max(map(len, trees))

    def column(name: str, kind: type) -> list[list[Any]]:
        return [tree[name].astype(kind).tolist() + [kind(0)] * (nodes - len(tree)) for tree in trees]

    own = [[n if n >= len(tree) or tree["is_leaf"][n] else -1 for n in range(nodes)] for tree in trees]
    left, right = (
        [[n if n >= 0 else child for n, child in zip(mine, children)] for mine, children in zip(own, column(side, int))]
        for side in ("left", "right")
    )
    return Fusion(
        features=list(table.columns),
        baseline=float(boosting._baseline_prediction[0, 0]),
        feature=column("feature_idx", int),
        threshold=column("num_threshold", float),
        missing_left=column("missing_go_to_left", int),
        left=left,
        right=right,
        value=column("value", float),
    )
