"""PDQ hashes beside the plain way: OpenCV's box filters over the whole picture, one hash for each orientation.

The authors' own code has no wheels and needs a compiler, so it is not measured here; the tests compare with
hashes that it made. The pictures are scenes of the built-in sample. All hashes must be the same.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import sys

import cv2
import numpy as np

from copytrace import pdq
from copytrace.sample import scenes


def main() -> None:
    """Read the arguments, draw scenes, hash them upright and in eight orientations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="pictures")
    parser.add_argument("--side", type=int, default=512, help="longer side in pixels")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    pictures = [scenes.render(scenes.scene(0, "references", index), args.side) for index in range(args.count)]

    print(f"{args.count} pictures, longer side {args.side} pixels, upright")
    upright = side_by_side.compare(
        {
            "copytrace": lambda: np.array([pdq.pdq_hash(picture)[0] for picture in pictures]),
            "whole-picture filters": lambda: np.array([plain_hash(picture) for picture in pictures]),
        },
        np.array_equal,
        args.count,
        "pictures",
        args.repeats,
    )
    print("The same in eight orientations")
    turned = side_by_side.compare(
        {
            "copytrace": lambda: np.array([pdq.dihedral_hashes(picture) for picture in pictures]),
            "eight hashes": lambda: np.array([eight_hashes(picture) for picture in pictures]),
            "eight times whole-picture filters": lambda: np.array([plain_hashes(picture) for picture in pictures]),
        },
        np.array_equal,
        args.count,
        "pictures",
        args.repeats,
    )
    sys.exit(not (upright and turned))


def orientations(picture: np.ndarray) -> list[np.ndarray]:
    """Four quarter turns counter-clockwise, and the same mirrored left to right."""
    turned = [np.rot90(picture, quarter) for quarter in range(4)]
    return turned + [view[:, ::-1] for view in turned]


def eight_hashes(picture: np.ndarray) -> np.ndarray:
    """The library's hash of every orientation, uint8 [8, 32]."""
    return np.array([pdq.pdq_hash(view)[0] for view in orientations(picture)])


def plain_hashes(picture: np.ndarray) -> np.ndarray:
    """The plain hash of every orientation, uint8 [8, 32]."""
    return np.array([plain_hash(view) for view in orientations(picture)])


def plain_hash(picture: np.ndarray) -> np.ndarray:
    """PDQ step by step as published: luminance, filters, samples, cosine transform, median; uint8 [32]."""
    luminance = (picture @ pdq.LUMINANCE).astype(np.float64)
    height, width = luminance.shape
    window = -(-width // 128), -(-height // 128)
    anchor = (window[0] - 1) // 2, (window[1] - 1) // 2
    inside = box_sums(np.ones_like(luminance), window, anchor)  # pixels of the box that lie in the picture
    for _ in range(2):
        luminance = box_sums(luminance, window, anchor) / inside
    place = np.arange(64) + 0.5
    samples = luminance[(place * height / 64).astype(int)][:, (place * width / 64).astype(int)]
    basis = np.cos(np.pi / 64 * np.arange(1, 17)[:, None] * place)
    transform = (basis @ samples @ basis.T).ravel()
    return np.packbits((transform > np.sort(transform)[127])[::-1])


def box_sums(values: np.ndarray, window: tuple[int, int], anchor: tuple[int, int]) -> np.ndarray:
    """Sums over a running box of (width, height) pixels, zero outside of the picture."""
    return cv2.boxFilter(values, -1, window, anchor=anchor, normalize=False, borderType=cv2.BORDER_CONSTANT)


if __name__ == "__main__":
    main()
