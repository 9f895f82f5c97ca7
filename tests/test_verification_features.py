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


def test_the_strongest_keypoints_of_opencv():
    drawn = picture()
    grey = cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)
    sift = cv2.SIFT.create(contrastThreshold=0.01, enable_precise_upscale=True)
    keypoints, vectors = sift.detectAndCompute(grey, None)
    assert len(keypoints) > 150
    response = {tuple(np.float32([*k.pt, k.size, k.angle])): k.response for k in keypoints}
    described = {tuple(np.float32([*k.pt, k.size, k.angle])): v for k, v in zip(keypoints, vectors)}
    features = extract(drawn, FeatureSettings(keypoints=100))
    found = [tuple(row) for row in features.geometry]
    assert len(set(found)) == 100
    responses = [response[keypoint] for keypoint in found]
    assert responses == sorted(response.values(), reverse=True)[:100]
    for keypoint, descriptor in zip(found, features.descriptors):
        vector = described[keypoint].astype(np.float64)
        assert np.abs(descriptor / UNIT - np.sqrt(vector / vector.sum())).max() <= 0.5 / UNIT + 1e-6


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
    parts = list(files.strongest(50))
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
