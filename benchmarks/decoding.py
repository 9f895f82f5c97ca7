"""The picture loader beside Pillow (open, turn upright, convert, array), which must give the same pixels.

Takes a folder of RGB or grey pictures; without one, scenes of the built-in sample, drawn and written as the
sample's JPEGs. Transparent and 16-bit pictures, which Pillow's conversion treats otherwise, count as different.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from copytrace import imaging, manifests
from copytrace.sample import queries, scenes


def main() -> None:
    """Read the arguments, draw pictures if none are given, decode them in both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder of pictures; not given: the sample's scenes")
    parser.add_argument("--side", type=int, nargs="+", default=[256, 1024], help="longer sides of drawn scenes")
    parser.add_argument("--count", type=int, default=100, help="pictures, at most, for each side")
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()
    if args.pictures:
        listing, _ = manifests.list_pictures(args.pictures)
        sys.exit(not decode(listing["path"].tolist()[: args.count], args.repeats))
    equal = []
    for side in args.side:
        with tempfile.TemporaryDirectory() as folder:
            paths = [f"{folder}/{index}.jpg" for index in range(args.count)]
            for index, path in enumerate(paths):
                queries.save(scenes.render(scenes.scene(0, "references", index), side), Path(path))
            print(f"{args.count} drawn JPEGs, longer side {side} pixels")
            equal.append(decode(paths, args.repeats))
    sys.exit(not all(equal))


def decode(paths: list[str], repeats: int) -> bool:
    """Compare both ways on the pictures; whether all pixels are equal."""
    return side_by_side.compare(
        {
            "copytrace": lambda: [imaging.load_image(path) for path in paths],
            "Pillow": lambda: [load_with_pillow(path) for path in paths],
        },
        lambda ours, other: all(map(np.array_equal, ours, other)),
        len(paths),
        "pictures",
        repeats,
    )


def load_with_pillow(path: str) -> np.ndarray:
    """uint8 [height, width, 3], as most programs read a picture."""
    with Image.open(path) as picture:
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


if __name__ == "__main__":
    main()
