import json
import os
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from copytrace import imaging, pdq

DATA = Path(__file__).parent / "data"
REFERENCE = json.loads((DATA / "pdq_reference.json").read_text())["pictures"]
draw_picture = runpy.run_path(str(DATA / "make_pdq_reference.py"))["draw_picture"]


def bits(hashes):
    return np.unpackbits(hashes, axis=-1).astype(int)


@pytest.mark.parametrize("case", REFERENCE, ids=lambda case: f"{case['height']}x{case['width']}-{case['grey']}")
def test_identical_to_the_authors_code(case):
    picture = draw_picture(case["height"], case["width"], case["seed"])
    if case["grey"]:
        picture[:] = picture[:, :, :1]
    digest, quality = pdq.pdq_hash(picture)
    assert digest.tobytes().hex() == case["hash"]
    assert quality == case["quality"]


@pytest.mark.parametrize("size", [(64, 64), (129, 128), (300, 200), (256, 256), (37, 500)])
def test_dihedral_hashes_are_those_of_turned_pictures(size):
    picture = draw_picture(*size, seed=1)
    turned = [np.rot90(picture, quarter) for quarter in range(4)]
    expected = [pdq.pdq_hash(view)[0] for view in turned + [view[:, ::-1] for view in turned]]
    assert (pdq.dihedral_hashes(picture) == np.stack(expected)).all()
    assert len({row.tobytes() for row in pdq.dihedral_hashes(picture)}) == 8


def test_half_the_bits_are_set_and_scaling_changes_few():
    picture = draw_picture(400, 600, seed=2)
    digest, _ = pdq.pdq_hash(picture)
    smaller, _ = pdq.pdq_hash(np.asarray(Image.fromarray(picture).resize((300, 200), Image.Resampling.BOX)))
    other, _ = pdq.pdq_hash(draw_picture(400, 600, seed=3))
    assert bits(digest).sum() == 128
    assert (bits(digest) != bits(smaller)).sum() <= 30
    assert (bits(digest) != bits(other)).sum() >= 80


def test_strips_change_nothing(monkeypatch):
    picture = draw_picture(300, 200, seed=4)
    whole = pdq.dihedral_hashes(picture)
    monkeypatch.setattr(pdq, "STRIP_PIXELS", 3333)
    assert (pdq.dihedral_hashes(picture) == whole).all()


def test_pictures_without_content_have_no_quality():
    assert pdq.pdq_hash(np.full((100, 80, 3), 77, np.uint8))[1] == 0
    digest, quality = pdq.pdq_hash(draw_picture(4, 100, seed=0))
    assert not digest.any() and quality == 0
    assert not pdq.dihedral_hashes(draw_picture(100, 4, seed=0)).any()


def test_nearest_equals_brute_force():
    draw = np.random.default_rng(0)
    queries = draw.integers(0, 256, (7, 8, 32), dtype=np.uint8)
    references = draw.integers(0, 256, (50, 32), dtype=np.uint8)
    references[11] = queries[3, 5]
    distance = (bits(queries)[:, :, None] != bits(references)).sum(-1).min(axis=1)
    found = pdq.nearest(queries, references, 5)
    assert len(found) == 35
    assert (found["distance"] == distance[found["query"], found["reference"]]).all()
    for query, rows in found.groupby("query"):
        assert rows["distance"].tolist() == sorted(distance[query])[:5]
    assert found[found["distance"] == 0][["query", "reference"]].to_numpy().tolist() == [[3, 11]]


def test_nearest_with_fewer_references_than_asked_for():
    queries = np.zeros((2, 8, 32), np.uint8)
    assert len(pdq.nearest(queries, np.ones((3, 32), np.uint8), 10)) == 6
    assert pdq.nearest(queries, np.empty((0, 32), np.uint8), 10).empty
    assert pdq.nearest(queries[:0], np.ones((3, 32), np.uint8), 10).empty


def test_baseline_script_finds_turned_and_mirrored_copies(tmp_path, monkeypatch):
    import hash_baseline

    rows = {"queries": [], "references": []}
    for index in range(8):
        picture = draw_picture(120, 160, seed=index)
        turned = np.rot90(picture, index % 4)
        for role, view in (("references", picture), ("queries", turned[:, ::-1] if index > 3 else turned)):
            path = tmp_path / f"{role}{index}.png"
            Image.fromarray(view).save(path)
            rows[role].append((f"{role[0]}{index}", str(path)))
    for role in ("queries", "references"):  # flat pictures resemble each other and must not be matched
        Image.new("RGB", (50, 50), "grey").save(tmp_path / f"{role}.png")
        rows[role].append((f"{role[0]}_flat", str(tmp_path / f"{role}.png")))
        pd.DataFrame(rows[role], columns=["image_id", "path"]).to_parquet(tmp_path / f"{role}.parquet")
    arguments = [
        "--queries",
        "queries.parquet",
        "--references",
        "references.parquet",
        "--pairs-per-query",
        "2",
    ]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hash_baseline.py", *arguments, "--output", "out.csv"])
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # put back what the script sets

    hash_baseline.main()

    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "query_id,reference_id,score"
    assert lines[1:9] == [f"q{index},r{index},1.000000" for index in range(8)]
    assert len(lines) == 1 + 9 * 2
    assert not any("r_flat" in line for line in lines)


@pytest.mark.skipif("COPYTRACE_PHOTOS" not in os.environ, reason="COPYTRACE_PHOTOS names no folder")
def test_photographs_survive_recompression_and_turning(tmp_path):
    photos = sorted(Path(os.environ["COPYTRACE_PHOTOS"]).rglob("*.jpg"))[:20]
    assert photos
    for photo in photos:
        picture = imaging.load_image(photo)
        Image.fromarray(np.ascontiguousarray(np.rot90(picture))).save(tmp_path / "copy.jpg", quality=50)
        copy = pdq.dihedral_hashes(imaging.load_image(tmp_path / "copy.jpg"))
        assert (bits(copy) != bits(pdq.pdq_hash(picture)[0])).sum(axis=1).min() <= 24
