"""Best pairs against brute force."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import match_parts
import merge_pairs
import normalise_queries
from copytrace import descriptor_files, low_precision, matching, search, sharding

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
    for native, expected in ((True, low_precision.low_precision_index), (False, search.index)):
        monkeypatch.setattr("copytrace.devices.processor_has_bf16", lambda native=native: native)
        assert low_precision.index_for(low_precision.LARGE - 1) == search.index
        assert low_precision.index_for(low_precision.LARGE) == expected
    monkeypatch.setattr(search, "on_gpu", lambda: True)
    assert low_precision.index_for(low_precision.LARGE) == search.index
    few = np.ones((low_precision.WORTH_ROUNDING - 1, 2), np.float32)
    assert isinstance(low_precision.low_precision_index(few), search.Products)
    assert isinstance(
        low_precision.low_precision_index(np.ones((len(few) + 1, 2), np.float32)), low_precision.LowPrecision
    )


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


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Three files of queries, references and training pictures each, and how to match them by the rules' scripts."""
    rng = np.random.default_rng(0)
    parts = {"queries": [0, 1, 2] * 4, "references": [0] * 18, "training": [0] * 12}
    vectors = {role: unit(rng, len(numbers), 8) for role, numbers in parts.items()}
    vectors["references"][[3, 11]] = vectors["references"][7]  # equal scores in three files
    tables, files = {}, {}
    for role, numbers in parts.items():
        each = 3 if role == "queries" else 1
        ids = [f"{role[0].upper()}{i // each}" for i in range(len(numbers))]
        tables[role] = pd.DataFrame({"image_id": ids, "part": numbers})
        files[role] = []
        for start in range(0, len(numbers), len(numbers) // 3):
            rows = slice(start, start + len(numbers) // 3)
            files[role].append(str(tmp_path / f"{role}.{start}.h5"))
            some = tables[role].iloc[rows]
            descriptor_files.write_descriptors(files[role][-1], some, {("m", 32): vectors[role][rows]}, {"m": {}})
    manifest = tables["training"].assign(path="")
    manifest.to_parquet(tmp_path / "training.parquet")
    pd.DataFrame({"image_id": ["T3"], "faces": [1]}).to_parquet(tmp_path / "faces.parquet")

    def run(script, output, *arguments):
        models = ["--models=m", "--scales=32", "--threads=1", f"--output={tmp_path / output}"]
        monkeypatch.setattr("sys.argv", [script.__name__, *map(str, arguments), *models])
        script.main()
        return tmp_path / output

    def match(shards=1, per_query=6, whole=False, normalising=()):
        kind = ["--whole-queries"] if whole else []
        wanted = json.dumps({"neighbours": 3, "weight": 2.0})
        split = {role: [sharding.shard_of(files[role], i, shards) for i in range(shards)] for role in files}
        background = ["--background", *files["training"], f"--training={tmp_path / 'training.parquet'}"]
        normalisation = [
            run(normalise_queries, f"{i}.h5", "--queries", *some, *background, f"--matching={wanted}", *normalising)
            for i, some in enumerate(split["queries"])
        ]
        queries, pairs = ["--queries", *files["queries"]], [f"--pairs-per-query={per_query}", *kind]
        subtracted = ["--normalisation", *normalisation]
        partial = [
            run(match_parts, f"{i}.parquet", *queries, *subtracted, "--references", *some, *pairs)
            for i, some in enumerate(split["references"])
        ]
        references = ["--references", *files["references"]]
        return pd.read_parquet(run(merge_pairs, "pairs.parquet", "--pairs", *partial, *queries, *references, *pairs))

    return vectors, tables, match


def expected_scores(vectors, background):
    nearest = -np.sort(-vectors["queries"] @ background.T, axis=1)[:, :3]
    return vectors["queries"] @ vectors["references"].T - 2 * nearest.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("whole", [False, True])
def test_pairs_do_not_depend_on_the_shards(described, whole):
    """Against brute force, ties at the cut among them: rows of the first query and reference stand first."""
    vectors, tables, match = described
    scores = expected_scores(vectors, vectors["training"]).astype(np.float32)
    rows = np.flatnonzero(tables["queries"].part == 0) if whole else np.arange(len(scores))
    for per_query in (1, 6, 11):
        query, reference = np.divmod(np.arange(len(rows) * 18), 18)
        order = np.lexsort((reference, rows[query], -scores[rows].ravel().round(6)))[: 4 * per_query]
        one, three = match(1, per_query, whole), match(3, per_query, whole)
        pd.testing.assert_frame_equal(one, three)
        np.testing.assert_allclose(one.score, scores[rows].ravel()[order], atol=1e-6)
        assert one.reference_id.tolist() == [f"R{i}" for i in reference[order]]
        assert one.query_id.tolist() == tables["queries"].image_id.iloc[rows[query[order]]].tolist()
        assert one.query_part.tolist() == tables["queries"].part.iloc[rows[query[order]]].tolist()


def test_pictures_trained_on_are_no_negatives(described, tmp_path):
    """Every fifth training picture is a class, and so is T3, for its face (D²LV sheet, E20)."""
    vectors, _, match = described

    def scores(*flags):
        pairs = match(per_query=3 * 18, normalising=flags)
        return pairs.pivot(index=["query_id", "query_part"], columns="reference_id", values="score")[
            [f"R{i}" for i in range(18)]
        ].to_numpy()

    others = np.setdiff1d(np.arange(12), [0, 3, 5, 10])
    without = scores("--class-stride=5", f"--faces={tmp_path / 'faces.parquet'}")
    np.testing.assert_allclose(without, expected_scores(vectors, vectors["training"][others]), atol=1e-5)
    np.testing.assert_allclose(scores(), expected_scores(vectors, vectors["training"]), atol=1e-5)
