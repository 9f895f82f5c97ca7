"""Verified matches to look at: where two pictures agree, and both laid over each other.

copies     pairs that are called copies, spread evenly from the surest to the least sure
doubtful   the least sure of them, and the surest of the others: those that a person should look at
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from copytrace import gallery, metrics
from copytrace.errors import InputError
from copytrace.figures import spread
from copytrace.gallery import BLACK, BLUE, FRAME, GAP, ORANGE, PANEL, WHITE
from copytrace.ground_truth import PAIR, positive_pairs
from copytrace.imaging import UnreadableImage, load_image
from copytrace.verification.frames import overlap, project

#: Colours of a decision that is right, wrong, or not judged.
COLOURS = {"right": "#117a65", "wrong": "#943126", "": BLUE}
SOURCE = "matches.csv, the verified list"
LEGEND = (
    "Each row: the query and the reference, with what they share outlined (orange: the reference's upper edge) and the "
    "keypoints that agree as dots; then that region of the query, and the reference laid over it."
)


class Choice(NamedTuple):
    """What a sheet shows: words above it, and rows of matches."""

    title: str
    note: str
    pairs: pd.DataFrame


def judge_decisions(matches: pd.DataFrame, ground_truth: pd.DataFrame | None, count: str) -> pd.DataFrame:
    """The matches with `verdict`: whether the decision is "right" or "wrong", or "" where that is not known.

    `count`: `all` or `listed`, as in `ablation.task`: with `listed` nothing is known of a query that the ground truth
    does not name.
    """
    if ground_truth is None:
        return matches.assign(verdict="")
    right = metrics.mark_hits(matches, positive_pairs(ground_truth)) == matches["decision"]
    verdict = right.map({True: "right", False: "wrong"})
    known = matches["query_id"].isin(ground_truth["query_id"]) | (count == "all")
    return matches.assign(verdict=verdict.where(known, ""))


def choose_copies(matches: pd.DataFrame, rows: int) -> Choice:
    """Pairs called copies, evenly from the most probable to the least."""
    called = matches[matches["decision"]]
    pairs = called.iloc[spread(len(called), rows)] if len(called) else called
    if not len(called):
        return Choice("No pair is called a copy", "", pairs)
    order = ", spread evenly from the surest to the least sure" if len(pairs) < len(called) else ""
    queries = called["query_id"].nunique()
    note = f"They belong to {gallery.counted(queries, 'query', 'queries')}."
    return Choice(f"Copies: {len(pairs):,} of {len(called):,}{order}", note, pairs)


def choose_doubtful(matches: pd.DataFrame, rows: int) -> Choice:
    """The pairs on both sides of the decision, half of them called copies."""
    called, others = matches[matches["decision"]], matches[~matches["decision"]]
    below = others.iloc[: max(rows - len(called), rows // 2)]
    above = called.iloc[max(len(called) - (rows - len(below)), 0) :]
    pairs = pd.concat([above, below])
    if not len(pairs):
        return Choice("No pair was verified", "", pairs)
    title = f"Doubtful pairs: the {len(above):,} least sure copies and the {len(below):,} surest of the others"
    return Choice(title, "Look here first: a decision can be wrong on either side.", pairs)


def draw_sheet(
    choice: Choice, points: pd.DataFrame, queries: Mapping[str, str], references: Mapping[str, str], path: Path
) -> None:
    """Write a sheet as PNG, 1200 pixels wide; equal sheets are equal bytes.

    Args:
        choice: its words and rows, from `judge_decisions`.
        points: `query_id, reference_id, query_points, reference_points, local_ncc, hash_distance` of those pairs.
        queries, references: path by id.
        path: where to write.
    """
    measured = dict(zip(points[PAIR].itertuples(index=False, name=None), points.itertuples(index=False)))
    legend = f"{choice.note} {LEGEND}" if len(choice.pairs) else choice.note
    blocks = [gallery.headline(choice.title, legend, SOURCE)]
    pairs: list[Any] = list(choice.pairs.itertuples(index=False))
    for number, pair in enumerate(pairs, 1):
        own = measured[pair.query_id, pair.reference_id]
        blocks.append(_row(number, pair, own, _load(queries[pair.query_id]), _load(references[pair.reference_id])))
    gallery.stacked(blocks, path)


def _load(path: str) -> NDArray[np.uint8]:
    try:
        return load_image(path)
    except UnreadableImage as problem:
        raise InputError(f"{path} could be read when it was listed and no longer can: {problem}.") from None


def _row(number: int, pair: Any, own: Any, query: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Image.Image:
    start = f"{number}  {'copy' if pair.decision else 'no copy'}{pair.verdict and ', '}{pair.verdict}"
    colour = COLOURS[pair.verdict]
    lines = [f"probability {in_words(pair.probability)}", _evidence_line(pair, own)]
    captions = [f"query {gallery.printable(pair.query_id)}", f"reference {gallery.printable(pair.reference_id)}"]
    if not pair.transform:
        shown = [gallery.in_panel(query)[0], gallery.in_panel(reference)[0]]
        shown.append(gallery.absent("no common geometry was found", 2 * PANEL[0] + GAP))
        return gallery.row(start, colour, lines, list(zip([*captions, ""], shown)))
    transform = np.array(pair.transform.split(), np.float64).reshape(3, 3)
    in_query, in_reference = overlap(transform, query.shape[1::-1], reference.shape[1::-1])
    at_top = np.abs(in_reference[:, 1] + 0.5) < 1e-3 * len(reference)
    upper = at_top & np.roll(at_top, -1)
    shown = [
        _with_evidence(query, in_query + 0.5, upper, np.reshape(own.query_points, (-1, 2))),
        _with_evidence(reference, in_reference + 0.5, upper, np.reshape(own.reference_points, (-1, 2))),
        *laid_over(query, reference, transform, in_query + 0.5),
    ]
    captions += ["the query there", "the reference, laid over it"]
    return gallery.row(start, colour, lines, list(zip(captions, shown)))


def in_words(probability: float) -> str:
    """Three digits of a probability, but never 1.000 or 0.000, which none is."""
    if probability >= 0.9995:
        return "> 0.999"
    return "< 0.001" if probability < 0.0005 else f"{probability:.3f}"


def _evidence_line(pair: Any, own: Any) -> str:
    if not pair.transform:
        return f"No keypoints agree. {own.hash_distance} of 256 bits of the hashes differ."
    agree = gallery.counted(pair.inliers, "keypoint agrees", "keypoints agree")
    mirrored = "; the reference is mirrored" if pair.mirrored else ""
    pixels = f"where they overlap, pixels agree to {own.local_ncc:.2f} (1: the same, 0: unrelated)"
    return f"{agree}{mirrored}; {pixels}. {own.hash_distance} of 256 bits of the hashes differ."


def _with_evidence(
    image: NDArray[np.uint8], region: NDArray[np.float64], upper: NDArray[np.bool_], points: NDArray[np.float64]
) -> Image.Image:
    """A picture at panel size with a region's outline, `upper` of its edges orange, and points; both in its pixels."""
    panel, scale = gallery.in_panel(image)
    draw = ImageDraw.Draw(panel)
    corners = [tuple(corner) for corner in region * scale + FRAME]
    edges = list(zip(corners, corners[1:] + corners[:1]))
    for colour, width in ((BLACK, 5), (WHITE, 3)):
        draw.line([*corners, *corners[:2]], colour, width, joint="curve")
    for edge in np.flatnonzero(upper):
        draw.line(edges[edge], ORANGE, 3)
    for x, y in points * scale + FRAME:
        draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), ORANGE, BLACK)
    return panel


def laid_over(
    query: NDArray[np.uint8], reference: NDArray[np.uint8], transform: NDArray[np.float64], region: NDArray[np.float64]
) -> tuple[Image.Image, Image.Image]:
    """The box around a region [n, 2] of the query, and the reference as it lies there, both at panel size.

    `transform` [3, 3]: from reference to query, pixel centres; `region` in pixels from the upper left corner.
    """
    low = np.floor(region.min(axis=0)).astype(int).clip(0)
    high = np.maximum(np.ceil(region.max(axis=0)).astype(int), low + 1)
    panel, scale = gallery.in_panel(query[low[1] : high[1], low[0] : high[0]])
    size = panel.width - 2 * FRAME, panel.height - 2 * FRAME
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    to_panel = np.diag([*scale, 1]) @ np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
    to_panel = to_panel @ half @ transform @ np.linalg.inv(half)
    # shrunk first where the panel shows it smaller, or pixels in between would be passed over
    shown = project(to_panel, np.array([[0, 0], [reference.shape[1], 0], [0, reference.shape[0]]], np.float64))
    sides = np.linalg.norm(shown[1:] - shown[0], axis=1) / reference.shape[1::-1]
    shrunk = [max(round(side * min(share, 1)), 1) for side, share in zip(reference.shape[1::-1], sides)]
    small = Image.fromarray(reference).resize(shrunk, Image.Resampling.LANCZOS)
    back = np.diag([*(np.array(shrunk) / reference.shape[1::-1]), 1]) @ np.linalg.inv(to_panel)
    laid = small.transform(
        size, Image.Transform.PERSPECTIVE, tuple((back / back[2, 2]).ravel()[:8]), Image.Resampling.BILINEAR,
        fillcolor=WHITE,
    )  # fmt: skip
    framed = Image.new("RGB", panel.size, WHITE)
    framed.paste(laid, (FRAME, FRAME))
    return panel, framed
