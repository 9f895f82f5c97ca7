"""The perceptual hash PDQ, the baseline that every learned descriptor has to beat.

From its published description ("The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm",
Facebook 2019): luminance, two passes of a box filter in each direction, 64 x 64 samples, the 16 x 16 lowest
frequencies of their cosine transform without the constant row and column, and one bit for each: is it above
the median?

Filtering and sampling are linear and act on rows and columns separately. Here they are therefore one sparse
matrix for each side: samples = R · luminance · Cᵀ.
"""

from __future__ import annotations

from functools import lru_cache

import faiss
import numpy as np
import pandas as pd
from scipy import sparse

SAMPLES = 64
FREQUENCIES = 16
HASH_BYTES = FREQUENCIES * FREQUENCIES // 8

# Smaller pictures have no hash: all bits are 0, and so is the quality.
MIN_SIDE = 5

# How much of the luminance is held in floating point at a time.
STRIP_PIXELS = 1_000_000

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def pdq_hash(image: np.ndarray) -> tuple[np.ndarray, int]:
    """PDQ hash of a picture, uint8 [height, width, 3]: (uint8 [32], quality from 0, flat, to 100).

    The bytes are those of the customary 64 hexadecimal digits: the highest frequency first.
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        return np.zeros(HASH_BYTES, np.uint8), 0
    samples = _samples(image, _filter_and_sample(height), _filter_and_sample(width))
    return _hashes(samples[None])[0], _quality(samples)


def dihedral_hashes(image: np.ndarray) -> np.ndarray:
    """PDQ hashes, uint8 [8, 32], of a picture's four rotations and their mirror images, in one pass over it.

    Row 4m + k is what `pdq_hash` gives for the picture turned by k quarter turns counter-clockwise (np.rot90)
    and then, if m is 1, mirrored left to right. The published short cut, changing signs in one transform,
    does not give that: an even box leans to one side, and hashes of turned photographs of 256 px are then 30
    to 45 bits off (medians of 20 photographs).
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        return np.zeros((8, HASH_BYTES), np.uint8)
    samples = _samples(image, _both_ways(height), _both_ways(width))
    (upright, mirrored), (flipped, reversed_) = (np.hsplit(half, 2) for half in np.vsplit(samples, 2))
    turned = [upright, mirrored.T, reversed_, flipped.T]
    turned_and_mirrored = [mirrored, reversed_.T, flipped, upright.T]
    return _hashes(np.stack(turned + turned_and_mirrored))


def _samples(image: np.ndarray, along_rows: sparse.csc_array, along_columns: sparse.csc_array) -> np.ndarray:
    """Luminance, 0 to 255, filtered and sampled by matrices [n, height] and [n, width]: float64 [n, n]."""
    height, width = image.shape[:2]
    rows = max(1, STRIP_PIXELS // width)
    reduced = np.zeros((along_rows.shape[0], width))
    for top in range(0, height, rows):
        reduced += along_rows[:, top : top + rows] @ (image[top : top + rows] @ LUMINANCE)
    return (along_columns @ reduced.T).T


@lru_cache(maxsize=64)
def _both_ways(side: int) -> sparse.csc_array:
    """Weights [128, side] of the samples of a picture and of the same picture from its far end."""
    forwards = _filter_and_sample(side)
    return sparse.csc_array(sparse.vstack([forwards, forwards[:, ::-1]]))


@lru_cache(maxsize=64)
def _filter_and_sample(side: int) -> sparse.csc_array:
    """Weights [64, side] of the samples: a box filter applied twice, at 64 evenly spaced places.

    The box spans ⌈side / 128⌉ pixels, half a sample; where it sticks out of the picture, the inside counts.
    An even one reaches one pixel further forwards.
    """
    window = -(-side // (2 * SAMPLES))
    place = np.arange(side)
    first = np.maximum(place - (window - 1) // 2, 0)
    last = np.minimum(place + window // 2, side - 1)
    counts = last - first + 1
    columns = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    box = sparse.csr_array(
        (np.repeat(1 / counts, counts), columns, np.concatenate([[0], np.cumsum(counts)])), shape=(side, side)
    )
    sampled = ((np.arange(SAMPLES) + 0.5) * side / SAMPLES).astype(int)
    return sparse.csc_array(box[sampled] @ box)


def _hashes(samples: np.ndarray) -> np.ndarray:
    """Hashes, uint8 [n, 32], of pictures [n, 64, 64]: which frequencies lie above their lower median."""
    frequency = np.arange(1, FREQUENCIES + 1)[:, None]
    place = np.arange(SAMPLES) + 0.5
    basis = np.cos(np.pi / SAMPLES * frequency * place)
    transform = (basis @ samples @ basis.T).reshape(len(samples), -1)
    middle = (transform.shape[1] - 1) // 2
    median = np.partition(transform, middle, axis=1)[:, middle, None]
    return np.packbits((transform > median)[:, ::-1], axis=1)


def _quality(samples: np.ndarray) -> int:
    """How much there is to hash: whole per cents of change between neighbours, sum / 90, at most 100."""
    changes = [np.trunc(np.diff(samples, axis=axis) * 100 / 255) for axis in (0, 1)]
    return min(100, int(sum(np.abs(change).sum() for change in changes) / 90))


def nearest(queries: np.ndarray, references: np.ndarray, k: int) -> pd.DataFrame:
    """The k references closest to each query, exactly: columns query, reference (row numbers) and distance.

    queries: uint8 [n, variants, 32]; the closest variant of a query counts. references: uint8 [m, 32].
    Distances are in bits, 0 to 256. Rows are sorted by query, then distance.
    """
    columns = ["query", "reference", "distance"]
    if not queries.size or not references.size:
        return pd.DataFrame(columns=columns, dtype=np.int64)
    index = faiss.IndexBinaryFlat(8 * HASH_BYTES)
    index.add(references)
    count, variants = queries.shape[:2]
    distance, reference = index.search(queries.reshape(-1, HASH_BYTES), min(k, len(references)))
    query = np.repeat(np.arange(count), variants * distance.shape[1])
    found = pd.DataFrame({"query": query, "reference": reference.ravel(), "distance": distance.ravel()})
    found = found.sort_values(["query", "distance", "reference"]).drop_duplicates(["query", "reference"])
    return found.groupby("query").head(k).reset_index(drop=True)[columns]
