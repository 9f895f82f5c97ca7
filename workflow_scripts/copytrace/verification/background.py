"""How common a local feature is: its distance to the nearest one of unrelated pictures and overlays (section 6).

Captions, emoji and the frames of screenshots recur in pictures that have nothing else in common. An index of
descriptors (`descriptor_index`) of some hundred unrelated pictures, and of the overlays that people use, tells them.
"""

from __future__ import annotations

from dataclasses import replace

import faiss
import numpy as np

from copytrace.verification.descriptor_index import IndexSettings, build, search
from copytrace.verification.feature_files import FeatureFiles
from copytrace.verification.features import Features, FeatureSettings, extract
from copytrace.verification.matching import both_orientations
from copytrace.verification.overlays import overlays


def build_background(unrelated: FeatureFiles, features: FeatureSettings, settings: IndexSettings) -> faiss.Index:
    """The index of all keypoints of unrelated pictures and of `overlays`; `ivf_sq8` for `ivf_pq`.

    Its distances are weights, which a product quantiser's are too rough for, and it stays small.
    """
    pages = [extract(page, features).descriptors for page in overlays()]
    laid_over = np.concatenate(pages), np.repeat(len(unrelated) + np.arange(len(pages)), list(map(len, pages)))
    if settings.kind == "ivf_pq":
        settings = replace(settings, kind="ivf_sq8")
    return build(lambda: [*unrelated.first(features.keypoints), laid_over], settings)


def squared_distances(index: faiss.Index, query: Features) -> np.ndarray:
    """Of each of a query's keypoints, as it is and mirrored, the squared distance to its nearest: float64 [2, n].

    In the unit of the stored descriptors, 1 / 512; infinite where the lists that were searched are empty.
    """
    descriptors = both_orientations(query)
    squared, _ = search(index, descriptors.reshape(-1, descriptors.shape[2]), 1)
    return squared.reshape(descriptors.shape[:2]).astype(np.float64)
