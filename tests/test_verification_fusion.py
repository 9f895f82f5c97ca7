"""The fusion: trees as scikit-learn has them, calibration on simulated pairs, its file, margins, one source a query."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from copytrace.errors import InputError
from copytrace.verification import calibration, fusion
from copytrace.verification.fusion import FEATURES, SECOND_SOURCE


def simulated(seed, count, missing=0.0):
    """Features whose truth is drawn from a known probability: (table, copies)."""
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(count, len(FEATURES)))
    probability = expit(2 * values[:, 0] + values[:, 3] - 1)
    copies = draw.random(count) < probability
    values[draw.random(values.shape) < missing] = np.nan
    return pd.DataFrame(values, columns=list(FEATURES)), copies


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("count", [45, 3000])
def test_probabilities_are_those_of_scikit_learn(missing, count):
    from sklearn.ensemble import HistGradientBoostingClassifier

    table, copies = simulated(0, count, missing)
    boosting = HistGradientBoostingClassifier(
        max_iter=120,
        max_leaf_nodes=8,
        learning_rate=0.08,
        min_samples_leaf=20,
        early_stopping=False,
        monotonic_cst=[-1 if name == "hash_distance" else 1 for name in table.columns],
    ).fit(table.to_numpy(), copies)
    fitted = calibration.fit_trees(table, copies)
    for other in (table, simulated(1, 500, 0.3)[0]):
        theirs = boosting.predict_proba(other.to_numpy())[:, 1]
        assert np.abs(fusion.predict(fitted, other) - theirs).max() < 1e-12
    assert np.ptp(theirs) > 0.1


def test_probabilities_are_calibrated_on_pairs_that_were_not_seen():
    """Pairs of a predicted probability are copies that often, to three standard errors."""
    table, copies = simulated(2, 20_000)
    fitted = calibration.fit_trees(table, copies)
    table, copies = simulated(3, 20_000)
    predicted = fusion.predict(fitted, table)
    for low in np.arange(0, 1, 0.1):
        chosen = (predicted >= low) & (predicted < low + 0.1)
        error = 3 * np.sqrt(predicted[chosen].mean() * (1 - predicted[chosen].mean()) / chosen.sum())
        assert abs(copies[chosen].mean() - predicted[chosen].mean()) < error + 0.02


def test_stored_trees_are_read_as_they_were(tmp_path):
    table, copies = simulated(4, 400, 0.1)
    fitted = calibration.fit_trees(table, copies)
    fusion.write_fusion(tmp_path / "fusion.json", fitted)
    assert fusion.read_fusion(tmp_path / "fusion.json") == fitted
    columns = table[list(FEATURES)[::-1]]  # by name, not by place
    assert (fusion.predict(fitted, columns) == fusion.predict(fitted, table)).all()


def broken_models():
    table, copies = simulated(5, 200)
    text = json.loads(json.dumps(vars(calibration.fit_trees(table, copies))))
    endless = json.loads(json.dumps(text))
    endless["left"][0][1], endless["right"][0][1] = 0, 0
    outside = json.loads(json.dumps(text))
    outside["right"][0][0] = 99
    unnamed = text | {"features": text["features"][:1]}
    shorter = text | {"value": text["value"][:-1]}
    return {
        "cut off": json.dumps(text)[:-100],
        "something else": "[1, 2]",
        "not the same keys": json.dumps(text | {"code": 1}),
        "endless": json.dumps(endless),
        "outside": json.dumps(outside),
        "unnamed": json.dumps(unnamed),
        "tables of different size": json.dumps(shorter),
    }


def test_files_that_hold_no_trees_are_refused(tmp_path):
    for name, text in broken_models().items():
        path = tmp_path / f"{name}.json"
        path.write_text(text)
        with pytest.raises(InputError, match="holds no fusion model"):
            fusion.read_fusion(path)


def test_the_fusion_needs_both_kinds():
    table, _ = simulated(6, 100)
    with pytest.raises(InputError, match="0 are copies and 100 others"):
        calibration.fit_trees(table, np.zeros(100, bool))


def pairs(rows):
    """Pairs by (query, global score, inliers, box of the pixels of the keypoints that agree), the rest at rest."""
    table = pd.DataFrame(rows, columns=["query_id", "global_score", "inliers", "box"])
    table["query_points"] = [
        [] if np.isnan(box).any() else np.add(box, [0.5, 0.5, -0.5, -0.5]) for box in table.pop("box")
    ]
    table = table.assign(weighted_inliers=table.inliers / 2, hash_distance=100, local_ncc=0.1)
    return table.assign(agreeing_share=0.2, thumbnail_ncc=0.3)


NOWHERE = (np.nan,) * 4


def test_features_and_margins():
    found = fusion.feature_table(
        pairs([("b", 0.5, 9, NOWHERE), ("a", 0.2, 4, NOWHERE), ("b", 0.7, 0, NOWHERE), ("b", 0.1, 9, NOWHERE)])
    )
    assert list(found.columns) == list(FEATURES) and len(found) == 4
    assert found.global_margin.tolist() == pytest.approx([-0.2, 0.2, 0.2, -0.6])
    assert found.inlier_margin.tolist() == pytest.approx([0, np.log(5), -np.log(10), 0])
    assert found.log_inliers.tolist() == pytest.approx(np.log([10, 5, 1, 10]))
    assert found.log_weighted_inliers.tolist() == pytest.approx(np.log([5.5, 3, 1, 5.5]))
    assert found[["hash_distance", "local_ncc", "agreeing_share", "thumbnail_ncc"]].to_numpy()[0].tolist() == [
        100, 0.1, 0.2, 0.3
    ]  # fmt: skip


def test_missing_global_scores_stay_missing():
    found = fusion.feature_table(pairs([("a", np.nan, 9, NOWHERE), ("a", 0.25, 9, NOWHERE), ("a", 0.5, 9, NOWHERE)]))
    assert found.global_score.isna().tolist() == found.global_margin.isna().tolist() == [True, False, False]
    assert found.global_margin[1:].tolist() == [-0.25, 0.25]


def share_of_smaller(one, other):
    """By counting the unit squares of boxes with whole corners; None where there is no box."""
    if np.isnan([*one, *other]).any():
        return None
    squares = [{(x, y) for x in range(int(b[0]), int(b[2])) for y in range(int(b[1]), int(b[3]))} for b in (one, other)]
    return len(squares[0] & squares[1]) / min(map(len, squares))


def test_margins_are_against_the_best_candidate_that_lies_in_no_other_region():
    draw = np.random.default_rng(8)
    rows, compared, left_out = [], 0, 0
    for _ in range(300):
        x, y, width, height = (*draw.integers(0, 12, 2), *draw.integers(1, 12, 2))
        box = NOWHERE if draw.random() < 0.2 else (x, y, x + width, y + height)
        score = np.nan if draw.random() < 0.2 else draw.normal()
        rows.append((f"q{draw.integers(60)}", score, int(draw.integers(0, 60)), box))
    found = fusion.feature_table(pairs(rows))
    for number, (query, score, inliers, box) in enumerate(rows):
        others = []
        for other, row in enumerate(rows):
            if other != number and row[0] == query:
                shared = share_of_smaller(box, row[3])
                if shared is not None and shared <= 0.1:
                    left_out += 1
                else:
                    others.append(row)
        compared += len(others)
        most = max((np.log1p(row[2]) for row in others), default=0)
        assert found.inlier_margin[number] == pytest.approx(np.log1p(inliers) - most)
        best = max((row[1] for row in others if not np.isnan(row[1])), default=0)
        assert found.global_margin[number] == pytest.approx(score - best, nan_ok=True)
    assert min(compared, left_out) > 200


def test_keypoints_on_one_line_lie_within_the_region_around_them():
    """Their box would have no area, of which no share could lie in another one."""
    rows = [("a", 0.0, 40, (0, 0, 60, 60)), ("a", 0.0, 3, (20, 30, 50, 31)), ("a", 0.0, 3, (70, 30, 90, 31))]
    found = fusion.feature_table(pairs(rows))
    assert found.inlier_margin.tolist() == pytest.approx([np.log(41 / 4), np.log(4 / 41), np.log(4)])


def test_margins_do_not_depend_on_the_order_of_the_pairs():
    draw = np.random.default_rng(9)
    corners = draw.uniform(0, 100, (200, 2))
    boxes = np.hstack([corners, corners + draw.uniform(1, 50, (200, 2))])
    table = pairs([(f"q{n % 30}", draw.normal(), n % 17, tuple(box)) for n, box in enumerate(boxes)])
    order = draw.permutation(200)
    shuffled = fusion.feature_table(table.iloc[order].reset_index(drop=True))
    pd.testing.assert_frame_equal(shuffled, fusion.feature_table(table).iloc[order].reset_index(drop=True))


def test_one_source_per_query_but_for_disjoint_regions():
    left, right, middle, inner = (0, 0, 100, 90), (102, 0, 200, 90), (50, 0, 150, 90), (10, 10, 20, 20)
    table = pairs(
        [
            ("one", 0, 0, left), ("one", 0, 0, right), ("one", 0, 0, middle), ("one", 0, 0, inner),
            ("two", 0, 0, NOWHERE), ("two", 0, 0, left),
            ("three", 0, 0, NOWHERE),
        ]
    )  # fmt: skip
    probabilities = np.array([0.9, 0.3, 0.8, 0.5, 0.6, 0.7, 0.2])
    lost = logit(probabilities) - logit(fusion.one_source(table, probabilities))
    assert lost == pytest.approx(SECOND_SOURCE * np.array([0, 0, 1, 1, 1, 0, 0]))


def test_of_equally_probable_candidates_the_one_with_more_inliers_is_the_source():
    table = pairs([("a", 0, 3, NOWHERE), ("a", 0, 80, (0, 0, 9, 9)), ("a", 0, 7, NOWHERE)])
    lost = logit(0.6) - logit(fusion.one_source(table, np.full(3, 0.6)))
    assert lost == pytest.approx([SECOND_SOURCE, 0, SECOND_SOURCE])


def test_certain_probabilities_stay_in_their_range():
    table = pairs([("a", 0, 0, NOWHERE)] * 2)
    assert fusion.one_source(table, np.array([1.0, 0.0])).tolist() == [1, 0]


def test_the_decision_reaches_its_precision_with_most_recall():
    table, copies = simulated(7, 300)
    fitted = calibration.fit_trees(table, copies)
    probabilities = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    truth = np.array([1, 1, 0, 1, 1, 0], bool)
    assert fusion.decide_at_precision(fitted, probabilities, truth, 0.8).decision == 0.5
    assert fusion.decide_at_precision(fitted, probabilities, truth, 0.95).decision == 0.8
    with pytest.raises(InputError, match=r"no decision reaches a precision of 0\.9"):
        fusion.decide_at_precision(fitted, probabilities, ~truth, 0.9)


def test_pairs_that_look_like_unlabelled_copies():
    table = pairs([("a", 0, inliers, NOWHERE) for inliers in (50, 51, 200)]).assign(local_ncc=[0.9, 0.81, 0.8])
    assert fusion.suspected_copies(table).tolist() == [False, True, False]
