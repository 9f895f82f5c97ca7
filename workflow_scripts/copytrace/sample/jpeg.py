"""Pictures as JPEG files have them: uint8 RGB [height, width, 3]."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

#: Of the sample's files.
QUALITY = 92


def encode(picture: NDArray[np.uint8], quality: int = QUALITY) -> bytes:
    """The bytes of a JPEG."""
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def through_file(picture: NDArray[np.uint8], quality: int = QUALITY) -> NDArray[np.uint8]:
    """The picture as it comes back from its file, without the file."""
    data = np.frombuffer(encode(picture, quality), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]  # type: ignore[index, return-value]
