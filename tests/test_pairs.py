"""Known pairs: their list, the classes they make, what may not be among them, and the training set of a pair family."""

import io
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from copytrace import manifests, pairs
from copytrace.errors import InputError
from copytrace.synthesis.tarset import TrainingSet

SCRIPTS = Path(pairs.__file__).parents[1]


def write(folder, text, name="pairs.csv"):
    (folder / name).write_text(text)
    return folder / name


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_paths_are_relative_to_the_list_and_each_pair_counts_once(tmp_path):
    source = write(tmp_path, 'query,reference\nq/a.jpg,r.jpg\n"q, b.jpg",/far/r.png\nq/a.jpg,r.jpg\n')
    assert pairs.read(source).to_numpy().tolist() == [
        [f"{tmp_path}/q/a.jpg", f"{tmp_path}/r.jpg"],
        [f"{tmp_path}/q, b.jpg", "/far/r.png"],
    ]


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("a.jpg,b.jpg\n", "does not begin with the line query,reference"),
        ("query,reference\n", "names no pair"),
        ("query,reference\na.jpg\n", "row 2 of the list of pairs"),
        ("query,reference,score\na,b,1\n", "has 3 columns instead of query,reference"),
        ("query,reference\na.jpg,b.jpg\nc.jpg,./c.jpg\n", "row 3 of the list of pairs"),
        ("", "is empty"),
    ],
)
def test_lists_that_are_refused(tmp_path, text, sentence):
    with pytest.raises(InputError) as mistake:
        pairs.read(write(tmp_path, text))
    assert sentence in str(mistake.value) and "\n" not in str(mistake.value)


def test_every_picture_is_listed_once_and_must_exist(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "b.png")
    source = write(tmp_path, "query,reference\na.jpg,b.jpg\na.jpg,b.png\n")
    listing, rejected = manifests.list_pairs(source)
    assert listing["path"].tolist() == [f"{tmp_path}/{name}" for name in ("a.jpg", "b.jpg", "b.png")]
    assert listing["image_id"].tolist() == [f"{tmp_path}/{name}" for name in ("a", "b.jpg", "b.png")]
    assert rejected.empty
    (tmp_path / "b.png").unlink()
    with pytest.raises(InputError, match=r"1 of the 3 files .* do not exist; the first is .*b\.png"):
        manifests.list_pairs(source)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda p: p[0] != p[1]), max_size=15),
    st.sets(st.integers(0, 12)),
)
def test_classes_are_the_connected_components(edges, unreadable):
    table = pd.DataFrame([(f"/{a}", f"/{b}") for a, b in edges], columns=pairs.HEADER).astype(str)
    readable = [f"/{number}" for number in range(13) if number not in unreadable]
    classes = pairs.class_table(table, readable)
    used = np.array([edge for edge in edges if not {*edge} & unreadable], int).reshape(-1, 2)
    joined = connected_components(coo_array((np.ones(len(used)), used.T), shape=(13, 13)), directed=False)[1]
    components = {frozenset(f"/{other}" for other in np.flatnonzero(joined == joined[n])) for n in used.ravel()}
    assert {frozenset(group.path) for _, group in classes.groupby("class_id")} == components
    assert classes["path"].is_unique
    assert classes["class_id"].tolist() == sorted(classes["class_id"])
    for number, (label, group) in enumerate(classes.groupby("class_id")):
        assert label == number
        assert group["copy"].tolist() == list(range(len(group)))


def test_one_file_under_two_names_is_one_picture(tmp_path):
    touch(tmp_path, "q1", "q2", "r")
    (tmp_path / "link").symlink_to(tmp_path / "r")
    table = pairs.read(write(tmp_path, "query,reference\nq1,r\nq2,link\n"))
    classes = pairs.class_table(table, table.to_numpy().ravel())
    assert classes.to_numpy().tolist() == [[0, 0, f"{tmp_path}/q1"], [0, 1, f"{tmp_path}/r"], [0, 2, f"{tmp_path}/q2"]]


def test_a_query_in_a_pair_is_found_by_its_file_and_by_its_content(tmp_path):
    touch(tmp_path, "q/1.jpg", "q/2.jpg", "q/3.jpg", "p/a.jpg", "p/b.jpg")
    queries = [str(tmp_path / "q" / f"{number}.jpg") for number in (1, 2, 3)]
    known = [str(tmp_path / "p" / f"{name}.jpg") for name in "ab"]  # as long as the queries, other bytes
    pairs.check_leakage(queries, known)
    missing = str(tmp_path / "none.jpg")
    pairs.check_leakage([*queries, missing], [*known, f"{missing}.too"])
    (tmp_path / "linked").symlink_to(tmp_path / "q")
    with pytest.raises(InputError, match=r"^1 query is also .*; it is .*/q/2\.jpg, in a pair as .*/linked/2\.jpg"):
        pairs.check_leakage(queries, [*known, str(tmp_path / "linked" / "2.jpg")])
    (tmp_path / "p" / "b.jpg").write_bytes((tmp_path / "q" / "3.jpg").read_bytes())
    with pytest.raises(InputError, match=r"it is .*/q/3\.jpg, in a pair as .*/p/b\.jpg"):
        pairs.check_leakage(queries, known)


def render(folder, *flags):
    command = [sys.executable, SCRIPTS / "render_pairs.py", "--pairs", folder / "pairs.csv", "--side", "16"]
    command += ["--manifest", folder / "manifest.parquet", "--quality", "100"]
    command += ["--tar", folder / "set.tar", "--index", folder / "set.parquet", *flags]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True)


@pytest.mark.parametrize("grey", [False, True])
def test_the_training_set_holds_the_pictures_squashed_and_not_edited(tmp_path, grey):
    rng = np.random.default_rng(0)
    for name in ("q1", "r1", "q2", "r2"):
        coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(cv2.resize(coarse, (40, 24))).save(tmp_path / f"{name}.png")
    write(tmp_path, "query,reference\nq1.png,r1.png\nq2.png,r2.png\n")
    usable = [str(tmp_path / f"{name}.png") for name in ("q1", "r1", "r2")]  # q2 was rejected
    pd.DataFrame({"image_id": usable, "path": usable}).to_parquet(tmp_path / "manifest.parquet")
    done = render(tmp_path, *(["--grey"] if grey else []))
    assert done.returncode == 0, done.stderr
    assert "1 of 2 pairs are left out" in done.stderr
    rendered = TrainingSet([tmp_path / "set.parquet"])
    assert rendered.index[["class_id", "copy"]].to_numpy().tolist() == [[0, 0], [0, 1]]
    for row, name in enumerate(("q1", "r1")):
        picture = Image.open(tmp_path / f"{name}.png").resize((16, 16), Image.Resampling.BICUBIC)
        expected = io.BytesIO()
        (picture.convert("L").convert("RGB") if grey else picture).save(expected, "JPEG", quality=100)
        assert rendered.read(row) == expected.getvalue()
    pd.DataFrame({"image_id": ["r1"], "path": usable[1:2]}).to_parquet(tmp_path / "manifest.parquet")
    done = render(tmp_path)
    assert (done.returncode, done.stderr.count("error: no pair of")) == (2, 1)
