"""Feature files: the local features of a shard of pictures on disk (HDF5).

Pictures differ in their number of keypoints and in size: `descriptors` [N, 128], `geometry` [N, 4] and `grey` [P] hold
those of all pictures one after the other, and picture i has rows `first_keypoint[i]` to `first_keypoint[i + 1]` and
pixels `first_pixel[i]` to `first_pixel[i + 1]`. `image_ids` [n], `sizes` [n, 6] (width and height of the keypoints'
frame, of the picture, of `grey`) and `hashes` [n, 8, 32] have a row for each picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from copytrace import pdq
from copytrace.descriptor_files import new_file, open_descriptors
from copytrace.verification.features import DIMENSIONS, Features


def write_features(path: str | Path, image_ids: Sequence[str], features: Iterable[Features]) -> None:
    """Write the features of pictures, one for each of `image_ids`, in this order; they are held one at a time."""
    with new_file(path) as file:
        file.create_dataset("image_ids", data=list(image_ids), dtype=h5py.string_dtype())
        descriptors = _growing(file, "descriptors", np.uint8, DIMENSIONS)
        geometry = _growing(file, "geometry", np.float32, 4)
        grey = _growing(file, "grey", np.uint8)
        keypoints, pixels, sizes, hashes = [0], [0], [], []
        for picture in features:
            _append(descriptors, picture.descriptors)
            _append(geometry, picture.geometry)
            _append(grey, picture.grey.ravel())
            keypoints.append(len(descriptors))
            pixels.append(len(grey))
            sizes.append((*picture.size, *picture.full_size, *picture.grey.shape[::-1]))
            hashes.append(picture.hashes)
        if len(sizes) != len(image_ids):
            raise ValueError(f"{len(sizes)} pictures are described, {len(image_ids)} are named")
        file["first_keypoint"] = np.array(keypoints, np.int64)
        file["first_pixel"] = np.array(pixels, np.int64)
        file["sizes"] = np.array(sizes, np.int32).reshape(-1, 6)
        file["hashes"] = np.array(hashes, np.uint8).reshape(-1, 8, pdq.HASH_BYTES)


def _growing(file: h5py.File, name: str, kind: type, *shape: int) -> h5py.Dataset:
    """A dataset of rows to come, in pieces of about 64,000 values."""
    pieces = (2**16 // max(shape, default=1), *shape)
    return file.create_dataset(name, (0, *shape), kind, maxshape=(None, *shape), chunks=pieces)


def _append(dataset: h5py.Dataset, rows: np.ndarray) -> None:
    dataset.resize(len(dataset) + len(rows), axis=0)
    dataset[len(dataset) - len(rows) :] = rows


class FeatureFiles:
    """The features of all pictures of some files, read picture by picture when they are asked for.

    Raises InputError, naming the file, for one that is cut off. Keeps the files open and an offset for each picture;
    a picture is 160 kB (600 keypoints, a grey picture of 160 x 120 pixels).
    """

    def __init__(self, paths: Sequence[str]):
        self._files = [open_descriptors(path) for path in paths]
        self.image_ids = [image_id for file in self._files for image_id in file["image_ids"].asstr()[:]]
        self._keypoints = [file["first_keypoint"][:] for file in self._files]
        self._pixels = [file["first_pixel"][:] for file in self._files]
        self._first = np.cumsum([0, *(len(first) - 1 for first in self._keypoints)])  # picture of each file, and n

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, picture: int) -> Features:
        number = np.searchsorted(self._first, picture, side="right") - 1
        file, row = self._files[number], picture - self._first[number]
        keypoints = slice(*self._keypoints[number][row : row + 2])
        pixels = slice(*self._pixels[number][row : row + 2])
        width, height, full_width, full_height, grey_width, grey_height = file["sizes"][row].tolist()
        return Features(
            file["descriptors"][keypoints],
            file["geometry"][keypoints],
            (width, height),
            (full_width, full_height),
            file["grey"][pixels].reshape(grey_height, grey_width),
            file["hashes"][row],
        )

    def first(self, keypoints: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each file the descriptors of every picture's first keypoints, uint8 [·, 128], and their pictures.

        A picture is its row among all pictures, int64 [·]. One file's descriptors are held at a time.
        """
        for file, first_keypoint, first in zip(self._files, self._keypoints, self._first):
            picture = np.repeat(np.arange(len(first_keypoint) - 1), np.diff(first_keypoint))
            kept = np.arange(len(picture)) - first_keypoint[picture] < keypoints
            yield file["descriptors"][:][kept], picture[kept] + first
