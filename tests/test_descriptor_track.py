"""The descriptor track: averaging, stretching by its derivation, the contest's files, evaluation by brute force."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import REPOSITORY

from copytrace import descriptor_files, stretching, submission
from copytrace.errors import InputError
from copytrace.stretching import Stretching
from copytrace.submission import Side

SCRIPTS = REPOSITORY / "workflow_scripts"


def unit(rng, rows, dimensions=6):
    vectors = rng.normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# Averaging and stretching (BoT sheet, 5.3 and 6)


def test_scales_are_averaged_to_unit_length():
    first, second = np.array([[1, 0], [0, 1]], np.float32), np.array([[0, 1], [0, 1]], np.float32)
    np.testing.assert_allclose(stretching.average_scales([first, second]), [[0.5**0.5, 0.5**0.5], [0, 1]], rtol=1e-6)
    np.testing.assert_allclose(stretching.average_scales([first]), first)


def test_a_querys_length_is_the_factor_times_its_mean_similarity():
    """Inner products 1, 0.6, 0 with the background: the mean of the best two is 0.8."""
    queries = np.array([[1, 0], [0, -1], [-1, 0]], np.float32)
    background = [np.array([[1, 0]], np.float32), np.array([[0.6, 0.8], [0, 1]], np.float32)]
    lengths, raised = stretching.query_lengths(queries, background, Stretching(2, 2.5, 0.01))
    np.testing.assert_allclose(lengths, [2.5 * 0.8, 2.5 * 0.01, 2.5 * 0.01], rtol=1e-6)
    assert raised.tolist() == [False, True, True]  # −0.4 and −0.3 would turn the vectors around
    assert (lengths > 0).all()
    with pytest.raises(InputError, match=r"3 training pictures .*stretching\.neighbours is 4"):
        stretching.query_lengths(queries, background, Stretching(4, 2.5, 0.01))


@given(st.integers(1, 12), st.integers(1, 15), st.integers(3, 20), st.floats(0.5, 4), st.integers(0, 10**6))
def test_stretching_changes_no_order_within_a_query_and_the_pooled_one_to_the_linear_form(
    queries, references, training, factor, seed
):
    """−‖cμq − r‖² = 2cμ·(s − (c/2)·μ) − 1 (BoT sheet, 6.2), over all queries and references together."""
    rng = np.random.default_rng(seed)
    q, r, t = unit(rng, queries), unit(rng, references), unit(rng, training)
    similar = np.sort(q.astype(np.float64) @ t.T)[:, -3:].mean(axis=1)
    mean = np.maximum(similar, 0.05)
    lengths, raised = stretching.query_lengths(q, [t[:2], t[2:]], Stretching(3, factor, 0.05))
    np.testing.assert_allclose(lengths, factor * mean, rtol=1e-4)
    clear = np.abs(similar - 0.05) > 1e-6
    assert (raised == (similar < 0.05))[clear].all()

    found = stretching.nearest_pairs(lengths[:, None] * q, lambda: [r[:1], r[1:]], queries * references)
    s = q.astype(np.float64) @ r.T
    linear = 2 * factor * mean[:, None] * (s - factor / 2 * mean[:, None]) - 1
    assert sorted(zip(found.query, found.reference)) == [(a, b) for a in range(queries) for b in range(references)]
    np.testing.assert_allclose(found.score, linear[found.query, found.reference], atol=2e-5)
    assert (np.diff(linear[found.query, found.reference]) <= 4e-5).all()
    for query in range(queries):
        of_query = s[query, found.reference[found.query == query]]
        assert (np.diff(of_query) * 2 * lengths[query] <= 4e-5).all()  # as the inner products have it


@given(st.integers(1, 20), st.lists(st.integers(0, 9), min_size=1, max_size=3), st.integers(1, 60), st.integers(0, 99))
def test_nearest_pairs_of_vectors_of_any_length(queries, blocks, count, seed):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(queries, 5)).astype(np.float32)
    r = [rng.normal(size=(rows, 5)).astype(np.float32) for rows in blocks]
    found = stretching.nearest_pairs(q, lambda: r, count)
    distances = ((q[:, None].astype(np.float64) - np.concatenate(r)[None]) ** 2).sum(axis=2)
    assert len(found.score) == min(count, distances.size)
    np.testing.assert_allclose(-found.score, np.sort(distances.ravel())[:count], atol=1e-4)
    np.testing.assert_allclose(-found.score, distances[found.query, found.reference], atol=1e-4)


# The contest's files (benchmark sheet, 1.4)


def side(ids, dimensions=4, seed=0):
    return Side(list(ids), np.random.default_rng(seed).normal(size=(len(ids), dimensions)).astype(np.float32))


QUERIES, REFERENCES = side(["Q50002", "Q50000", "Q50001"]), side(["R000001", "R000000"], seed=1)


def test_a_submission_has_the_official_layout(tmp_path):
    path = tmp_path / "submission.h5"
    submission.write_submission(path, QUERIES, REFERENCES)
    with h5py.File(path) as file:
        assert set(file) == {"query", "reference", "query_ids", "reference_ids"}
        assert file["query"].dtype == file["reference"].dtype == np.float32
        assert (file["query_ids"].dtype, file["reference_ids"].dtype) == (np.dtype("S6"), np.dtype("S7"))
        assert file["query_ids"][:].tolist() == [b"Q50000", b"Q50001", b"Q50002"]
        assert (file["query"][:] == QUERIES.vectors[[1, 2, 0]]).all()
        assert (file["reference"][:] == REFERENCES.vectors[::-1]).all()


def test_both_formats_keep_ids_and_vectors(tmp_path):
    odd = side(["ä", "b c", "a.jpeg", "Z"])
    submission.write_submission(tmp_path / "s.h5", odd, REFERENCES)
    queries, references = submission.read_submission(tmp_path / "s.h5")
    submission.write_working(tmp_path / "w.h5", queries)
    again = submission.read_working([tmp_path / "w.h5"])
    for one in (queries, again):
        assert one.ids == ["Z", "a.jpeg", "b c", "ä"]  # by their bytes
        assert (one.vectors == odd.vectors[[3, 2, 1, 0]]).all()
    assert references.ids == ["R000000", "R000001"]


def test_the_working_format_is_read_as_the_organisers_tool_does(tmp_path):
    """Several files, folders and endings cut off, names of fixed or variable length."""
    vectors = QUERIES.vectors
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["vectors"], file["image_names"] = vectors[:2], np.array([b"/data/queries/Q50002.jpg", b"Q50000.png"])
    with h5py.File(tmp_path / "1.h5", "w") as file:
        file["vectors"] = vectors[2:]
        file.create_dataset("image_names", data=["queries/Q50001"], dtype=h5py.string_dtype())
    read = submission.read_working([tmp_path / "0.h5", tmp_path / "1.h5"])
    assert read.ids == QUERIES.ids
    assert (read.vectors == vectors).all()


def broken(ids=None, vectors=None):
    return Side(QUERIES.ids if ids is None else ids, QUERIES.vectors if vectors is None else vectors)


INFINITE = QUERIES.vectors.copy()
INFINITE[1, 2] = np.inf


@pytest.mark.parametrize(
    "queries, sentence",
    [
        (side(QUERIES.ids, 257), "the query descriptors have 257 dimensions, but at most 256 are allowed"),
        (side(QUERIES.ids, 5), "queries have 5 dimensions and references 4: they cannot be compared"),
        (broken(ids=["Q50002", "Q50000"]), "the query descriptors are 3 vectors, but there are 2 ids"),
        (broken(ids=["Q50002", "", "Q50001"]), "the query descriptors have a row without an id: row 1"),
        (broken(ids=["Q50002", "Q50000", "Q50002"]), "the query descriptors have the id 'Q50002' more than once"),
        (
            broken(vectors=INFINITE),
            "the query descriptors have numbers that are not finite in 1 rows; the first is that of 'Q50000'",
        ),
        (broken(vectors=INFINITE * np.nan), "not finite in 3 rows; the first is that of 'Q50002'"),
        (broken(vectors=QUERIES.vectors[0]), "the query descriptors are no table"),
    ],
)
def test_what_the_contest_would_refuse_is_not_written(tmp_path, queries, sentence):
    with pytest.raises(InputError) as mistake:
        submission.write_submission(tmp_path / "s.h5", queries, REFERENCES)
    assert sentence in str(mistake.value)
    assert not list(tmp_path.iterdir())


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(InputError, match=r"text\.h5 cannot be read as HDF5"):
        submission.read_submission(tmp_path / "text.h5")
    submission.write_working(tmp_path / "w.h5", QUERIES)
    with pytest.raises(InputError, match=r"w\.h5 has no data set query, only image_names, vectors"):
        submission.read_submission(tmp_path / "w.h5")
    with h5py.File(tmp_path / "n.h5", "w") as file:
        file["vectors"], file["image_names"] = QUERIES.vectors, [1, 2, 3]
    with pytest.raises(InputError, match=r"the data set image_names of .*n\.h5 does not hold names"):
        submission.read_working([tmp_path / "n.h5"])
    submission.write_working(tmp_path / "five.h5", side(["Q1"], 5))
    with pytest.raises(InputError, match=r"different numbers of dimensions: \[4, 5\]"):
        submission.read_working([tmp_path / "w.h5", tmp_path / "five.h5"])
    with pytest.raises(InputError, match="the id 'Q50002' more than once"):
        submission.read_working([tmp_path / "w.h5", tmp_path / "w.h5"])


@pytest.mark.parametrize("name", ["folder/Q1", "Q1.jpg", "Q1.png"])
def test_an_id_that_would_be_read_as_another_is_not_written(tmp_path, name):
    with pytest.raises(InputError, match=f"the first is '{name}'"):
        submission.write_working(tmp_path / "w.h5", side(["Q0", name]))


def run(script, *arguments):
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_converter_goes_both_ways_and_checks_lists_of_ids(tmp_path):
    submission.write_submission(tmp_path / "s.h5", QUERIES, REFERENCES)
    working = ("--write-queries", tmp_path / "q.h5", "--write-references", tmp_path / "r.h5")
    there = run("convert_descriptors", "--submission", tmp_path / "s.h5", *working)
    assert there.returncode == 0, there.stderr
    (tmp_path / "q.txt").write_text("Q50000\nQ50001\nQ50002\n")
    back = ("--queries", tmp_path / "q.h5", "--references", tmp_path / "r.h5", "--query-ids", tmp_path / "q.txt")
    done = run("convert_descriptors", *back, "--write-submission", tmp_path / "again.h5")
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "s.h5") as one, h5py.File(tmp_path / "again.h5") as other:
        assert all((one[name][:] == other[name][:]).all() for name in one)
    for listed, sentence in (("Q50000\nQ50001\nQ50002\nQ50003\n", "lack 1 ids; the first is 'Q50003'"),
                             ("Q50000\nQ50001\n", "are not wanted to have 1 ids; the first is 'Q50002'")):  # fmt: skip
        (tmp_path / "q.txt").write_text(listed)
        refused = run("convert_descriptors", *back, "--write-submission", tmp_path / "never.h5")
        assert refused.returncode == 2 and sentence in refused.stderr
        assert not (tmp_path / "never.h5").exists()
    assert "name either --submission" in run("convert_descriptors", "--queries", tmp_path / "q.h5").stderr


# The two jobs, on descriptor files, against brute force

SCALES, MODEL, STRETCHING = (32, 48), "track_CC.net", {"neighbours": 3, "factor": 2.5, "minimum_mean": 0.001}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Twelve queries, of which eight are noisy references, 30 references in two shards, and a background."""
    folder = tmp_path_factory.mktemp("track")
    rng = np.random.default_rng(3)
    references = unit(rng, 30)
    queries = np.concatenate([references[:8], unit(rng, 4)])
    ids = {
        "queries": [f"Q{n:02d}" for n in rng.permutation(12)],  # manifests need not be sorted
        "references": [f"R{n:02d}" for n in range(30)],
        "training": [f"T{n:02d}" for n in range(20)],
    }
    clean = {"queries": queries, "references": references, "training": unit(rng, 20)}
    vectors, files = {}, {}
    for role, names in ids.items():
        noise = 0.35 if role == "queries" else 0.1
        for scale in SCALES:
            noisy = clean[role] + noise * rng.normal(size=clean[role].shape)
            vectors[role, scale] = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float32)
        cuts = [0, 13, 30] if role == "references" else [0, len(names)]
        files[role] = [folder / f"{role}.{start}.h5" for start in cuts[:-1]]
        for path, start, stop in zip(files[role], cuts, cuts[1:]):
            rows = pd.DataFrame({"image_id": names[start:stop], "part": 0})
            block = {(MODEL, scale): vectors[role, scale][start:stop] for scale in SCALES}
            descriptor_files.write_descriptors(path, rows, block, {MODEL: {"weights": "w"}})
        pd.DataFrame({"image_id": names, "path": names}).to_parquet(folder / f"{role}.parquet")
    truth = [(ids["queries"][n], f"R{n:02d}" if n < 8 else "") for n in range(12)]
    pd.DataFrame(truth, columns=["query_id", "reference_id"]).to_csv(folder / "truth.csv", index=False)
    common = ["--query-vectors", *files["queries"], "--reference-vectors", *files["references"]]
    common += ["--background", *files["training"], "--training", folder / "training.parquet"]
    common += ["--queries", folder / "queries.parquet", "--class-stride", 4, "--model", MODEL]
    common += ["--scales", *SCALES, "--stretching", json.dumps(STRETCHING), "--threads", 1]
    stretched = run(
        "stretch_descriptors", *common, "--references", folder / "references.parquet", "--output", folder / "d.h5",
        "--list", folder / "pairs.csv", "--pairs-per-query", 10,
    )  # fmt: skip
    assert stretched.returncode == 0, stretched.stderr
    evaluation = {"queries": "all", "bootstrap_samples": 40, "confidence": 0.9}
    normalisation = {"neighbours": 4, "weight": 1.5}
    done = run(
        "evaluate_descriptors", *common, "--list", folder / "pairs.csv", "--ground-truth", folder / "truth.csv",
        "--normalisation", json.dumps(normalisation), "--evaluation", json.dumps(evaluation), "--pairs-per-query", 10,
        "--seed", 0, "--output", folder / "d.json", "--table", folder / "d.csv", "--curves", folder / "d.png",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, ids, vectors, dict(truth), done.stderr


def brute_force(score, ids, truth, pairs):
    """Micro-AP and recall at P90 of the best `pairs` of a score matrix (benchmark sheet, 1.6 and 1.7)."""
    ranked = sorted(
        ((score[q, r], truth[name] == other) for q, name in enumerate(ids["queries"])
         for r, other in enumerate(ids["references"])),
        key=lambda row: -row[0],
    )[:pairs]  # fmt: skip
    found, precision_sum, recall = 0, 0.0, 0.0
    for rank, (_, hit) in enumerate(ranked, 1):
        found += hit
        precision_sum += hit * found / rank
        recall = found / 8 if found / rank >= 0.9 else recall
    return precision_sum / 8, recall


def test_every_row_of_the_evaluation_equals_brute_force(measured):
    folder, ids, vectors, truth, _ = measured
    rows = {row["name"]: row for row in json.loads((folder / "d.json").read_text())["rows"]}
    expected = {}
    for scales, name in ((SCALES, "all scales"), ((32,), "32 px"), ((48,), "48 px")):
        q, r, t = (
            sum(vectors[role, scale].astype(np.float64) for scale in scales)
            for role in ("queries", "references", "training")
        )
        q, r, t = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, r, t))
        similar = np.sort(q @ t[np.arange(20) % 4 != 0].T, axis=1)  # every fourth training picture is a class
        stretched = 2.5 * similar[:, -3:].mean(axis=1, keepdims=True) * q
        distances = [((x[:, None] - r[None]) ** 2).sum(axis=2) for x in (stretched, q)]
        expected["as submitted" if len(scales) > 1 else f"{name}, stretched"] = -distances[0]
        expected[f"{name}, plain"] = -distances[1]
        expected[f"{name}, score normalised"] = q @ r.T - 1.5 * similar[:, -4:].mean(axis=1, keepdims=True)
    assert set(rows) == set(expected)
    for name, score in expected.items():
        value, recall = brute_force(score, ids, truth, 120)
        assert rows[name]["micro_ap"] == pytest.approx(value, abs=1e-9), name
        assert rows[name]["recall_at_p90"] == pytest.approx(recall), name
        assert rows[name]["predictions"] == 120
        low, high = rows[name]["interval"]
        assert low <= high
    assert len({row["micro_ap"] for row in rows.values()}) > 4  # the rows can be told apart


def test_a_step_is_the_difference_of_two_rows(measured):
    folder, *_ = measured
    result = json.loads((folder / "d.json").read_text())
    value = {row["name"]: row["micro_ap"] for row in result["rows"]}
    steps = {step["step"]: step for step in result["steps"]}
    assert steps["stretching"]["gain"] == pytest.approx(value["as submitted"] - value["all scales, plain"])
    assert steps["all scales over 48 px alone"]["gain"] == pytest.approx(
        value["as submitted"] - value["48 px, stretched"]
    )
    assert len(steps) == 5
    assert result["protocol"]["background"] == 15 and result["protocol"]["replaced_queries"] == 0
    table = pd.read_csv(folder / "d.csv")
    assert table.name.tolist() == [row["name"] for row in result["rows"]]


def test_the_submitted_file_holds_every_picture_sorted(measured):
    folder, ids, vectors, *_ = measured
    queries, references = submission.read_submission(folder / "d.h5")
    assert queries.ids == sorted(ids["queries"]) and references.ids == ids["references"]
    np.testing.assert_allclose(np.linalg.norm(references.vectors, axis=1), 1, rtol=1e-6)
    mean = sum(vectors["queries", scale] for scale in SCALES)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    turned = queries.vectors / np.linalg.norm(queries.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(turned, mean[np.argsort(ids["queries"])], atol=1e-6)


def test_a_picture_without_a_descriptor_is_missed(measured, tmp_path):
    folder, ids, *_ = measured
    more = [*ids["references"], "R99"]
    pd.DataFrame({"image_id": more, "path": more}).to_parquet(tmp_path / "references.parquet")
    files = {role: sorted(folder.glob(f"{role}.*.h5")) for role in ids}
    done = run(
        "stretch_descriptors", "--query-vectors", *files["queries"], "--reference-vectors", *files["references"],
        "--background", *files["training"], "--training", folder / "training.parquet",
        "--queries", folder / "queries.parquet", "--references", tmp_path / "references.parquet", "--model", MODEL,
        "--scales", *SCALES, "--stretching", json.dumps(STRETCHING), "--threads", 1, "--output", tmp_path / "d.h5",
        "--list", tmp_path / "pairs.csv", "--pairs-per-query", 10,
    )  # fmt: skip
    assert done.returncode == 2 and "lack 1 ids; the first is 'R99'" in done.stderr
    assert not (tmp_path / "d.h5").exists() and not (tmp_path / "pairs.csv").exists()
