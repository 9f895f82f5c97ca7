"""Detections as a table: one row per box, in the pixels of the pictures that the user gave."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from copytrace.detection.network import Detections
from copytrace.detection.scenes import CLASSES


def detections_table(found: Sequence[Detections], image_ids: pd.Series) -> pd.DataFrame:
    """What was found in some pictures; the picture's boxes of both classes are ranked together, as published.

    Args:
        found: per picture, the surest first.
        image_ids: of the pictures.

    Returns:
        Columns `image_id`, `rank` (int16), `class`, `confidence` (float32), `x0, y0, x1, y1` (float64, pixels of the
        picture).
    """
    counts = [len(one.boxes) for one in found]
    x0, y0, x1, y1 = np.concatenate([np.empty((0, 4)), *(one.boxes for one in found)]).T
    labels = np.concatenate([np.empty(0, np.int64), *(one.labels for one in found)])
    return pd.DataFrame(
        {
            "image_id": image_ids.array.take(np.repeat(np.arange(len(found)), counts)),
            "rank": np.concatenate([np.empty(0), *map(np.arange, counts)]).astype(np.int16),
            "class": pd.array(CLASSES, dtype="str").take(labels),
            "confidence": np.concatenate([np.empty(0, np.float32), *(one.confidences for one in found)]),
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
        }
    )
