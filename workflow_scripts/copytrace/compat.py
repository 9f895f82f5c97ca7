"""Work-arounds for defects of libraries, each with the condition under which it can go.

Only modules that use one of these libraries import this one, so table scripts stay light. Nothing is changed
where the library works as it is.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# torch.library.Library unregisters its operators when it is collected: this keeps them.
_operators: Any = None


def ensure_torchvision() -> str:
    """Import torchvision, also where its operators cannot load; to be called before timm is imported, too.

    torchvision's wheel is built for CUDA: beside a CPU build of torch its operators do not load, and the
    import fails because `torchvision::nms` does not exist. There, `nms` is given in Python, which is all
    that an import needs; `roi_pool`, `deform_conv2d` and `torchvision.io` stay unavailable.

    Can go when the package index has a torchvision whose import does not need libtorch_cuda.so.

    Returns:
        "native" where torchvision works by itself, "shim" where this function helped.

    Raises:
        RuntimeError: torchvision's own, if torch is a CUDA build: then the versions do not match, and a slow
            stand-in would only hide it.
    """
    global _operators
    if _operators is not None:
        return "shim"
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError as failure:
        if "operator torchvision::" not in str(failure) or torch.version.cuda is not None:
            raise
    else:
        return "native"
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _operators = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        _operators.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _operators.impl("nms", _nms, "CPU")
    extension: Any = importlib.import_module("torchvision.extension")
    extension._has_ops = lambda: True
    return "shim"


def _nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression, [n, 4] corners and [n] scores to the kept rows, best first."""
    import torch

    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    alive = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if alive[i]:
            low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
            high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
            shared = (high - low).clamp(min=0).prod(dim=1)
            alive[i + 1 :] &= shared / (area[i] + area[i + 1 :] - shared) <= iou_threshold
    return order[alive]


def ensure_augly() -> ModuleType:
    """Import AugLy 1.0.0 (its last release, 2022) on current NumPy and Pillow; returns `augly.image`.

    * `np.float`, gone since NumPy 1.24, is used by its perspective transform.
    * `FreeTypeFont.getsize_multiline`, gone since Pillow 10, is used by its meme format.
    * It loads the system's libmagic; pylibmagic, imported first, brings one.

    Beware: AugLy draws the default text of `overlay_text` from `random` while it is imported, and resets
    NumPy's global generator in `shuffle_pixels` and `random_noise`: pass `text=` always, and do not use the
    latter two.

    Can go with AugLy itself, or with a release of it that runs on NumPy 2 and Pillow 12.
    """
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    if not hasattr(np, "float"):
        setattr(np, "float", float)  # noqa: B010  (an attribute that NumPy's stubs do not know)

    def getsize_multiline(font: Any, text: str, **options: Any) -> tuple[int, int]:
        box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font=font, **options)
        return int(box[2]), int(box[3])

    if not hasattr(ImageFont.FreeTypeFont, "getsize_multiline"):
        setattr(ImageFont.FreeTypeFont, "getsize_multiline", getsize_multiline)  # noqa: B010
    importlib.import_module("pylibmagic")
    return importlib.import_module("augly.image")


def import_face_recognition() -> ModuleType:
    """Import face_recognition 1.3.0 without what it does to the process; returns the module.

    * It sets `ImageFile.LOAD_TRUNCATED_IMAGES`, so that every later reader would accept broken files: put
      back.
    * Its models find their files through pkg_resources: the deprecation warning is silenced, and where
      pkg_resources is missing (setuptools 82 and newer) the `quit()` by which it would end the process
      becomes an ImportError.

    Can go when face_recognition_models no longer imports pkg_resources and face_recognition leaves Pillow
    alone.

    Raises:
        ImportError: face_recognition, dlib, the models or pkg_resources are missing.
    """
    from PIL import ImageFile

    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        # It prints an advice that does not fit before it quits.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*pkg_resources")
            return importlib.import_module("face_recognition")
    except SystemExit as failure:
        raise ImportError(
            "face_recognition cannot load face_recognition_models: install it with 'setuptools<82', "
            "which still has pkg_resources (pip install -r requirements.txt does)"
        ) from failure
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
