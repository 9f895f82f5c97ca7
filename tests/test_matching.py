"""Best pairs against brute force."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import match_parts
from copytrace import descriptor_files, low_precision, matching, search

# All ways to compute the products; the second is a GPU's, here with FAISS on the processor.
WAYS = [search.Products, search.Neighbours, low_precision.LowPrecision]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """So that a few vectors are many blocks, and more neighbours are asked for than can be had at once."""
    for limit, value in {
        "REFERENCE_ROWS": 16,
        "GPU_REFERENCE_ROWS": 24,
        "FEW_NEIGHBOURS": 1,
        "MOST_NEIGHBOURS": 4,
    }.items():
        monkeypatch.setattr(search, limit, value)
    for way in WAYS:
        monkeypatch.setattr(way, "query_rows", 7)
    monkeypatch.setattr(low_precision, "MANY", 0.3)
    monkeypatch.setattr(low_precision, "GATHERED", 100)


def unit(rng, rows, dimensions):
    vectors = rng.normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute_force(queries, bias, references, count):
    scores = queries.astype(np.float64) @ references.T.astype(np.float64) - bias[:, None]
    query, reference = np.divmod(np.arange(scores.size), len(references))
    order = np.lexsort((reference, query, -scores.ravel()))[:count]
    return query[order], reference[order], scores.ravel()[order]


drawn_with_fixture = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@drawn_with_fixture
@given(
    st.integers(1, 60),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.integers(1, 400),
    st.sampled_from(WAYS),
    st.integers(0, 99),
)
def test_best_pairs_equal_brute_force(query_count, block_sizes, count, way, seed):
    rng = np.random.default_rng(seed)
    queries = unit(rng, query_count, 8)
    bias = rng.normal(scale=0.2, size=query_count).astype(np.float32)
    blocks = [unit(rng, size, 8) for size in block_sizes]
    references = np.concatenate(blocks)
    found = matching.best_pairs(queries, bias, lambda: blocks, count, way)
    query, reference, scores = brute_force(queries, bias, references, count)
    assert len(found) == min(count, query_count * len(references))
    np.testing.assert_allclose(found.score, scores, atol=1e-6)
    assert len(set(zip(found.query, found.reference))) == len(found)
    clear = scores > (scores[-1] if len(scores) else 0) + 1e-5  # order within rounding is not fixed
    assert set(zip(query[clear], reference[clear])) <= set(zip(found.query, found.reference))


@pytest.mark.parametrize("way", WAYS)
def test_ties_go_to_the_first_query_and_reference(way):
    queries = np.tile(np.array([[1, 0]], np.float32), (3, 1))
    references = np.tile(np.array([[1, 0]], np.float32), (4, 1))
    found = matching.best_pairs(queries, np.zeros(3, np.float32), lambda: [references[:2], references[2:]], 5, way)
    assert list(zip(found.query, found.reference)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]


@pytest.mark.parametrize("way", WAYS)
def test_bias_is_the_weighted_mean_of_the_nearest(way):
    rng = np.random.default_rng(0)
    queries, background = unit(rng, 5, 16), unit(rng, 50, 16)
    bias = matching.query_bias(queries, [background[:20], background[20:23], background[23:]], 10, 2.0, way)
    expected = 2 * np.sort(queries @ background.T, axis=1)[:, -10:].mean(axis=1)
    np.testing.assert_allclose(bias, expected, atol=1e-6)


def test_too_small_a_background_is_refused():
    vectors = unit(np.random.default_rng(0), 4, 8)
    with pytest.raises(ValueError, match="10 neighbours"):
        matching.query_bias(vectors, [vectors], 10, 1.0)


@pytest.mark.parametrize("ascending", [False, True])
def test_memory_is_bounded_by_the_count(ascending, monkeypatch):
    """Twice as many pairs as are asked for wait, and the products of a block of queries and references, at most.

    Where each reference is nearer to all queries than those before it, every pair is one of the best at first.
    """
    rng = np.random.default_rng(1)
    queries, references = unit(rng, 400, 8), unit(rng, 500, 8)
    if ascending:
        queries = np.abs(queries)
        references = queries[:1] * np.arange(500, dtype=np.float32)[:, None]
    held = []
    add = matching.BestPairs.add

    def watched(self, pairs):
        add(self, pairs)
        held.append(sum(map(len, self.held)))

    monkeypatch.setattr(matching.BestPairs, "add", watched)
    found = matching.best_pairs(queries, np.zeros(400, np.float32), lambda: [references], 2000)
    np.testing.assert_allclose(
        found.score, brute_force(queries, np.zeros(400), references, 2000)[2], rtol=1e-5, atol=1e-6
    )
    assert max(held) < 2 * 2000 + 7 * 16


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("length", [1e-3, 1, 1e3])
def test_no_pair_is_lost_to_low_precision(upwards, length):
    """Where all numbers lie between two of bf16 the product of the rounded vectors is off by as much as it can be."""
    between = 1 + 2**-8 * (0.49 if upwards else 0.51)  # 1 and 1 + 2⁻⁷ are neighbours in bf16
    signs = np.random.default_rng(0).choice([-1, 1], (50, 64))
    vectors = (length / 8 * between * signs).astype(np.float32)
    exact = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    for bound in length**2 * np.unique((exact / length**2).round(6)):
        bounds = np.full(50, bound - 1e-6 * length**2, np.float32)
        found = list(low_precision.LowPrecision(vectors).at_least(vectors, lambda bounds=bounds: bounds))
        rows, columns, products = map(np.concatenate, zip(*found))
        expected = np.nonzero(exact >= bounds[:, None])
        assert set(zip(rows, columns)) == set(zip(*expected))
        np.testing.assert_allclose(products, exact[rows, columns], rtol=1e-5, atol=1e-5 * length**2)


def test_large_searches_take_low_precision_where_the_processor_has_it(monkeypatch):
    for native, expected in ((True, low_precision.LowPrecision), (False, search.index)):
        monkeypatch.setattr("copytrace.devices.processor_has_bf16", lambda native=native: native)
        assert low_precision.index_for(low_precision.LARGE - 1) == search.index
        assert low_precision.index_for(low_precision.LARGE) == expected
    monkeypatch.setattr(search, "on_gpu", lambda: True)
    assert low_precision.index_for(low_precision.LARGE) == search.index


def test_a_bound_spares_most_products_a_second_look(monkeypatch):
    """Of random vectors only a harmonic share of the pairs is ever kept: count · (1 + ln(all / count)), about."""
    rng = np.random.default_rng(1)
    queries, references = unit(rng, 400, 8), unit(rng, 500, 8)
    added = []
    monkeypatch.setattr(
        matching.BestPairs,
        "add",
        lambda self, pairs, add=matching.BestPairs.add: (added.append(len(pairs)), add(self, pairs)),
    )
    matching.best_pairs(queries, np.zeros(400, np.float32), lambda: [references], 2000)
    assert sum(added) < 2 * 2000 * (1 + np.log(400 * 500 / 2000))


# Vectors of small whole numbers: sums are exact, so that scores tie, at the cut too, and repeat.
small = st.lists(st.lists(st.integers(-1, 1), min_size=3, max_size=3), min_size=1, max_size=12)


@drawn_with_fixture
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
        data.draw(st.sampled_from(WAYS)),
    )
    assert list(zip((-found.score).tolist(), found.query.tolist(), found.reference.tolist())) == expected


@drawn_with_fixture
@given(
    small,
    st.lists(small, min_size=1, max_size=4),
    st.integers(1, 8),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from(WAYS),
)
def test_bias_equals_sorting_where_background_pictures_repeat(queries, blocks, neighbours, weight, way):
    background = [vector for block in blocks for vector in block]
    neighbours = min(neighbours, len(background))
    products = [[sum(a * b for a, b in zip(query, other)) for other in background] for query in queries]
    expected = [weight * sum(sorted(row)[-neighbours:]) / neighbours for row in products]
    arrays = [np.array(block, np.float32) for block in blocks]
    bias = matching.query_bias(np.array(queries, np.float32), arrays, neighbours, weight, way)
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
