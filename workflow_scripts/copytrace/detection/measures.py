"""How good a detector is on scenes: precision and recall of its boxes at an overlap of one half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from copytrace import metrics
from copytrace.detection.network import Detections
from copytrace.detection.scenes import CLASSES, Labelled

IOU = 0.5
CONFIDENCES = (0.1, 0.3, 0.5, 0.7, 0.9)  # at which both are given, beside the least
ROW = ("confidence", "found", "right", "precision", "recall")


def overlaps(boxes: NDArray, others: NDArray) -> NDArray[np.float64]:
    """Intersection over union of boxes [n, 4] and [m, 4], (x0, y0, x1, y1) with positive areas; [n, m]."""
    a, b = np.asarray(boxes, np.float64)[:, None], np.asarray(others, np.float64)[None]
    shared = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(axis=2)
    areas = [(c[..., 2:] - c[..., :2]).prod(axis=2) for c in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def match(found: Detections, truth: Labelled) -> NDArray[np.intp]:
    """Which true box each found one is: its number, or -1; no true box counts twice.

    The surest chooses first: of the true boxes of its class that are left, the one it overlaps most, if by `IOU`.
    """
    shared = overlaps(found.boxes, truth.boxes)
    shared[found.labels[:, None] != truth.labels[None]] = 0
    chosen = np.full(len(found.boxes), -1, np.intp)
    for row in range(len(chosen)):
        if shared.shape[1] and shared[row].max() >= IOU:
            chosen[row] = shared[row].argmax()
            shared[:, chosen[row]] = 0
    return chosen


def measure(found: Sequence[Detections], truths: Sequence[Labelled], least: float) -> dict[str, dict[str, Any]]:
    """What the detector is worth on some scenes, per class.

    Args:
        found: per scene, in its own pixels.
        truths: per scene.
        least: the confidence below which the detector keeps nothing.

    Returns:
        Per class {true: number of boxes, average_precision: area under precision over recall, at: rows}, where a
        row counts the boxes of at least that confidence: {confidence, found, right, precision, recall}. Precision is
        None where nothing is found; recall and average precision where there is nothing to find.
    """
    right = np.concatenate([match(f, t) >= 0 for f, t in zip(found, truths, strict=True)])
    confidence = np.concatenate([f.confidences for f in found])
    label = np.concatenate([f.labels for f in found])
    true = np.concatenate([t.labels for t in truths])
    classes = {}
    for number, name in enumerate(CLASSES):
        of_class, positives = label == number, int((true == number).sum())
        ap = metrics.micro_average_precision(confidence[of_class], right[of_class], positives) if positives else None
        rows = []
        for threshold in [least, *(c for c in CONFIDENCES if c > least)]:
            kept = of_class & (confidence >= threshold)
            count, hits = int(kept.sum()), int(right[kept].sum())
            shares = hits / count if count else None, hits / positives if positives else None
            rows.append(dict(zip(ROW, (threshold, count, hits, *shares), strict=True)))
        classes[name] = {"true": positives, "average_precision": ap, "at": rows}
    return classes
