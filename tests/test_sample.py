"""The built-in sample: drawn scenes, edits, and the plan of who copies whom."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import draw_sample
import edit_copies
from copytrace import imaging, runtime
from copytrace.compat import import_face_recognition
from copytrace.errors import InputError
from copytrace.sample import edits, queries, scenes, textures
from copytrace.sample.jpeg import through_file

SIDE = 128
SCRIPTS = Path(draw_sample.__file__).parent


def spectrum_slope(picture):
    """Exponent of the radially averaged power spectrum against frequency, 0.02-0.35 cycles a pixel."""
    grey = picture.mean(axis=2)
    side = min(grey.shape)
    grey = grey[:side, :side]
    window = np.outer(np.hanning(side), np.hanning(side))
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    ring = np.digitize(frequency, np.geomspace(0.02, 0.35, 12))
    rings = [(frequency[ring == i].mean(), power[ring == i].mean()) for i in range(1, 12)]
    return np.polyfit(*np.log(np.array(rings)).T, 1)[0]


@pytest.fixture(scope="module")
def drawn():
    return [scenes.render(scenes.scene(0, "references", i), 256) for i in range(60)]


def source(index=3, side=SIDE):
    return scenes.render(scenes.scene(0, "references", index), side)


def foreign():
    return scenes.render(scenes.scene(0, "foreign", 0), SIDE)


# ---------------------------------------------------------------- scenes


def test_spectrum_slope_knows_noise_of_known_slope():
    """The measure itself, on fields made with amplitude 1/f^a: power falls with 2a."""
    for number in (0, 7):
        field = textures.noise_fields()[number][:256, :256]
        expected = -2 * textures.FIELD_EXPONENTS[number]
        assert spectrum_slope(np.repeat(field[..., None], 3, axis=2)) == pytest.approx(expected, abs=0.25)


def test_a_picture_depends_on_nothing_but_its_identity():
    first = [source(i) for i in (1, 2, 3)]
    again = [source(i) for i in (3, 1)]
    np.testing.assert_array_equal(first[2], again[0])
    np.testing.assert_array_equal(first[0], again[1])
    for other in (("training", 1, 0), ("references", 1, 1), ("references", 2, 0)):
        role, index, seed = other
        assert not np.array_equal(first[0], scenes.render(scenes.scene(seed, role, index), SIDE))


def test_sizes(drawn):
    sizes = {picture.shape for picture in drawn}
    assert sizes == {(192, 256, 3), (256, 256, 3), (256, 192, 3)}
    assert all(picture.dtype == np.uint8 for picture in drawn)


def test_the_side_changes_only_the_resolution():
    large = cv2.resize(source(5, 256), source(5, 128).shape[1::-1], interpolation=cv2.INTER_AREA)
    small = source(5, 128)
    correlation = np.corrcoef(large.ravel(), small.ravel())[0, 1]
    assert correlation > 0.95


def test_natural_statistics(drawn):
    """Photographs: power ~ 1/f^2 … 1/f^3 (Field 1987; Ruderman 1994), measured alike on the bundled ones."""
    slopes = np.array([spectrum_slope(picture) for picture in drawn])
    real = np.mean([spectrum_slope(scenes.photograph(name, 256)) for name in scenes.PHOTOGRAPHS])
    assert -3.2 < slopes.mean() < -2.0
    assert abs(slopes.mean() - real) < 0.7
    deviations = np.array([picture.mean(axis=2).std() for picture in drawn])
    assert 30 < deviations.mean() < 65  # forty photographs: 53
    assert deviations.min() > 8
    assert 80 < np.mean([picture.mean() for picture in drawn]) < 150


def test_pictures_differ_from_each_other(drawn):
    thumbs = np.array([cv2.resize(p, (16, 16), interpolation=cv2.INTER_AREA).ravel() for p in drawn], float)
    correlation = np.corrcoef(thumbs)
    assert np.abs(correlation[np.triu_indices(len(drawn), 1)]).mean() < 0.5
    assert correlation[np.triu_indices(len(drawn), 1)].max() < 0.95


def test_a_look_alike_shares_the_things_but_no_geometry():
    """No affine map takes the things of the one to those of the other, and the pixels do not agree either."""
    moved, pixels = [], []
    for index in range(12):
        scene = scenes.scene(0, "references", index)
        other = scenes.look_alike(scene, runtime.generator("view", index))
        assert (scene.kind, scene.width, scene.height) == (other.kind, other.width, other.height)
        pairs = [
            ((a.x, a.y, 1), (b.x, b.y))
            for a in scene.things
            for b in other.things
            if a.outline is b.outline  # the same thing
        ]
        if len(pairs) >= 6:
            before, after = (np.array(side) for side in zip(*pairs))
            fit = before @ np.linalg.lstsq(before, after, rcond=None)[0]
            moved.append(np.linalg.norm(fit - after, axis=1).mean())
        first, second = scenes.render(scene, SIDE), scenes.render(other, SIDE)
        pixels.append(np.corrcoef(first.ravel(), second.ravel())[0, 1])
        assert first.shape == second.shape
    assert len(moved) >= 3
    assert min(moved) > 5  # units left over after the best affine map
    assert max(pixels) < 0.98


def test_faces_are_found_where_they_are_drawn():
    detector = import_face_recognition()
    found = []
    for index in range(120):
        scene = scenes.scene(0, "training", index)
        if scene.bust is not None:
            picture = through_file(scenes.render(scene, 256))
            boxes = detector.face_locations(np.ascontiguousarray(picture), 1, "hog")
            found.append(len(boxes) > 0)
    assert 5 <= len(found) <= 25
    assert np.mean(found) >= 0.9
    without = [scenes.scene(0, "training", i) for i in range(20)]
    without = [scenes.render(scene, 256) for scene in without if scene.bust is None]
    assert not any(detector.face_locations(picture, 1, "hog") for picture in without)


def test_photographs_stand_among_the_references():
    places = scenes.photograph_positions(0, 600)
    assert sorted(places.values()) == sorted(scenes.PHOTOGRAPHS)
    assert places == scenes.photograph_positions(0, 600) != scenes.photograph_positions(1, 600)
    assert len(scenes.photograph_positions(0, 20)) == 2
    for name in scenes.PHOTOGRAPHS:
        assert max(scenes.photograph(name, SIDE).shape[:2]) == SIDE
    with pytest.raises(InputError, match=r"nothing\.png"):
        scenes.load_photograph("nothing.png")


# ---------------------------------------------------------------- edits


@pytest.mark.parametrize("kind", edits.KINDS)
def test_an_edit_is_deterministic_and_changes_the_picture(kind):
    picture = source()
    kept = picture.copy()
    for trial in range(4):
        first, details = edits.edit(picture, kind, runtime.generator("edit", trial), foreign)
        second, again = edits.edit(picture, kind, runtime.generator("edit", trial), foreign)
        np.testing.assert_array_equal(first, second)
        assert details == again
        assert details["kind"] == kind
        assert len(details["then"]) in (0, 2)
        assert first.dtype == np.uint8
        assert first.ndim == 3
        assert first.shape != picture.shape or np.abs(first.astype(int) - picture).mean() > 1
    np.testing.assert_array_equal(picture, kept)  # the caller's picture is left alone


@pytest.mark.parametrize("kind", ["screenshot", "small"])
def test_pasted_copies_lie_where_the_details_say(kind):
    picture = source()
    for trial in range(4):
        edited, details = edits.KINDS[kind](picture, runtime.generator(trial), foreign)
        x0, y0, x1, y1 = details["box"]
        expected = cv2.resize(picture, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(edited[y0:y1, x0:x1], expected)
        if kind == "small":
            assert 0.27 < max(x1 - x0, y1 - y0) / max(edited.shape[:2]) < 0.35


def test_kept_share():
    """What the kinds promise about how much of the source is left."""
    picture, rng = source(), runtime.generator("share")
    area = picture.shape[0] * picture.shape[1]
    for _ in range(20):
        cut, details = edits.crop(picture, rng, foreign)
        x0, y0, x1, y1 = details["box"]
        np.testing.assert_array_equal(cut, picture[y0:y1, x0:x1])
        assert 0.24 < cut.shape[0] * cut.shape[1] / area < 0.41
        pasted, details = edits.emoji(picture, rng, foreign)
        assert 0.1 < (pasted == picture).all(axis=2).mean() < 0.98
    meme, details = edits.meme(picture, rng, foreign)
    assert any(np.array_equal(meme[y : y + len(picture)], picture) for y in range(len(meme) - len(picture) + 1))
    pair, details = edits.collage(picture, rng, foreign)
    h, w = picture.shape[:2]
    half = pair[:h, :w] if details["first"] else pair[-h:, -w:]
    np.testing.assert_array_equal(half, picture)
    np.testing.assert_array_equal(edits.mirror(picture, rng, foreign)[0][:, ::-1], picture)
    for kind, low, high in (("noise", 20, 60), ("blur", 1, 60), ("jpeg", 3, 40)):
        error = edits.KINDS[kind](picture, rng, foreign)[0].astype(float) - picture
        assert low < np.sqrt((error**2).mean()) < high


def test_rotation_keeps_every_corner():
    """A white picture on a black canvas has the same area after any turn."""
    white = np.full((90, 120, 3), 255, np.uint8)
    angles = set()
    for trial in range(12):
        turned, details = edits.rotation(white, runtime.generator("turn", trial), foreign)
        angles.add(details["degrees"])
        if details.get("fill", 0) == 0:
            assert turned.mean(axis=2).sum() / 255 == pytest.approx(90 * 120, rel=0.02)
    assert any(angle in (90, 180, 270) for angle in angles)
    assert all(angle in (90, 180, 270) or 10 <= abs(angle) <= 45 for angle in angles)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 2), (40, 30), (60, 300), (400, 40), (900, 1200)])
def test_edits_take_pictures_of_any_size(shape):
    picture = cv2.resize(source(), shape[::-1])
    for number, kind in enumerate(edits.KINDS):
        for trial in range(2):
            edited, _ = edits.edit(picture, kind, runtime.generator(number, trial), foreign)
            assert min(edited.shape[:2]) >= (5 if min(shape) > 5 else 1)


# ---------------------------------------------------------------- plans and files


def test_plan_of_the_sample():
    plan = queries.sample_queries(0, 120, 600)
    copies = [query for query in plan if query.source is not None]
    views = [query for query in plan if query.look_alike_of is not None]
    rest = [query for query in plan if query.unrelated is not None]
    assert (len(copies), len(views), len(rest)) == (60, 20, 40)
    assert {kind: sum(query.kind == kind for query in copies) for kind in edits.KINDS} == dict.fromkeys(edits.KINDS, 5)
    assert sum(query.kind is not None for query in rest) == 20
    assert all(query.kind is None for query in views)
    assert len({query.source for query in copies} | {query.look_alike_of for query in views}) == 80
    assert not {query.look_alike_of for query in views} & set(scenes.photograph_positions(0, 600))
    assert plan == queries.sample_queries(0, 120, 600) != queries.sample_queries(1, 120, 600)
    places = [number for number, query in enumerate(plan) if query.source is not None]
    assert 45 < np.mean(places) < 75  # shuffled


def test_plan_of_copies_spreads_the_sources():
    plan = queries.copy_queries(0, 24, 240, 10, 5)
    sources = np.sort([query.source for query in plan if query.source is not None])
    assert len(sources) == 24
    assert set(np.diff(sources)) == {10}
    assert sorted(q.kind for q in plan if q.source is not None) == sorted([*edits.KINDS] * 2)
    others = [query for query in plan if query.source is None]
    assert sum(query.kind is None for query in others) == 5
    assert {query.unrelated for query in others} == set(range(5))
    assert {q.source for q in queries.copy_queries(0, 30, 7)} == set(range(7))


def draw(folder, role, count, threads=1):
    command = [
        sys.executable,
        SCRIPTS / "draw_sample.py",
        "--role",
        role,
        "--count",
        count,
        "--references",
        16,
    ]
    command += ["--side", 64, "--output", folder / role, "--threads", threads]
    if role == "queries":
        command += ["--ground-truth", folder / "truth.csv", "--edits", folder / "edits.csv"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return {path.name: path.read_bytes() for path in (folder / role).iterdir()}


def test_draw_sample(tmp_path):
    (tmp_path / "again").mkdir()
    drawn = draw(tmp_path, "queries", 24)
    assert drawn == draw(tmp_path / "again", "queries", 24, threads=2)
    assert sorted(drawn) == [f"Q{i:05d}.jpg" for i in range(24)]
    references = draw(tmp_path, "references", 16)
    assert sorted(references) == [f"R{i:06d}.jpg" for i in range(16)]
    truth = pd.read_csv(tmp_path / "truth.csv", keep_default_na=False)
    listed = pd.read_csv(tmp_path / "edits.csv", keep_default_na=False)
    assert list(truth.columns) == ["query_id", "reference_id"]
    assert list(listed.columns) == ["query_id", "reference_id", "kind", "details", "look_alike_of"]
    assert truth.query_id.tolist() == listed.query_id.tolist() == [f"Q{i:05d}" for i in range(24)]
    copies = truth[truth.reference_id != ""]
    assert len(copies) == 12
    assert {f"{name}.jpg" for name in copies.reference_id} <= set(references)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    # The mirrored copy is about the mirrored file: queries and ground truth belong together.
    row = listed[(listed.kind == "mirror") & (listed.reference_id != "")].iloc[0]
    copy = imaging.load_image(tmp_path / "queries" / f"{row.query_id}.jpg")
    original = imaging.load_image(tmp_path / "references" / f"{row.reference_id}.jpg")[:, ::-1]
    copy = cv2.resize(copy, original.shape[1::-1])
    assert np.corrcoef(copy.ravel(), original.ravel())[0, 1] > 0.8


def test_an_aborted_folder_never_appears(tmp_path):
    with pytest.raises(KeyError), queries.whole_directory(tmp_path / "out") as folder:
        queries.save(source(), folder / "a.jpg")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_edit_copies(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    rows = []
    for index in range(6):
        path = tmp_path / "in" / f"P{index}.jpg"
        queries.save(source(index, 64), path)
        rows.append({"image_id": f"P{index}", "path": str(path), "width": 64, "height": 64})
    pd.DataFrame(rows[:4]).to_parquet(tmp_path / "sources.parquet")
    pd.DataFrame(rows[4:]).to_parquet(tmp_path / "others.parquet")
    arguments = ["--manifest", "sources.parquet", "--foreign", "others.parquet", "--copies", "12"]
    arguments += ["--without-source", "4", "--unrelated", "others.parquet", "--output", "out"]
    arguments += ["--ground-truth", "truth.csv", "--edits", "edits.csv"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["edit_copies.py", *arguments])
    edit_copies.main()
    truth = pd.read_csv("truth.csv", keep_default_na=False)
    assert truth.reference_id.value_counts().to_dict() == {"": 4, "P0": 3, "P1": 3, "P2": 3, "P3": 3}
    assert len(list(Path("out").glob("Q*.jpg"))) == 16
    listed = pd.read_csv("edits.csv", keep_default_na=False)
    assert listed[listed.reference_id != ""].kind.value_counts().to_dict() == dict.fromkeys(edits.KINDS, 1)
    first = (tmp_path / "out" / "Q00000.jpg").read_bytes()
    again = ["--mild", "1", "--draw", "pairs", "--pairs", "out/of/pairs.csv"]
    (tmp_path / "out" / "of").mkdir()
    monkeypatch.setattr(sys, "argv", ["edit_copies.py", *arguments, "--output", "others", *again])
    edit_copies.main()
    assert (tmp_path / "others" / "Q00000.jpg").read_bytes() != first
    details = pd.read_csv("edits.csv", keep_default_na=False)
    edited = details[details.kind != ""].details.map(json.loads)
    assert all(len(entry["then"]) == 2 for entry in edited)
    pairs = pd.read_csv("out/of/pairs.csv")
    copies = details[details.reference_id != ""]
    assert pairs["query"].tolist() == [f"../../others/{name}.jpg" for name in copies.query_id]
    assert pairs["reference"].tolist() == [f"../../in/{name}.jpg" for name in copies.reference_id]
    monkeypatch.setattr(sys, "argv", ["edit_copies.py", *arguments, "--manifest", "missing.parquet"])
    with pytest.raises(InputError, match=r"missing\.parquet"):
        edit_copies.main()
