"""Selective search's regions beside the package selectivesearch, which must give the same; where our time goes.

Takes a folder of pictures; without one, scenes of the built-in sample, drawn and written as the sample's JPEGs.
Searched as `config.yaml` says, on one thread. Both use scikit-image's segmentation, whose rate is the limit.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import selectivesearch
import yaml
from skimage.segmentation import felzenszwalb

from copytrace import imaging, manifests
from copytrace.proposals import SearchSettings, find_regions, propose
from copytrace.sample import queries, scenes

CONFIGURATION = Path(__file__).resolve().parent.parent / "config.yaml"


def main() -> None:
    """Read the arguments, draw pictures if none are given, search them in both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder of pictures; not given: the sample's scenes")
    parser.add_argument("--count", type=int, default=30, help="pictures, at most")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    table = yaml.safe_load(CONFIGURATION.read_text())["parts"]["selective_search"]
    settings = SearchSettings.from_table(table)
    with tempfile.TemporaryDirectory() as folder:
        if args.pictures:
            listing, _ = manifests.list_pictures(args.pictures)
            paths = listing["path"].tolist()[: args.count]
        else:
            paths = [f"{folder}/{number}.jpg" for number in range(args.count)]
            for number, path in enumerate(paths):
                queries.save(scenes.render(scenes.scene(0, "queries", number), table["max_side"]), Path(path))
        searched = [shrink(imaging.load_image(path), table["max_side"]) for path in paths]
        print(f"{len(paths)} pictures, longer side at most {table['max_side']} pixels")
        search = (settings.scale, settings.sigma, round(settings.min_size))
        equal = side_by_side.compare(
            {
                "copytrace": lambda: [search_with_copytrace(image, *search) for image in searched],
                "selectivesearch": lambda: [search_with_package(image, *search) for image in searched],
            },
            lambda ours, other: all(map(np.array_equal, ours, other)),
            len(searched),
            "pictures",
            args.repeats,
        )
        print_shares(
            {
                "a query's proposals, from its file": lambda: [
                    propose(imaging.load_image(path), settings) for path in paths
                ],
                "decoding": lambda: [imaging.load_image(path) for path in paths],
                "regions": lambda: [find_regions(image, *search) for image in searched],
                "of these, segmentation": lambda: [felzenszwalb(image, *search) for image in searched],
            },
            len(paths),
            args.repeats,
        )
    sys.exit(not equal)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """A picture no longer than `side`, as `propose` makes it."""
    height, width = image.shape[:2]
    if max(height, width) <= side:
        return image
    shrunk = [max(1, round(length * side / max(height, width))) for length in (width, height)]
    return cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA)


def search_with_copytrace(image: np.ndarray, scale: float, sigma: float, min_size: int) -> np.ndarray:
    """Rows (x0, y0, x1, y1, size) of the regions."""
    boxes, sizes = find_regions(image, scale, sigma, min_size)
    return np.column_stack([boxes, sizes])


def search_with_package(image: np.ndarray, scale: float, sigma: float, min_size: int) -> np.ndarray:
    """The same of the package; its own rectangles are (x0, y0, width - 1, height - 1)."""
    with warnings.catch_warnings():
        # Once per picture; the package computes its texture from floats on purpose.
        warnings.filterwarnings("ignore", message="Applying `local_binary_pattern`")
        _, regions = selectivesearch.selective_search(image, scale, sigma, min_size)
    rows = np.array([(*region["rect"], region["size"]) for region in regions])
    rows[:, 2:4] += rows[:, :2] + 1
    return rows


def print_shares(steps: dict[str, Callable[[], object]], pictures: int, repeats: int) -> None:
    """Print each step's time for a picture and its share of the first one's, medians of `repeats` rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    whole, *_ = seconds.values()
    print("| | ms/picture | share |\n|---|---|---|")
    for name, measured in seconds.items():
        share = statistics.median(step / total for step, total in zip(measured, whole, strict=True))
        print(f"| {name} | {statistics.median(measured) / pictures * 1e3:.1f} | {share:.0%} |")


if __name__ == "__main__":
    main()
