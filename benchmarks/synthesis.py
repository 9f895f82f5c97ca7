"""The two edits of AugLy that are written anew beside AugLy's own, with its constant noise, so that they agree.

They were not replaced for their speed (AugLy moves the same corners and the same pixels in every picture); this
shows what the replacement costs or saves. The other edits call AugLy or Pillow and have nothing to be compared
with. The pictures are scenes of the built-in sample.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import sys

import numpy as np
from PIL import Image

from copytrace import runtime
from copytrace.sample import scenes
from copytrace.synthesis.operations import Faithful, Scene, augly, perspective, pixel_shuffling

FRACTION = 0.3
SIGMA = 20.0


def main() -> None:
    """Read the arguments, draw scenes, edit them in both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30, help="pictures")
    parser.add_argument("--side", type=int, default=256, help="longer side in pixels")
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()
    drawn = [scenes.render(scenes.scene(0, "references", index), args.side) for index in range(args.count)]
    pictures = [Image.fromarray(picture) for picture in drawn]
    rng = runtime.generator("synthesis")
    scene = Scene(args.side, 1.0, lambda _: pictures[0], faithful=Faithful(constant_noise=True))

    print(f"pixel shuffling, {args.count} pictures, longer side {args.side} pixels")
    shuffled = side_by_side.compare(
        {
            "copytrace": lambda: [pixel_shuffling(p, rng, scene, fraction=(FRACTION, FRACTION)) for p in pictures],
            "AugLy": lambda: [augly.shuffle_pixels(p, factor=FRACTION) for p in pictures],
        },
        lambda ours, other: largest_mean_difference(ours, other) == 0,
        args.count,
        "pictures",
        args.repeats,
    )
    print("perspective; equal: pixels differ by less than 0.05 of 255 levels on average, in every picture")
    moved = side_by_side.compare(
        {
            "copytrace": lambda: [perspective(p, rng, scene, sigma=(SIGMA, SIGMA)) for p in pictures],
            "AugLy": lambda: [augly.perspective_transform(p, sigma=SIGMA, seed=42) for p in pictures],
        },
        lambda ours, other: largest_mean_difference(ours, other) < 0.05,
        args.count,
        "pictures",
        args.repeats,
    )
    sys.exit(not (shuffled and moved))


def largest_mean_difference(ours: list[Image.Image], other: list[Image.Image]) -> float:
    """Mean absolute difference of the pixels, 0 to 255, of the pair of pictures where it is largest."""
    pairs = zip(ours, other, strict=True)
    return max(float(np.abs(np.asarray(a, np.float64) - np.asarray(b)).mean()) for a, b in pairs)


if __name__ == "__main__":
    main()
