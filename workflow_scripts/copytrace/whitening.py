"""PCA whitening of features, fitted on training pictures (D²LV sheet, 5.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from copytrace.errors import InputError


@dataclass(frozen=True)
class Whitening:
    """x → L2-normalised (x − mean) · matrix; `mean` float32 [d], `matrix` float32 [d, k]."""

    mean: np.ndarray
    matrix: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Features [n, d] → unit descriptors float32 [n, k]; a feature equal to the mean stays zero."""
        return unit_length((features.astype(np.float32) - self.mean) @ self.matrix)


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Rows of `vectors` [n, d], each divided by its L2 norm; a row of zeros stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, np.float32(1e-12))


def fit_whitening(features: np.ndarray, dimensions: int, power: float) -> Whitening:
    """Principal axes of `features` [n, d], each scaled by its variance to the `power` (−0.5: full whitening).

    Centred; the `dimensions` largest axes. Axes without variance (fewer pictures than dimensions, dead channels)
    are not blown up: variances count as at least 1e-6 of the largest. The sign of an axis is fixed by
    its largest entry, so that the same features give the same matrix everywhere. Raises InputError where `dimensions`
    exceeds d or n − 1.
    """
    n, d = features.shape
    if dimensions > min(d, n - 1):
        raise InputError(
            f"whitening.dimensions is {dimensions}, but must be less than the number of training pictures ({n}) and at "
            f"most the length of a feature ({d})"
        )
    x = features.astype(np.float64)
    mean = x.mean(axis=0)
    x -= mean
    variances, axes = np.linalg.eigh(x.T @ x / n)
    variances, axes = variances[::-1][:dimensions], axes[:, ::-1][:, :dimensions]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dimensions)])
    scale = np.maximum(variances, 1e-6 * max(variances[0], 1e-30)) ** power
    return Whitening(mean.astype(np.float32), (axes * scale).astype(np.float32))
