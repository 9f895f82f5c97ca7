"""Faces in pictures, for the reference tiles and the face families (D²LV, sections 6.4.2 and 2.3).

Tiles that show faces match tiles that show other faces, so the published system drops all tile matches of
references with a face. Only their number per picture is needed, so only the detector runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from copytrace.compat import import_face_recognition
from copytrace.errors import InputError

MODELS = ("hog", "cnn")


@dataclass(frozen=True)
class FaceSettings:
    """The detector's settings; the defaults are the published ones (D²LV, section 6.4 of the fact sheet).

    Raises:
        InputError: for a `model` that does not exist.
    """

    model: str = "cnn"  # dlib's detectors: gradients and a linear classifier, or a network, much slower
    upsample: int = 1  # doublings of the picture before the search; each makes four pixels of one
    max_side: int | None = None  # longer pictures are searched at this size, pixels

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"faces.model is {self.model!r}, not one of {', '.join(MODELS)}.")


def count_faces(image: np.ndarray, settings: FaceSettings) -> int:
    """Number of faces that dlib finds through the package face_recognition.

    The smallest face found measures about 80 pixels in the searched picture, 40 after one doubling.

    Args:
        image: uint8 [height, width, 3], RGB.
        settings: see `FaceSettings`.
    """
    longer = max(image.shape[:2])
    if settings.max_side is not None and longer > settings.max_side:
        height, width = (max(1, round(side * settings.max_side / longer)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    locations = import_face_recognition().face_locations(
        np.ascontiguousarray(image), number_of_times_to_upsample=settings.upsample, model=settings.model
    )
    return len(locations)
