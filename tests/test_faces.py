"""Faces: one in a portrait, none in noise; the table that the script writes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data
from PIL import Image, ImageFile

from copytrace.errors import InputError
from copytrace.faces import FaceSettings, count_faces

SCRIPT = Path(__file__).parents[1] / "workflow_scripts" / "find_faces.py"
HOG = FaceSettings(model="hog", upsample=1, max_side=256)


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)


def test_a_portrait_has_a_face_and_noise_has_none(portrait, noise):
    assert count_faces(portrait, HOG) == 1
    assert count_faces(noise, HOG) == 0


def test_two_portraits_have_two_faces(portrait):
    face = portrait[32:242, 120:330]
    assert count_faces(np.hstack([face, face[:, ::-1]]), FaceSettings("hog", 1)) == 2


def test_the_network_finds_the_face_too(portrait):
    face = portrait[32:242, 120:330]
    assert count_faces(face, FaceSettings(model="cnn", upsample=0)) == 1


def test_size_counts(portrait):
    """A face of about 40 pixels needs one doubling."""
    assert count_faces(portrait, FaceSettings("hog", 0, 256)) == 0
    assert count_faces(portrait, FaceSettings("hog", 1, 100)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (9, 7)])
def test_the_smallest_pictures_pass(shape):
    assert count_faces(np.zeros((*shape, 3), np.uint8), HOG) == 0


def test_the_package_leaves_pillow_strict(portrait):
    count_faces(portrait, HOG)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_an_unknown_model_is_refused_by_name():
    with pytest.raises(InputError, match=r"faces.model is 'haar'"):
        FaceSettings(model="haar")


def test_script_writes_a_row_for_every_picture_of_its_shard(tmp_path, portrait, noise):
    pictures = {"a": noise, "b": portrait, "c": portrait[::-1]}
    for name, image in pictures.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    pd.DataFrame({"image_id": list(pictures), "path": [str(tmp_path / f"{n}.png") for n in pictures]}).to_parquet(
        tmp_path / "manifest.parquet"
    )
    command = [
        sys.executable, SCRIPT, "--manifest", tmp_path / "manifest.parquet", "--threads", "1",
        "--faces", json.dumps({"model": "hog", "upsample": 1, "max_side": 256, "shards": 3}),
        "--shard", "1", "--shards", "3", "--output", tmp_path / "faces.parquet",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "faces.parquet")
    assert table.to_dict("list") == {"image_id": ["b"], "faces": [1]}
