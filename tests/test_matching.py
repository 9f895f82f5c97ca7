"""Best pairs against brute force."""

import json
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import match_parts
from copytrace import descriptor_files, matching


def unit(rng, rows, dimensions):
    vectors = rng.normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(queries, bias, references, count):
    scores = queries.astype(np.float64) @ references.T.astype(np.float64) - bias[:, None]
    query, reference = np.divmod(np.arange(scores.size), len(references))
    order = np.lexsort((reference, query, -scores.ravel()))[:count]
    return query[order], reference[order], scores.ravel()[order]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 60),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.integers(1, 400),
    st.integers(1, 64),
    st.integers(0, 99),
)
def test_best_pairs_equal_brute_force(query_count, block_sizes, count, few, seed):
    rng = np.random.default_rng(seed)
    queries = unit(rng, query_count, 8)
    bias = rng.normal(scale=0.2, size=query_count).astype(np.float32)
    blocks = [unit(rng, size, 8) for size in block_sizes]
    references = np.concatenate(blocks)
    with mock.patch.object(matching, "FEW", few):
        found = matching.best_pairs(queries, bias, lambda: blocks, count, query_block=7)
    query, reference, scores = brute_force(queries, bias, references, count)
    assert len(found) == min(count, query_count * len(references))
    np.testing.assert_allclose(found.score, scores, atol=1e-6)
    assert len(set(zip(found.query, found.reference))) == len(found)
    clear = scores > (scores[-1] if len(scores) else 0) + 1e-5  # order within rounding is not fixed
    assert set(zip(query[clear], reference[clear])) <= set(zip(found.query, found.reference))


@pytest.mark.parametrize("few", [1, 64])
def test_ties_go_to_the_first_query_and_reference(few, monkeypatch):
    monkeypatch.setattr(matching, "FEW", few)
    queries = np.tile(np.array([[1, 0]], np.float32), (3, 1))
    references = np.tile(np.array([[1, 0]], np.float32), (4, 1))
    found = matching.best_pairs(queries, np.zeros(3, np.float32), lambda: [references[:2], references[2:]], 5)
    assert list(zip(found.query, found.reference)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]


def test_bias_is_the_weighted_mean_of_the_nearest():
    rng = np.random.default_rng(0)
    queries, background = unit(rng, 5, 16), unit(rng, 50, 16)
    bias = matching.query_bias(queries, [background[:20], background[20:23], background[23:]], 10, 2.0)
    expected = 2 * np.sort(queries @ background.T, axis=1)[:, -10:].mean(axis=1)
    np.testing.assert_allclose(bias, expected, atol=1e-6)


def test_too_small_a_background_is_refused():
    vectors = unit(np.random.default_rng(0), 4, 8)
    with pytest.raises(ValueError, match="10 neighbours"):
        matching.query_bias(vectors, [vectors], 10, 1.0)


def test_memory_is_bounded_by_the_count(monkeypatch):
    """A block of the similarity matrix returns about as many pairs as are kept, never all of them."""
    rng = np.random.default_rng(1)
    queries, references = unit(rng, 400, 8), unit(rng, 500, 8)
    returned = []
    search = matching.search.at_least

    def watched(*arguments):
        result = search(*arguments)
        returned.append(len(result[0]))
        return result

    monkeypatch.setattr(matching.search, "at_least", watched)
    monkeypatch.setattr(matching, "FEW", 1)
    matching.best_pairs(queries, np.zeros(400, np.float32), lambda: [references], 2000)
    assert returned
    assert max(returned) < 4 * 2000


# Vectors of small whole numbers: sums are exact, so that scores tie, at the cut too, and repeat.
small = st.lists(st.lists(st.integers(-1, 1), min_size=3, max_size=3), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(small, st.lists(small | st.just([]), min_size=1, max_size=4), st.integers(1, 80), st.data())
def test_best_pairs_equal_sorting_all_pairs_where_scores_tie(queries, blocks, count, data):
    """Exactly: the pairs, their order, and which of equal pairs fall off at the cut; fewer rows than asked for too."""
    bias = data.draw(st.lists(st.integers(-2, 2).map(lambda n: n / 4), min_size=len(queries), max_size=len(queries)))
    references = [vector for block in blocks for vector in block]
    expected = sorted(
        (bias[q] - sum(a * b for a, b in zip(query, reference)), q, r)
        for q, query in enumerate(queries)
        for r, reference in enumerate(references)
    )[:count]
    found = matching.best_pairs(
        np.array(queries, np.float32),
        np.array(bias, np.float32),
        lambda: [np.array(block, np.float32).reshape(-1, 3) for block in blocks],
        count,
        query_block=data.draw(st.integers(1, 13)),
    )
    assert list(zip((-found.score).tolist(), found.query.tolist(), found.reference.tolist())) == expected


@settings(max_examples=60, deadline=None)
@given(small, st.lists(small, min_size=1, max_size=4), st.integers(1, 8), st.sampled_from([0.0, 0.5, 2.0]))
def test_bias_equals_sorting_where_background_pictures_repeat(queries, blocks, neighbours, weight):
    background = [vector for block in blocks for vector in block]
    neighbours = min(neighbours, len(background))
    products = [[sum(a * b for a, b in zip(query, other)) for other in background] for query in queries]
    expected = [weight * sum(sorted(row)[-neighbours:]) / neighbours for row in products]
    arrays = [np.array(block, np.float32) for block in blocks]
    bias = matching.query_bias(np.array(queries, np.float32), arrays, neighbours, weight)
    assert bias.tolist() == pytest.approx(expected, abs=1e-6)


def test_pictures_trained_on_are_no_negatives(tmp_path, monkeypatch):
    """Every fifth training picture is a class, and so is T3, for its face (D²LV sheet, E20)."""
    rng = np.random.default_rng(0)
    counts = {"queries": 4, "references": 6, "training": 12}
    vectors = {role: unit(rng, rows, 8) for role, rows in counts.items()}
    for role, rows in counts.items():
        parts = pd.DataFrame({"image_id": [f"{role[0].upper()}{i}" for i in range(rows)], "part": 0})
        descriptor_files.write_descriptors(tmp_path / f"{role}.h5", parts, {("m", 32): vectors[role]}, {"m": {}})
    pd.DataFrame({"image_id": [f"T{i}" for i in range(12)], "path": ""}).to_parquet(tmp_path / "training.parquet")
    pd.DataFrame({"image_id": ["T3"], "faces": [1]}).to_parquet(tmp_path / "faces.parquet")

    def scores(*flags):
        settings = {"pairs_per_query": 6, "neighbours": 3, "weight": 2.0}
        files = [
            f"--{name}={tmp_path / f'{role}.h5'}" for name, role in zip(("queries", "references", "background"), counts)
        ]
        rest = [f"--training={tmp_path / 'training.parquet'}", "--models=m", "--scales=32", "--threads=1"]
        output = tmp_path / "pairs.parquet"
        arguments = [*files, *rest, f"--matching={json.dumps(settings)}", f"--output={output}", *flags]
        monkeypatch.setattr("sys.argv", ["match_parts.py", *arguments])
        match_parts.main()
        return pd.read_parquet(output).pivot(index="query_id", columns="reference_id", values="score").to_numpy()

    def expected(background):
        nearest = -np.sort(-vectors["queries"] @ background.T, axis=1)[:, :3]
        return vectors["queries"] @ vectors["references"].T - 2 * nearest.mean(axis=1, keepdims=True)

    others = np.setdiff1d(np.arange(12), [0, 3, 5, 10])
    without = scores("--class-stride=5", f"--faces={tmp_path / 'faces.parquet'}")
    np.testing.assert_allclose(without, expected(vectors["training"][others]), atol=1e-5)
    np.testing.assert_allclose(scores(), expected(vectors["training"]), atol=1e-5)
