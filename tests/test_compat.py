"""Work-arounds: each acts only where needed and does what it says."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile

from copytrace import compat


def in_a_new_process(code):
    """Standard output of `code` in a Python of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torchvision_imports_and_suppresses():
    how = compat.ensure_torchvision()
    assert how in ("native", "shim")
    assert compat.ensure_torchvision() == how
    import torch
    import torchvision

    corners = torch.rand(60, 2, generator=torch.Generator().manual_seed(0)) * 80
    boxes = torch.cat([corners, corners + 30], dim=1)
    scores = torch.linspace(0, 1, 60)
    kept = torchvision.ops.nms(boxes, scores, 0.4)
    # The definition: best first; dropped is exactly what overlaps a better kept one by more than 0.4.
    overlap = torchvision.ops.box_iou(boxes, boxes)
    expected = []
    for i in reversed(range(60)):
        if all(overlap[i, j] <= 0.4 for j in expected):
            expected.append(i)
    assert 1 < len(expected) < 60
    assert kept.tolist() == expected


def test_nms_of_the_shim_takes_nothing_and_everything():
    import torch

    assert compat._nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []
    same = torch.tensor([[0.0, 0, 10, 10]]).repeat(3, 1)
    assert compat._nms(same, torch.tensor([0.1, 0.9, 0.5]), 0.5).tolist() == [1]
    assert compat._nms(same, torch.tensor([0.1, 0.9, 0.5]), 1.0).tolist() == [1, 2, 0]


def test_a_cuda_build_of_torch_gets_no_shim():
    code = """
import sys, torch
torch.version.cuda = "13.0"
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
sys.meta_path.insert(0, Broken())
from copytrace import compat
try:
    compat.ensure_torchvision()
except RuntimeError as failure:
    print(failure)
"""
    assert "torchvision::nms" in in_a_new_process(PATH + code)


PATH = f"import sys; sys.path.insert(0, {str(compat.__file__).removesuffix('/copytrace/compat.py')!r})\n"


def test_augly_runs_on_this_numpy_and_pillow():
    augly = compat.ensure_augly()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8))
    moved = augly.perspective_transform(picture, sigma=10.0)
    assert moved.size == picture.size
    meme = augly.meme_format(picture, text="two\nlines", caption_height=60)
    assert meme.size == (120, 140)
    caption = np.asarray(meme)[:60]
    assert 0 < (caption < 128).mean() < 0.5  # dark letters on white


def test_augly_work_arounds_leave_what_exists_alone():
    code = """
import numpy
from PIL import ImageFont
numpy.float = "mine"
ImageFont.FreeTypeFont.getsize_multiline = "mine"
from copytrace import compat
compat.ensure_augly()
print(numpy.float, ImageFont.FreeTypeFont.getsize_multiline)
"""
    assert in_a_new_process(PATH + code).split() == ["mine", "mine"]


def test_face_recognition_leaves_pillow_and_the_log_alone():
    code = """
import warnings
from PIL import ImageFile
warnings.simplefilter("error")
from copytrace import compat
module = compat.import_face_recognition()
print(module.__name__, ImageFile.LOAD_TRUNCATED_IMAGES)
"""
    assert in_a_new_process(PATH + code).split() == ["face_recognition", "False"]


def test_face_recognition_without_pkg_resources_is_an_import_error():
    code = """
import sys
sys.modules["pkg_resources"] = None
from copytrace import compat
try:
    compat.import_face_recognition()
except ImportError as failure:
    print(failure)
"""
    printed = in_a_new_process(PATH + code).strip()
    assert printed.startswith("face_recognition cannot load face_recognition_models")
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize("setting", [True, False])
def test_a_users_own_setting_survives(monkeypatch, setting):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", setting)
    with warnings.catch_warnings():
        compat.import_face_recognition()
    assert ImageFile.LOAD_TRUNCATED_IMAGES is setting
