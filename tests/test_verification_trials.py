"""Trial queries: who plays which part, what they look like, and which pictures are look-alikes."""

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.sample import jpeg, scenes
from copytrace.verification import calibration, edits, trials
from copytrace.verification.candidates import VoteSettings
from copytrace.verification.descriptor_index import IndexSettings, build
from copytrace.verification.features import FeatureSettings, extract
from copytrace.verification.trials import Trial

SETTINGS = FeatureSettings(keypoints=150, longer_side=160)


def table(*names):
    return pd.DataFrame({"image_id": names, "path": [f"/{name}.png" for name in names]})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of a scene, of a larger one, and of a foreign picture of one colour."""
    folder = tmp_path_factory.mktemp("files")
    pictures = {
        "scene": scenes.render(scenes.scene(0, "training", 0), 160),
        "large": cv2.resize(scenes.render(scenes.scene(0, "training", 1), 160), (1500, 900)),
        "foreign": np.full((90, 120, 3), (10, 200, 60), np.uint8),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    return {name: str(folder / f"{name}.png") for name in pictures}, pictures


def test_parts_are_disjoint_and_drawn_from_all_pictures():
    pictures = table(*(f"P{number}" for number in range(30)))
    sizes = {"one": 5, "two": 7, "three": 3}
    drawn = [trials.divide(pictures, sizes, runtime.generator("parts", seed)) for seed in range(100)]
    for parts in drawn:
        assert {name: len(part) for name, part in parts.items()} == sizes
        chosen = pd.concat(parts.values())
        assert chosen.image_id.is_unique
        assert (chosen.path == "/" + chosen.image_id + ".png").all()
    for name in sizes:
        assert len(set(pd.concat([parts[name] for parts in drawn]).image_id)) == 30
    whole = trials.divide(pictures, {"all": 30, "none": 0}, runtime.generator("parts"))
    assert set(whole["all"].image_id) == set(pictures.image_id) and whole["none"].empty


def test_too_few_pictures_are_refused():
    with pytest.raises(InputError, match=r"5 pictures are wanted \(one, two\), but there are only 4"):
        trials.divide(table(*"abcd"), {"one": 2, "two": 3}, runtime.generator("parts"))


def test_the_plan_names_each_picture_once_with_its_truth():
    originals = table(*(f"O{number}" for number in range(21)))
    plan = trials.plan(originals, table("N0", "N1"), table("L0"))
    assert len({trial.query_id for trial in plan}) == len(plan) == 24
    copies, rest = plan[:21], plan[21:]
    assert [(trial.reference_id, trial.role, trial.path) for trial in copies] == [
        (f"O{number}", "copy", f"/O{number}.png") for number in range(21)
    ]
    assert [trial.kind for trial in copies] == [*edits.KINDS, *edits.KINDS[:2]]
    assert [trial[1:] for trial in rest] == [
        ("", "negative", edits.KINDS[0], "/N0.png"), ("", "negative", edits.KINDS[1], "/N1.png"),
        ("", "look-alike", "", "/L0.png"),
    ]  # fmt: skip
    pairs = pd.DataFrame({"query_id": ["copy0003", "copy0003", "look_alike0000"], "reference_id": ["O3", "O4", "O5"]})
    labelled = calibration.label(pairs.assign(inliers=0, local_ncc=0.0), pd.DataFrame(plan))
    assert labelled["copy"].tolist() == [True, False, False]
    assert labelled.role.tolist() == ["copy", "copy", "look-alike"]


def test_a_trial_is_its_edit_as_a_jpeg_has_it(files):
    paths, pictures = files
    for kind in edits.KINDS:
        trial = Trial("copy0007", "scene", "copy", kind, paths["scene"])
        picture, known = trials.make(trial, [paths["foreign"]], 5)
        assert known is not None
        np.testing.assert_array_equal(picture, jpeg.through_file(known.picture))
        if kind not in ("collage", "small_paste", *edits.CHAINS):  # these draw foreign pictures, too
            alone = edits.copy(pictures["scene"], kind, runtime.generator(5, "copy0007"), lambda: pictures["foreign"])
            np.testing.assert_array_equal(known.picture, alone.picture)
        np.testing.assert_array_equal(picture, trials.make(trial, [paths["foreign"]], 5)[0])
    other = trials.make(trial._replace(query_id="copy0008"), [paths["foreign"]], 5)[0]
    assert not np.array_equal(other, picture)


def test_a_look_alike_stays_as_it_is(files):
    paths, pictures = files
    picture, known = trials.make(Trial("look_alike0000", "", "look-alike", "", paths["scene"]), [], 0)
    assert known is None
    np.testing.assert_array_equal(picture, pictures["scene"])


def test_a_large_picture_is_reduced_before_it_is_edited(files):
    paths, _ = files
    picture, _ = trials.make(Trial("negative0000", "", "negative", "inversion", paths["large"]), [paths["foreign"]], 0)
    assert picture.shape[:2] == (614, 1024)


def test_the_pictures_most_like_an_original_are_mined():
    """Of a pool of two views of originals, other scenes and a flat picture; brute force on the votes."""
    originals = [scenes.render(scenes.scene(0, "references", number), 160) for number in range(5)]
    pool = {f"scene{number}": scenes.render(scenes.scene(0, "training", number), 160) for number in range(5)}
    pool |= {"flat": np.full((60, 60, 3), 90, np.uint8), "part": originals[3][20:120, 30:130]}
    pool |= {"mirrored": originals[1][:, ::-1]}
    described = [extract(picture, SETTINGS) for picture in originals]
    index = build(
        lambda: ((d.descriptors, np.full(len(d.descriptors), n)) for n, d in enumerate(described)),
        IndexSettings("exact"),
    )
    votes = VoteSettings(keypoints=150, neighbours=5, candidates=1)
    features = [extract(np.ascontiguousarray(picture), SETTINGS) for picture in pool.values()]
    mined = trials.mine(table(*pool), features, index, votes, 7).image_id.tolist()
    assert set(mined[:2]) == {"part", "mirrored"}
    assert "flat" not in mined and len(mined) == 7
    assert trials.mine(table(*pool), features, index, votes, 2).image_id.tolist() == mined[:2]
    flat = [extract(pool["flat"], SETTINGS)] * 3
    assert trials.mine(table("a", "b", "c"), flat, index, votes, 2).image_id.tolist() == ["a", "b"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (400, 1), (4, 300), (2, 2)])
@pytest.mark.parametrize("kind", ["collage", "small_paste", "screenshot", "rotation", "three_edits"])
def test_copies_of_strips_and_dots_come_to_an_end(shape, kind):
    """However it is drawn, a strip covers little of what it is pasted on."""
    strip = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    made = edits.copy(strip, kind, runtime.generator("strip", shape, kind), lambda: np.full((30, 40, 3), 90, np.uint8))
    assert made.picture.dtype == np.uint8 and made.picture.ndim == 3 and min(made.picture.shape) > 0
