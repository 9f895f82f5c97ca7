"""The official measures: golden values of the benchmark sheet, and slow loops."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from copytrace import metrics
from copytrace.runtime import generator

# Table 1.6 of the benchmark sheet: hits best first, true pairs, µAP, recall at precision 90.
GOLDEN = [
    ([0.9, 0.8], [1, 1], 2, 1.0, 1.0),
    ([0.9], [1], 2, 0.5, 0.5),
    ([0.9, 0.8], [0, 1], 1, 0.5, 0.0),
    ([0.9, 0.9], [1, 0], 1, 0.5, 0.0),
    ([0.9, 0.8, 0.7], [1, 0, 1], 2, (1 + 2 / 3) / 2, 0.5),
]

rankings = st.lists(st.tuples(st.integers(0, 6).map(lambda n: n / 4), st.booleans()), min_size=1, max_size=40)


def metrics_interval(*arguments, level=0.95):
    return metrics.interval(metrics.bootstrap_values(*arguments), level)


def slow_ranking(scores, hits):
    return sorted(zip(scores, hits), key=lambda row: (-row[0], row[1]))


def slow_average_precision(scores, hits, positives):
    found, total, before = 0, 0.0, 0.0
    for place, (_, hit) in enumerate(slow_ranking(scores, hits), 1):
        found += hit
        total += (found / positives - before) * (found / place)
        before = found / positives
    return total


@pytest.mark.parametrize(("scores", "hits", "positives", "micro_ap", "recall"), GOLDEN)
def test_golden_values(scores, hits, positives, micro_ap, recall):
    assert metrics.micro_average_precision(scores, hits, positives) == pytest.approx(micro_ap, abs=1e-12)
    found, threshold = metrics.recall_at_precision(scores, hits, positives)
    assert found == recall
    assert (threshold is None) == (recall == 0)


@settings(max_examples=200, deadline=None)
@given(rankings, st.integers(0, 5), st.sampled_from([0.5, 0.75, 0.9]))
def test_measures_equal_loops_over_ranks(rows, missed, precision):
    scores, hits = [row[0] for row in rows], [row[1] for row in rows]
    positives = sum(hits) + missed
    assume(positives)
    value = metrics.micro_average_precision(scores, hits, positives)
    assert value == pytest.approx(slow_average_precision(scores, hits, positives))
    found, best, at = 0, 0.0, None
    for place, (score, hit) in enumerate(slow_ranking(scores, hits), 1):
        found += hit
        if found / place >= precision and found / positives > best:
            best, at = found / positives, score
    assert metrics.recall_at_precision(scores, hits, positives, precision) == (best, at)


@settings(max_examples=100, deadline=None)
@given(rankings)
def test_curve_says_what_accepting_from_a_score_on_gives(rows):
    scores, hits = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    assume(hits.any())
    precision, recall, thresholds = metrics.precision_recall_curve(scores, hits, hits.sum())
    assert thresholds.tolist() == sorted(set(scores.tolist()), reverse=True)
    for threshold, one, other in zip(thresholds, precision, recall):
        accepted = hits[scores >= threshold]
        assert one == pytest.approx(accepted.mean())
        assert other == pytest.approx(accepted.sum() / hits.sum())


def test_against_scikit_learn_without_ties():
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, hits = rng.permutation(500), rng.random(500) < 0.2
    value = metrics.micro_average_precision(scores, hits, hits.sum())
    assert value == pytest.approx(sklearn.average_precision_score(hits, scores))


def test_more_hits_than_positives_is_an_error():
    with pytest.raises(ValueError, match="2 predictions are right, yet there are 1"):
        metrics.micro_average_precision([1, 2], [1, 1], 1)


def random_task(rng, queries=12, rows=60):
    """Predictions with ties and true pairs, of queries of which some have no source and some two."""
    names = [f"q{number}" for number in range(queries)]
    every = pd.MultiIndex.from_product([names, [f"r{number}" for number in range(12)]])
    chosen = every[rng.permutation(len(every))[:rows]]
    predictions = chosen.to_frame(index=False, name=metrics.PAIR).assign(score=rng.integers(0, 12, rows) / 8)
    truth = every[rng.permutation(len(every))[:14]].to_frame(index=False, name=metrics.PAIR)
    return names, predictions, truth


@pytest.mark.parametrize("seed", range(5))
def test_recall_at_rank_equals_a_loop_over_pairs(seed):
    _, predictions, truth = random_task(np.random.default_rng(seed))
    for rank in (1, 3, 10):
        hits = 0
        for pair in truth.itertuples():
            own = predictions[predictions["query_id"] == pair.query_id]
            score = own.loc[own["reference_id"] == pair.reference_id, "score"]
            hits += len(score) == 1 and (own["score"] >= score.item()).sum() - 1 < rank
        assert metrics.recall_at_rank(predictions, truth, rank) == hits / len(truth)


def test_ties_at_rank_count_against_the_system():
    predictions = pd.DataFrame({"query_id": ["q", "q"], "reference_id": ["r", "s"], "score": [0.5, 0.5]})
    truth = pd.DataFrame({"query_id": ["q"], "reference_id": ["r"]})
    assert metrics.recall_at_rank(predictions, truth, 1) == 0
    assert metrics.recall_at_rank(predictions, truth, 2) == 1


def test_bootstrap_equals_writing_the_drawn_queries_out():
    names, predictions, truth = random_task(np.random.default_rng(3))
    values = metrics.bootstrap_values(predictions, truth, names, metrics.weighted_average_precision, 40, generator(1))
    rng, slow = generator(1), []
    hits = metrics.mark_hits(predictions, truth)
    for _ in range(40):
        drawn = [names[place] for place in rng.integers(0, len(names), len(names))]
        rows = [place for name in drawn for place in np.flatnonzero(predictions["query_id"] == name)]
        positives = sum((truth["query_id"] == name).sum() for name in drawn)
        slow.append(slow_average_precision(predictions["score"].iloc[rows], hits[rows], positives))
    assert values == pytest.approx(slow, abs=1e-12)
    assert len(set(values.round(6))) > 20
    low, high = metrics_interval(
        predictions, truth, names, metrics.weighted_average_precision, 40, generator(1), level=0.9
    )
    assert (low, high) == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), min_size=1, max_size=30), st.integers(0, 5))
def test_weights_equal_writing_the_rows_out(rows, missed):
    hits, weights = (np.array(column) for column in zip(*rows))
    positives = int(weights[hits].sum()) + missed
    value = metrics.weighted_average_precision(hits, np.array([weights, weights]), np.array([positives, 0]))
    written = np.repeat(hits, weights)
    expected = slow_average_precision(-np.arange(len(written)), written, positives) if positives else np.nan
    assert value[0] == pytest.approx(expected, nan_ok=True)
    assert np.isnan(value[1])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    # every prediction is right and a query has one with probability 0.7: that is the µAP of all queries
    rng, covered = np.random.default_rng(0), 0
    names = [f"q{number}" for number in range(80)]
    for _ in range(60):
        found = rng.random(80) < 0.7
        predictions = pd.DataFrame({"query_id": names, "reference_id": "r", "score": np.arange(80)})
        predictions = predictions[found]
        truth = pd.DataFrame({"query_id": names, "reference_id": "r"})
        low, high = metrics_interval(predictions, truth, names, metrics.weighted_average_precision, 200, rng)
        covered += low <= 0.7 <= high
    assert 50 <= covered <= 60


def test_a_pair_predicted_twice_is_an_error():
    pair = pd.DataFrame({"query_id": ["q", "q"], "reference_id": ["r", "r"]})
    with pytest.raises(ValueError, match="twice"):
        metrics.mark_hits(pair, pair)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6), st.integers(0, 2))
def test_ties_give_the_least_that_any_order_of_equal_scores_gives(rows, missed):
    """Tried out: every order of the rows in which the scores fall."""
    positives = sum(hit for _, hit in rows) + missed
    assume(positives)
    possible = []
    for order in itertools.permutations(rows):
        if all(before[0] >= after[0] for before, after in itertools.pairwise(order)):
            found = list(itertools.accumulate(hit for _, hit in order))
            precisions = [found[place] / (place + 1) for place, (_, hit) in enumerate(order) if hit]
            possible.append(sum(precisions) / positives)
    value = metrics.micro_average_precision([row[0] for row in rows], [row[1] for row in rows], positives)
    assert value == pytest.approx(min(possible), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=12), st.integers(0, 3))
def test_a_weight_is_worth_as_many_copies_of_the_row(rows, missed):
    hits, weights = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    copies = np.repeat(hits, weights)
    positives = int(copies.sum()) + missed
    value = metrics.weighted_average_precision(hits, weights[None], np.array([positives]))[0]
    if positives:
        assert value == pytest.approx(metrics.micro_average_precision(-np.arange(len(copies)), copies, positives))
    else:
        assert np.isnan(value)
