"""Locating references in queries beside OpenCV: the same features, the same pairs, its matcher and its RANSAC.

Copies are made with a known homography, so that it is known who finds them, and where; as many pairs are of pictures
that have nothing in common. All ways try both orientations. The transforms must agree with OpenCV's where it is right.
"""

import side_by_side  # first: it sets the threads and finds the library

# isort: split

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from copytrace import manifests, runtime
from copytrace.imaging import load_image
from copytrace.sample import scenes
from copytrace.verification import alignment, features, geometry, matching
from copytrace.verification.features import Features
from copytrace.verification.frames import corners, project
from copytrace.verification.geometry import Geometry
from copytrace.verification.matching import Matches, Query

SIDE = 320
LOCATED = 0.05  # of the query's longer side: how far the corners may be off
AGREE = 0.9  # of the copies that OpenCV locates

Way = Callable[[], list[Geometry | None]]


class Pair(NamedTuple):
    """A query and a reference, and where it lies in it: [3, 3], or None."""

    query: Features
    reference: Features
    prepared: Query
    truth: np.ndarray | None
    kind: str


def main() -> None:
    """Read the arguments, make the pairs, locate them in all ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, help="folder of pictures; the sample's scenes where not given")
    parser.add_argument("--pairs", type=int, default=120, help="copies, and as many other pairs")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    runtime.set_threads(side_by_side.THREADS)
    pairs = make_pairs(args.photographs, args.pairs)
    print(f"{args.pairs} copies and {args.pairs} other pairs, at most {SIDE} pixels\n")

    ways: dict[str, Way] = {
        "copytrace": lambda: [geometry.locate(p.prepared, p.reference, p.query.size) for p in pairs],
        "our matches, OpenCV's affine RANSAC": lambda: [in_both(p, matching.match, affine_ransac) for p in pairs],
        "OpenCV's matches, its homography RANSAC": lambda: [in_both(p, plain_match, homography) for p in pairs],
    }
    passed = side_by_side.compare(
        ways, lambda ours, other: agree(pairs, ours, other), len(pairs), "pairs", args.repeats
    )
    print_quality(pairs, {name: way() for name, way in ways.items()})
    print_cost(pairs, args.repeats)
    sys.exit(not passed)


# ---------------------------------------------------------------- pairs


def make_pairs(folder: Path | None, count: int) -> list[Pair]:
    """`count` copies of pictures in all kinds of edits, and as many of them beside references they don't come from."""
    pictures = load_pictures(folder, 2 * count + 1)
    settings = features.FeatureSettings(longer_side=SIDE)
    described = [features.extract(picture, settings) for picture in pictures[:count]]
    copies = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        rng = runtime.generator("verification", number)
        height, width = pictures[number].shape[:2]
        truth = KINDS[kind](rng, width, height)
        ground = cv2.resize(pictures[count + number], (width, height), interpolation=cv2.INTER_AREA)
        query = features.extract(lay_over(pictures[number], truth, ground), settings)
        prepared = matching.prepare_query(query, np.full((2, len(query.geometry)), np.inf))
        copies.append(Pair(query, described[number], prepared, truth, kind))
    others = [copies[i]._replace(reference=described[(i + 1) % count], truth=None) for i in range(count)]
    return copies + others


def load_pictures(folder: Path | None, count: int) -> list[np.ndarray]:
    """Pictures, uint8 [height, width, 3], longer side at most `SIDE`, drawn or from a folder, evenly over its paths."""
    if folder is None:
        return [scenes.render(scenes.scene(0, "references", i), SIDE) for i in range(count)]
    paths = manifests.list_pictures(folder.resolve())[0].path
    if len(paths) < count:
        sys.exit(f"{folder} has {len(paths)} pictures, and {count} are needed")
    chosen = runtime.generator("verification pictures").permutation(len(paths))[:count]
    loaded = (load_image(paths.iloc[i]) for i in chosen)
    return [cv2.resize(p, None, fx=s, fy=s) if (s := SIDE / max(p.shape[:2])) < 1 else p for p in loaded]


def lay_over(picture: np.ndarray, transform: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The picture under a transform, on the ground, both as a JPEG of quality 60 leaves them."""
    size = ground.shape[1::-1]
    shrink = np.sqrt(abs(np.linalg.det(transform[:2, :2])))
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.4 / shrink) if shrink < 0.8 else picture
    laid = cv2.warpPerspective(blurred, transform, size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpPerspective(np.full(picture.shape[:2], 255, np.uint8), transform, size) > 254
    _, data = cv2.imencode(".jpg", np.where(mask[..., None], laid, ground), [cv2.IMWRITE_JPEG_QUALITY, 60])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[return-value]


def similarity(degrees: float, scale: float, width: int, height: int, x: float = 0, y: float = 0) -> np.ndarray:
    """Turned and scaled about the middle, then shifted: [3, 3]."""
    matrix = np.vstack([cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, scale), [0, 0, 1]])
    matrix[:2, 2] += x, y
    return matrix


def crop(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A detail of a quarter to a half of the area, enlarged to the frame."""
    scale = 1 / np.sqrt(rng.uniform(0.25, 0.5))
    free = (scale - 1) / 2 * np.array([width, height])
    return similarity(0, scale, width, height, *rng.uniform(-free, free))


def turn(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """10 to 170 degrees either way, a little smaller."""
    return similarity(rng.choice([-1, 1]) * rng.uniform(10, 170), rng.uniform(0.6, 1), width, height)


def paste(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A copy of 30 to 50 % of the side somewhere in another picture."""
    scale = rng.uniform(0.3, 0.5)
    free = (1 - scale) / 2 * np.array([width, height])
    return similarity(rng.uniform(-15, 15), scale, width, height, *rng.uniform(-free, free))


def stretch(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Up to one and a half times as wide or as high."""
    return similarity(0, 0.8, width, height) @ np.diag([rng.uniform(0.7, 1.2), rng.uniform(0.7, 1.2), 1])


def perspective(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """The corners moved by up to 15 % of the sides."""
    frame = corners((width, height)).astype(np.float32)
    moved = frame + rng.uniform(-0.15, 0.15, (4, 2)) * (width, height)
    return cv2.getPerspectiveTransform(frame, moved.astype(np.float32))


def mirror(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Mirrored, turned a little."""
    flip = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])
    return similarity(rng.uniform(-20, 20), 0.8, width, height) @ flip


KINDS = {"crop": crop, "turn": turn, "paste": paste, "stretch": stretch, "perspective": perspective, "mirror": mirror}

# ---------------------------------------------------------------- OpenCV


def in_both(
    pair: Pair,
    match: Callable[[Query, Features], Sequence[Matches]],
    fit: Callable[[np.ndarray, np.ndarray, float], tuple[Any, Any]],
) -> Geometry | None:
    """The orientation in which a fit of OpenCV finds more inliers, as `geometry.locate` gives it."""
    width = pair.query.size[0]
    flip = np.array([[-1.0, 0, width - 1], [0, 1, 0], [0, 0, 1]])
    found = []
    for mirrored, matches in zip((False, True), match(pair.prepared, pair.reference)):
        query, reference = (np.ascontiguousarray(side[:, :2]) for side in (matches.query, matches.reference))
        if len(query) < 4:
            continue
        matrix, mask = fit(reference, query, max(3.0, 0.015 * max(pair.query.size)))
        if matrix is None:
            continue
        inside = mask.ravel().astype(bool)
        transform = np.vstack([matrix, [0, 0, 1]])[:3]
        if mirrored:
            transform, query = flip @ transform, project(flip, query)
        found.append(Geometry(transform, mirrored, query[inside], reference[inside], 0.0))
    return max(found, key=lambda one: one.inliers, default=None)


def affine_ransac(source: np.ndarray, target: np.ndarray, tolerance: float) -> tuple[Any, Any]:
    """OpenCV's affine map and its inliers."""
    return cv2.estimateAffine2D(source, target, method=cv2.RANSAC, ransacReprojThreshold=tolerance)


def homography(source: np.ndarray, target: np.ndarray, tolerance: float) -> tuple[Any, Any]:
    """OpenCV's homography and its inliers."""
    return cv2.findHomography(source, target, cv2.RANSAC, tolerance)


def plain_match(query: Query, reference: Features) -> list[Matches]:
    """OpenCV's two nearest neighbours and the ratio test, in both orientations."""
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    descriptors = reference.descriptors.astype(np.float32)
    orientations = []
    for turn, own in enumerate(np.split(query.descriptors[:, :-1], 2)):
        near = [two for two in matcher.knnMatch(np.ascontiguousarray(own), descriptors, k=2) if len(two) == 2]
        kept = [one for one, two in near if one.distance < matching.RATIO * two.distance]
        places = np.array([(one.queryIdx, one.trainIdx) for one in kept], np.int64).reshape(-1, 2)
        orientations.append(
            Matches(query.geometry[turn, places[:, 0]], reference.geometry[places[:, 1]], np.ones(len(places)))
        )
    return orientations


# ---------------------------------------------------------------- results


def located(pair: Pair, found: Geometry | None) -> bool:
    """Whether a copy is found where it lies: its corners to `LOCATED`."""
    if found is None or pair.truth is None:
        return False
    frame = corners(pair.reference.size)
    apart = project(found.transform, frame) - project(pair.truth, frame)
    return bool(np.linalg.norm(apart, axis=1).max() <= LOCATED * max(pair.query.size))


def agree(pairs: list[Pair], ours: list[Geometry | None], others: list[Geometry | None]) -> bool:
    """Whether ours locates nearly all copies that the other way locates."""
    both = [located(pair, one) for pair, one, other in zip(pairs, ours, others) if located(pair, other)]
    return sum(both) >= AGREE * len(both)


def print_quality(pairs: list[Pair], results: dict[str, list[Geometry | None]]) -> None:
    """Copies located, by kind, and how well the number of inliers tells copies from other pairs."""
    copy = np.array([pair.truth is not None for pair in pairs])
    print("Copies that are located, in per cent, and how well inliers tell copies from other pairs (AUC)\n")
    print(f"| | {' | '.join(KINDS)} | all | AUC |\n|---{'|---' * (len(KINDS) + 2)}|")
    for name, found in results.items():
        hits = np.array([located(pair, one) for pair, one in zip(pairs, found)])
        kinds = np.array([pair.kind for pair in pairs])
        shares = [hits[copy & (kinds == kind)].mean() if (copy & (kinds == kind)).any() else np.nan for kind in KINDS]
        inliers = np.array([one.inliers if one else 0 for one in found])
        above = inliers[copy][:, None] - inliers[~copy]
        area = np.mean((above > 0) + 0.5 * (above == 0))
        figures = " | ".join(f"{100 * share:.0f}" for share in [*shares, hits[copy].mean()])
        print(f"| {name} | {figures} | {area:.3f} |")
    print()


def print_cost(pairs: list[Pair], repeats: int) -> None:
    """What the steps of one pair take of the processor's time, in milliseconds, median of the rounds."""
    found = [(pair, one) for pair in pairs if (one := geometry.locate(pair.prepared, pair.reference, pair.query.size))]
    steps: dict[str, tuple[Callable[[], Any], int]] = {
        "matching, both orientations": (lambda: [matching.match(p.prepared, p.reference) for p in pairs], len(pairs)),
        "matching and estimation": (
            lambda: [geometry.locate(p.prepared, p.reference, p.query.size) for p in pairs],
            len(pairs),
        ),
        "alignment of a located pair": (
            lambda: [alignment.compare_aligned(p.query, p.reference, one.transform) for p, one in found],
            max(len(found), 1),
        ),
        "thumbnails": (lambda: [alignment.compare_thumbnails(p.query, p.reference) for p in pairs], len(pairs)),
    }
    print("Milliseconds of the processor's time for a pair\n\n| | ms |\n|---|---|")
    for name, (work, count) in steps.items():
        seconds = []
        for _ in range(repeats):
            started = time.process_time()
            work()
            seconds.append(time.process_time() - started)
        print(f"| {name} | {1000 * statistics.median(seconds) / count:.2f} |")
    print(flush=True)


if __name__ == "__main__":
    main()
