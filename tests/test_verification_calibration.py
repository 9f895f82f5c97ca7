"""Fitting on pairs of known truth: calibration and decision on queries that were not seen, and the shipped trees."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from copytrace.errors import InputError
from copytrace.verification import calibration, fusion
from copytrace.verification.reliability import exact_interval, reliability_table

SCRIPTS = Path(fusion.__file__).parents[2]
DEFAULT = Path(fusion.__file__).with_name("default_fusion.json")


def pair(query="q", reference="r", **measured):
    """A pair that nothing speaks for, but for what is given."""
    unrelated = {
        "global_score": 0.0, "inliers": 0, "weighted_inliers": 0.0, "local_ncc": 0.0, "agreeing_share": 0.0,
        "thumbnail_ncc": 0.1, "hash_distance": 120, "query_points": [],
    }  # fmt: skip
    return {"query_id": query, "reference_id": reference, **unrelated, **measured}


def simulated(seed, queries, look_alikes=0):
    """Pairs of queries with five candidates each, and their truth; look-alikes have the inliers of copies."""
    draw = np.random.default_rng(seed)
    rows, truth = [], []
    for number in range(queries + look_alikes):
        name = f"{seed}-{number}"
        role = "look-alike" if number >= queries else ("copy", "negative")[number % 2]
        truth.append((name, f"r{number}" if role == "copy" else "", role))
        for place in range(5):
            copy = role == "copy" and place == 0
            alike = role == "look-alike" and place == 0
            inliers = int(np.exp(draw.normal(2.5 + 1.5 * copy + 1.5 * alike, 0.8)))
            measured = {
                "inliers": inliers,
                "weighted_inliers": inliers * draw.uniform(0.4, 0.6),
                "local_ncc": float(np.clip(draw.normal(0.2 + 0.35 * copy + 0.1 * alike, 0.15), -1, 0.8)),
                "hash_distance": int(draw.normal(120 - 20 * copy, 15)),
                "global_score": draw.normal(0.1 + 0.1 * copy, 0.08),
            }
            rows.append(pair(name, f"r{number}" if copy else f"other{place}", **measured))
    return pd.DataFrame(rows), pd.DataFrame(truth, columns=["query_id", "reference_id", "role"])


@pytest.fixture(scope="module")
def fitted():
    return calibration.fit(calibration.label(*simulated(0, 1500, 300)), 0.95)


def test_held_out_probabilities_are_calibrated_on_copies_and_negatives(fitted):
    """Before the rule of one source, which takes from candidates beside a better one: on best candidates."""
    plain = fitted.held_out[fitted.held_out.role != "look-alike"]
    best = plain.loc[plain.groupby("query_id").probability.idxmax()]
    table = reliability_table(best.probability.to_numpy(), best["copy"].to_numpy(bool), bins=5)
    assert len(table) == 5
    assert (np.abs(table.observed - table.predicted) < 0.03 + (table.observed_high - table.observed_low) / 2).all()


def test_the_decision_reaches_its_precision_on_queries_that_were_not_seen(fitted):
    fresh = calibration.label(*simulated(1, 1500, 300))
    probability = fusion.one_source(fresh, fusion.predict(fitted.fusion, fusion.feature_table(fresh)))
    called = fresh[probability >= fitted.fusion.decision]
    assert called["copy"].mean() > 0.93 and len(called) > 400
    held_out = fitted.held_out
    assert held_out[held_out.probability >= fitted.fusion.decision]["copy"].mean() >= 0.95


def test_look_alikes_raise_the_decision_and_are_not_fitted_to(fitted):
    plain = calibration.fit(calibration.label(*simulated(0, 1500)), 0.95)
    assert fitted.fusion.decision > plain.fusion.decision + 0.1
    assert fitted.fusion.value == plain.fusion.value and fitted.fusion.threshold == plain.fusion.threshold


def test_trees_for_any_network_work_without_scores_and_with_larger_ones():
    """Copies stand above other candidates whatever the scale of the global scores, nearly as often."""
    trees = calibration.fit(calibration.label(*simulated(0, 600, 60)), 0.9, any_network=True).fusion
    fresh = calibration.label(*simulated(2, 600))
    for scale in (1.0, 2.0, 0.5, np.nan):
        table = fusion.feature_table(fresh.assign(global_score=fresh.global_score * scale))
        probability = fusion.predict(trees, table)
        best = fresh.loc[pd.Series(probability).groupby(fresh.query_id).idxmax()]
        assert best[best.role == "copy"]["copy"].mean() > 0.8


def test_unlabelled_duplicates_are_left_out_and_true_pairs_are_not():
    rows = [
        pair("a", "x", inliers=200, local_ncc=0.95),
        pair("a", "y", inliers=200, local_ncc=0.95),
        pair("b", "x", inliers=200, local_ncc=0.95),
        pair("b", "y", inliers=20, local_ncc=0.95),
    ]
    truth = pd.DataFrame([("a", "x", "copy"), ("b", "", "look-alike")], columns=["query_id", "reference_id", "role"])
    found = calibration.label(pd.DataFrame(rows), truth)
    assert found[["query_id", "reference_id", "copy", "role"]].to_numpy().tolist() == [
        ["a", "x", True, "copy"],
        ["b", "y", False, "look-alike"],
    ]


def test_queries_without_truth_and_unknown_roles_are_refused():
    truth = pd.DataFrame([("a", "x", "copy")], columns=["query_id", "reference_id", "role"])
    with pytest.raises(InputError, match="nothing of the query b"):
        calibration.label(pd.DataFrame([pair("b")]), truth)
    with pytest.raises(InputError, match="the role 'copies'"):
        calibration.label(pd.DataFrame([pair("a")]), truth.assign(role="copies"))


def test_reliability_has_exact_intervals():
    probabilities = np.r_[np.full(10, 0.05), np.full(4, 0.95), 1.0]
    copies = np.r_[np.ones(2), np.zeros(8), np.ones(5)].astype(bool)
    table = reliability_table(probabilities, copies)
    assert table[["low", "high", "pairs", "observed"]].to_numpy().tolist() == [[0, 0.1, 10, 0.2], [0.9, 1, 5, 1]]
    assert table.predicted.tolist() == pytest.approx([0.05, 0.96])
    for row, (k, n) in zip(table.itertuples(), ((2, 10), (5, 5))):
        # the shares at which as many hits or more, or as many or fewer, have a chance of 2.5 %
        assert binom.sf(k - 1, n, row.observed_low) == pytest.approx(0.025)
        assert k == n or binom.cdf(k, n, row.observed_high) == pytest.approx(0.025)
    assert exact_interval(0, 5)[0] == 0 and exact_interval(5, 5)[1] == 1


def test_the_script_fits_what_the_library_fits(tmp_path, fitted):
    pairs, truth = simulated(0, 1500, 300)
    pairs.to_parquet(tmp_path / "pairs.parquet")
    truth.to_parquet(tmp_path / "truth.parquet")
    command = [sys.executable, SCRIPTS / "fit_fusion.py", "--pairs", tmp_path / "pairs.parquet"]
    command += ["--truth", tmp_path / "truth.parquet", "--output", tmp_path / "trees.json"]
    command += ["--reliability", tmp_path / "reliability.csv", "--figure", tmp_path / "reliability.png"]
    subprocess.run(command, check=True)
    assert fusion.read_fusion(tmp_path / "trees.json") == fitted.fusion
    assert set(pd.read_csv(tmp_path / "reliability.csv").queries) == {"copies and negatives", "look-alikes, too"}
    assert (tmp_path / "reliability.png").stat().st_size > 1000


# ---------------------------------------------------------------- the trees that ship


def probability(**measured):
    """The shipped trees' probability of a pair beside an unrelated candidate."""
    rows = pd.DataFrame([pair(**measured), pair(reference="other")])
    return fusion.predict(fusion.read_fusion(DEFAULT), fusion.feature_table(rows))[0]


COPY = {
    "global_score": 0.5, "inliers": 150, "weighted_inliers": 90.0, "local_ncc": 0.97, "agreeing_share": 0.98,
    "thumbnail_ncc": 0.9, "hash_distance": 10,
}  # fmt: skip
SMALL_PASTE = {"inliers": 30, "weighted_inliers": 15.0, "local_ncc": 0.9, "agreeing_share": 0.95}
SAME_OBJECT = {"inliers": 8, "weighted_inliers": 2.0, "local_ncc": 0.15, "agreeing_share": 0.1, "global_score": 0.2}


def test_the_shipped_trees_order_obvious_pairs():
    decision = fusion.read_fusion(DEFAULT).decision
    assert 0.05 < decision < 0.99
    assert probability(**COPY) > 0.95
    assert probability(**SMALL_PASTE) > decision
    assert probability(**SAME_OBJECT) < min(decision, 0.3)
    assert probability() < 0.02


def test_the_shipped_trees_need_no_global_score():
    decision = fusion.read_fusion(DEFAULT).decision
    assert probability(**(COPY | {"global_score": np.nan})) > max(0.9, decision)
    assert probability(**(SAME_OBJECT | {"global_score": np.nan})) < decision
    assert probability(global_score=np.nan) < 0.02


def test_more_evidence_never_lowers_the_probability(fitted):
    rng = np.random.default_rng(0)
    for trees in (fusion.read_fusion(DEFAULT), fitted.fusion):
        signs = np.array([fusion.FEATURES[name] for name in trees.features])
        draws = rng.normal(0, 3, (4000, len(signs))) * rng.choice([0.1, 1, 30], (4000, 1))
        more = draws + signs * rng.exponential(2, draws.shape) * (rng.random(draws.shape) < 0.3)
        before, after = (
            fusion.predict(trees, pd.DataFrame(values, columns=trees.features)) for values in (draws, more)
        )
        assert (after >= before - 1e-12).all() and (after > before).mean() > 0.2
