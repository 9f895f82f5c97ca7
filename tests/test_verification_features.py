"""Local features: what OpenCV says, mirrored pictures, pictures without any, and their files."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from copytrace import imaging, pdq
from copytrace.errors import InputError
from copytrace.sample import scenes
from copytrace.verification.feature_files import FeatureFiles, write_features
from copytrace.verification.features import (
    UNIT,
    FeatureSettings,
    extract,
    mirror_descriptors,
    mirror_geometry,
    root_sift,
)

SETTINGS = FeatureSettings()


def picture(number=0, side=320):
    return scenes.render(scenes.scene(0, "references", number), side)


def assert_equal_features(one, other):
    assert one.descriptors.dtype == other.descriptors.dtype == np.uint8
    assert one.geometry.dtype == other.geometry.dtype == np.float32
    for name in ("descriptors", "geometry", "grey", "hashes"):
        assert (getattr(one, name) == getattr(other, name)).all()
    assert (one.size, one.full_size) == (other.size, other.full_size)


def test_keypoints_are_opencv_s_half_of_them_the_strongest_half_spread():
    drawn = picture()
    grey = cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT.create(contrastThreshold=0.01, enable_precise_upscale=True)
    keypoints, vectors = sift.detectAndCompute(grey, None)
    assert len(keypoints) > 150
    features = extract(drawn, FeatureSettings(keypoints=100))
    assert len(np.unique(features.geometry, axis=0)) == 100
    chosen, turned = [], []
    for row, descriptor in zip(features.geometry, features.descriptors):
        own = [i for i, k in enumerate(keypoints) if np.allclose([*k.pt, k.size], row[:3], atol=1e-3)]
        off = [abs((row[3] - keypoints[i].angle) % 360) for i in own]
        number = own[int(np.argmin([min(a % 180, 180 - a % 180) for a in off]))]
        keypoint, vector = keypoints[number], vectors[number].astype(np.float64)
        dark = np.isclose((row[3] - keypoint.angle) % 360, 180, atol=1e-3)
        assert dark or np.isclose((row[3] - keypoint.angle + 1) % 360, 1, atol=1e-3)
        patch = vector.reshape(16, 8)[::-1].ravel() if dark else vector
        assert np.abs(descriptor / UNIT - np.sqrt(patch / patch.sum())).max() <= 0.5 / UNIT + 1e-6
        chosen.append(keypoint)
        turned.append(dark)
    assert 20 < sum(turned) < 80
    strongest = sorted(keypoints, key=lambda keypoint: -keypoint.response)
    height, width = grey.shape
    cells = {}
    for keypoint in strongest:
        cells.setdefault((keypoint.pt[0] * 4 // width, keypoint.pt[1] * 4 // height), []).append(keypoint)
    in_turn = [cell[turn] for turn in range(100) for cell in cells.values() if turn < len(cell)]
    by_place = {"strength": strongest, "spread": sorted(in_turn, key=lambda k: (turn_of(k, cells), -k.response))}
    for count in (2, 10, 40, 100):
        first = {(k.pt, k.size, k.response) for k in chosen[:count]}
        for order in by_place.values():
            assert {(k.pt, k.size, k.response) for k in order[: count // 2]} <= first
    assert chosen[0].response == strongest[0].response


def turn_of(keypoint, cells):
    """Which of its cell's keypoints one is, the strongest first."""
    return next(cell.index(keypoint) for cell in cells.values() if keypoint in cell)


def test_a_soft_picture_beside_a_hard_one_has_keypoints():
    """A quarter of the picture is soft; of the 400 strongest keypoints none lies there."""
    hard = np.tile(np.kron(np.indices((20, 20)).sum(axis=0) % 2, np.ones((8, 8))), (2, 2))
    noise = np.random.default_rng(0).normal(size=(320, 320))
    drawn = 128 + 100 * (hard - 0.5) + 20 * noise
    drawn[:160, :160] = 128 + 60 * cv2.GaussianBlur(noise[:160, :160], (0, 0), 2)
    features = extract(np.repeat(drawn.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), SETTINGS)
    soft = (features.geometry[:, :2] < 150).all(axis=1)
    assert len(soft) == 600 and soft.sum() > 60


def test_a_negative_has_the_same_features():
    """All but a few, which lie where two of SIFT's samples are alike."""
    drawn = picture(6)
    one, other = extract(drawn, SETTINGS), extract(255 - drawn, SETTINGS)
    places = {tuple(np.rint(row * 4).astype(int)): i for i, row in enumerate(other.geometry)}
    pairs = [(i, places.get(tuple(np.rint(row * 4).astype(int)))) for i, row in enumerate(one.geometry)]
    same = [(i, j) for i, j in pairs if j is not None]
    assert len(same) > 0.95 * len(pairs) > 100
    a, b = (f.descriptors[list(numbers)].astype(int) for f, numbers in zip((one, other), zip(*same)))
    assert np.abs(a - b).max(axis=1).mean() < 1


def test_keypoints_are_dark_where_blobs_are():
    """Discs on grey: the light ones are described as they are, the dark ones as in the negative."""
    x, y = np.meshgrid(np.arange(200.0), np.arange(100.0))
    light, dark = (np.clip(9 - np.hypot(x - centre, y - 50), 0, 1) for centre in (50, 150))
    slope = 0.3 * (x % 100)
    drawn = np.rint(90 + slope + 80 * light - 80 * dark).astype(np.uint8)
    keypoints = cv2.SIFT.create(contrastThreshold=0.01, enable_precise_upscale=True).detect(drawn)
    features = extract(np.dstack([drawn] * 3), FeatureSettings(grey_side=200))
    for centre, turned in ((50, 0), (150, 180)):
        near = [k for k in keypoints if np.hypot(k.pt[0] - centre, k.pt[1] - 50) < 2 and k.size > 8]
        rows = features.geometry[(np.abs(features.geometry[:, 0] - centre) < 2) & (features.geometry[:, 2] > 8)]
        assert near and sorted((k.angle + turned) % 360 for k in near) == pytest.approx(sorted(rows[:, 3]), abs=1e-3)


def test_root_sift_is_the_hellinger_kernel_and_zero_stays_zero():
    shares = np.array([[0] * 126 + [36, 64], [1] * 128, [0] * 128], np.float32)
    assert root_sift(shares)[0, -2:].tolist() == [255, 255]  # clipped: no patch has so few directions
    assert (root_sift(shares)[1] == round(UNIT * 128**-0.5)).all()
    assert not root_sift(shares)[2].any()


def test_larger_pictures_are_reduced_and_smaller_ones_left():
    features = extract(picture(side=500), SETTINGS)
    assert features.full_size == (500, 375) and features.size == (320, 240)
    assert features.grey.shape == (120, 160)
    assert features.geometry[:, :2].min() > 0 and 160 < features.geometry[:, :2].max() < 319
    small = extract(picture(side=100), SETTINGS)
    assert small.size == small.full_size == (100, 75) and small.grey.shape == (75, 100)


def test_the_same_on_more_threads():
    one = extract(picture(2), SETTINGS)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        for _ in range(3):
            assert_equal_features(extract(picture(2), SETTINGS), one)
    finally:
        cv2.setNumThreads(threads)


def mirror_error(original, mirrored):
    """Of each keypoint of the first, mirrored by permutation: distance to the nearest of the second, and the cosine."""
    geometry = mirror_geometry(original.geometry, original.size[0])
    angles = np.radians(geometry[:, None, 3] - mirrored.geometry[:, 3])
    apart = np.hypot(*(geometry[:, None, :2] - mirrored.geometry[:, :2]).transpose(2, 0, 1))
    apart += np.abs(geometry[:, None, 2] - mirrored.geometry[:, 2]) + 10 * (1 - np.cos(angles))
    nearest = apart.argmin(axis=1)
    ours = mirror_descriptors(original.descriptors).astype(np.float64)
    theirs = mirrored.descriptors[nearest].astype(np.float64)
    cosine = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return apart.min(axis=1), cosine


def test_mirrored_features_are_those_of_the_mirrored_picture():
    drawn = picture(3)[:, :301]  # odd and even widths are reduced to other places in SIFT's pyramid
    apart, cosine = mirror_error(extract(drawn, SETTINGS), extract(np.ascontiguousarray(drawn[:, ::-1]), SETTINGS))
    assert np.median(apart) < 0.01 and np.mean(apart < 1) > 0.9
    assert np.median(cosine) > 0.999 and np.mean(cosine > 0.95) > 0.9


def test_mirroring_twice_changes_nothing():
    features = extract(picture(4), SETTINGS)
    assert (mirror_descriptors(mirror_descriptors(features.descriptors)) == features.descriptors).all()
    assert (mirror_descriptors(features.descriptors) != features.descriptors).any(axis=1).all()
    twice = mirror_geometry(mirror_geometry(features.geometry, 320), 320)
    assert np.abs(twice - features.geometry).max() < 1e-4


@pytest.mark.skipif("COPYTRACE_PHOTOS" not in os.environ, reason="COPYTRACE_PHOTOS names no folder")
def test_photographs_mirrored_by_permutation():
    photos = sorted(Path(os.environ["COPYTRACE_PHOTOS"]).rglob("*.jpg"))[:8]
    assert photos
    errors = []
    for path in photos:
        photo = imaging.load_image(path)
        errors.append(mirror_error(extract(photo, SETTINGS), extract(np.ascontiguousarray(photo[:, ::-1]), SETTINGS)))
    apart, cosine = np.concatenate(errors, axis=1)
    assert np.median(apart) < 0.01 and np.median(cosine) > 0.999


HOSTILE = {
    "one pixel": np.zeros((1, 1, 3), np.uint8),
    "one colour": np.full((90, 120, 3), 200, np.uint8),
    "a line": np.random.default_rng(0).integers(0, 256, (1, 3000, 3), dtype=np.uint8),
    "tiny": np.random.default_rng(1).integers(0, 256, (4, 3, 3), dtype=np.uint8),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_pictures_without_content(name):
    features = extract(HOSTILE[name], SETTINGS)
    assert features.descriptors.shape == (0, 128) and features.geometry.shape == (0, 4)
    assert not features.hashes.any()
    assert features.grey.dtype == np.uint8 and min(features.grey.shape) >= 1
    assert mirror_descriptors(features.descriptors).shape == (0, 128)
    assert mirror_geometry(features.geometry, 1).shape == (0, 4)


def described(count):
    pictures = [picture(i, side) for i, side in zip(range(count), (96, 200, 64, 128))]
    return [extract(p, SETTINGS) for p in [*pictures, HOSTILE["one colour"], HOSTILE["one pixel"]]]


def test_files_give_back_what_was_written(tmp_path):
    features = described(3)
    names = ["ä", "b/c", "d", "e", "f"]
    write_features(tmp_path / "0.h5", names[:2], features[:2])
    write_features(tmp_path / "1.h5", [], [])
    write_features(tmp_path / "2.h5", names[2:], iter(features[2:]))
    files = FeatureFiles([str(tmp_path / f"{i}.h5") for i in range(3)])
    assert files.image_ids == names and len(files) == 5
    for row in (4, 0, 3, 1, 2):
        assert_equal_features(files[row], features[row])
    parts = list(files.first(50))
    assert len(parts) == 3
    descriptors, pictures = (np.concatenate(part) for part in zip(*parts))
    for row in range(5):
        assert (descriptors[pictures == row] == features[row].descriptors[:50]).all()
    assert len(descriptors) == sum(len(f.descriptors[:50]) for f in features)


def test_the_same_features_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_features(tmp_path / name, ["0", "1", "2", "3"], described(2))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_that_is_cut_off_is_named(tmp_path):
    path = tmp_path / "features.h5"
    write_features(path, ["0", "1", "2"], described(1))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"features\.h5 can't be read"):
        FeatureFiles([str(path)])


def test_pictures_and_names_must_be_as_many(tmp_path):
    with pytest.raises(ValueError, match="3 pictures are described, 2 are named"):
        write_features(tmp_path / "features.h5", ["0", "1"], described(1))
    assert not list(tmp_path.iterdir())


def test_hashes_are_those_of_pdq():
    drawn = picture(5)
    assert (extract(drawn, SETTINGS).hashes == pdq.dihedral_hashes(drawn)).all()
