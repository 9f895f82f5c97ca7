"""Query parts and reference tiles: boxes in the picture's own pixels, and cutting them in memory.

Every fixed box of the published system (D²LV, sections 5.1 and 5.3 of the fact sheet) has its edges at
twelfths of the picture, rounded down: ⌊W·k/12⌋. So one small table of numerators describes them all, and
the boxes of a million pictures are one product of arrays. Nothing is ever stored as a picture: a part is
a row of a table, cut from the decoded picture where it is used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd

from copytrace.errors import InputError

COLUMNS = ["image_id", "part", "kind", "rank", "x0", "y0", "x1", "y1", "rotation", "mirrored", "score"]


class Layout(NamedTuple):
    """One fixed part: edges in twelfths of width and height, then the turn and the mirroring."""

    x0: int
    y0: int
    x1: int
    y1: int
    rotation: int = 0
    mirrored: bool = False


def _grid(cells: int) -> tuple[Layout, ...]:
    edges = [12 * k // cells for k in range(cells + 1)]
    return tuple(
        Layout(edges[column], edges[row], edges[column + 1], edges[row + 1])
        for row in range(cells)
        for column in range(cells)
    )


WHOLE = (Layout(0, 0, 12, 12),)
CENTRE = (Layout(3, 3, 9, 9),)
# Four adjacent thirds around the centre: top left, top right, bottom left, bottom right.
THIRD = (Layout(2, 2, 6, 6), Layout(6, 2, 10, 6), Layout(2, 6, 6, 10), Layout(6, 6, 10, 10))

# Counter-clockwise turns as published; mirrored picture and halves (left, right, top, bottom) are ours.
QUERY_LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "whole": WHOLE,
    "rotation": tuple(Layout(0, 0, 12, 12, turn) for turn in (90, 180, 270)),
    "mirror": (Layout(0, 0, 12, 12, 0, True),),
    "centre": CENTRE,
    "third": THIRD,
    "half": (Layout(0, 0, 6, 12), Layout(6, 0, 12, 12), Layout(0, 0, 12, 6), Layout(0, 6, 12, 12)),
}
# Grids row by row; with all five kinds the published nineteen tiles in their published order.
REFERENCE_LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "whole": WHOLE,
    "grid2": _grid(2),
    "centre": CENTRE,
    "grid3": _grid(3),
    "third": THIRD,
}


class PartRow(Protocol):
    """What cutting needs of a row of the parts table (as `DataFrame.itertuples` yields it): the box in
    pixels, x1 and y1 exclusive; degrees counter-clockwise, applied after the cut; mirrored after that.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    rotation: int
    mirrored: bool


def check_kinds(kinds: Sequence[str], known: Collection[str], key: str) -> None:
    """Refuse kinds that cannot be cut, repeat, or do not begin with the whole picture (part 0).

    Raises:
        InputError: naming the configuration's `key`.
    """
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise InputError(f"{key} names {unknown[0]!r}, which is not one of {', '.join(known)}.")
    if not kinds or kinds[0] != "whole":
        raise InputError(f"{key} must begin with 'whole': part 0 of every picture is the picture itself.")
    if len(set(kinds)) < len(kinds):
        raise InputError(f"{key} names a kind twice: {', '.join(kinds)}.")


def fixed_query_parts(width: int | np.ndarray, height: int | np.ndarray, kinds: Sequence[str]) -> pd.DataFrame:
    """Fixed parts of query pictures (D²LV, section 5.1 of the fact sheet; mirror and halves are ours).

    Args:
        width: pixels of one picture, or of n pictures [n].
        height: likewise.
        kinds: in the wanted order; kinds that depend on the picture's content are passed over.

    Returns:
        The parts table without `image_id` and `part`. Its index is the number of the picture, 0 … n-1;
        rows picture by picture, within one by kind in the order of `kinds`, then by rank.
    """
    return _fixed_parts(width, height, kinds, QUERY_LAYOUTS)


def reference_tiles(width: int | np.ndarray, height: int | np.ndarray, kinds: Sequence[str]) -> pd.DataFrame:
    """Tiles of reference pictures (D²LV, section 5.3 of the fact sheet), as `fixed_query_parts`."""
    return _fixed_parts(width, height, kinds, REFERENCE_LAYOUTS)


def whole_pictures(manifest: pd.DataFrame) -> pd.DataFrame:
    """The parts table that gives every picture of a manifest (`image_id, width, height`) one part: itself."""
    whole = fixed_query_parts(manifest["width"].to_numpy(), manifest["height"].to_numpy(), ["whole"])
    return parts_table([whole], manifest["image_id"], ["whole"])


def _fixed_parts(
    width: int | np.ndarray,
    height: int | np.ndarray,
    kinds: Sequence[str],
    layouts: Mapping[str, tuple[Layout, ...]],
) -> pd.DataFrame:
    names = [kind for kind in kinds for _ in layouts.get(kind, ())]
    ranks = [rank for kind in kinds for rank in range(len(layouts.get(kind, ())))]
    rows = [layout for kind in kinds for layout in layouts.get(kind, ())]
    x0, y0, x1, y1, rotation, mirrored = np.array(rows, dtype=np.int64).reshape(len(rows), 6).T

    width = np.atleast_1d(np.asarray(width, dtype=np.int64))[:, None]
    height = np.atleast_1d(np.asarray(height, dtype=np.int64))[:, None]
    left, top = width * x0 // 12, height * y0 // 12
    # In a picture of a few pixels a box can be empty: it then takes the next pixel, which exists.
    right = np.maximum(width * x1 // 12, left + 1)
    bottom = np.maximum(height * y1 // 12, top + 1)

    pictures = len(width)
    return pd.DataFrame(
        {
            "kind": pd.array(names, dtype="str").take(np.tile(np.arange(len(rows)), pictures)),
            "rank": np.tile(np.array(ranks, dtype=np.int16), pictures),
            "x0": left.ravel().astype(np.int32),
            "y0": top.ravel().astype(np.int32),
            "x1": right.ravel().astype(np.int32),
            "y1": bottom.ravel().astype(np.int32),
            "rotation": np.tile(rotation.astype(np.int16), pictures),
            "mirrored": np.tile(mirrored.astype(bool), pictures),
            "score": np.full(pictures * len(rows), np.nan, dtype=np.float32),
        },
        index=np.repeat(np.arange(pictures), len(rows)),
    )


def proposed_parts(boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray], kind: str) -> pd.DataFrame:
    """Parts from boxes that were found in the pictures, best first.

    Args:
        boxes: per picture int [n_i, 4], pixels, exclusive ends.
        scores: per picture [n_i].
        kind: the parts' kind, such as "selective_search".

    Returns:
        As `fixed_query_parts`, with the box's place in its list as rank.
    """
    counts = [len(found) for found in boxes]
    return _found_parts(
        np.repeat(np.arange(len(boxes)), counts),
        np.concatenate([np.empty(0), *map(np.arange, counts)]),
        np.concatenate([np.empty((0, 4), np.int32), *boxes]),
        np.concatenate([np.empty(0), *scores]),
        kind,
    )


def detected_parts(detections: pd.DataFrame, pictures: pd.DataFrame) -> pd.DataFrame:
    """Parts from detected overlays: boxes rounded to whole pixels, at least one a side (D²LV, section 5.1).

    Args:
        detections: `image_id, rank, class, confidence, x0, y0, x1, y1` as `detection.tables.detections_table` has it.
            Emoji make no part; ranks stay as they are, counted over both classes.
        pictures: rows `image_id, width, height` of a manifest; pictures without detections may be among them.

    Returns:
        As `fixed_query_parts`, kind "detected_overlay".
    """
    overlays = detections[detections["class"] == "overlay"]
    picture = pd.Index(pictures["image_id"]).get_indexer(pd.Index(overlays["image_id"]))
    last = pictures[["width", "height"]].to_numpy()[picture] - 1
    boxes = np.rint(overlays[["x0", "y0", "x1", "y1"]].to_numpy()).astype(np.int64)
    first = np.minimum(boxes[:, :2], last)
    boxes = np.concatenate([first, np.maximum(boxes[:, 2:], first + 1)], axis=1)
    ranks, confidences = overlays["rank"].to_numpy(), overlays["confidence"].to_numpy()
    return _found_parts(picture, ranks, boxes, confidences, "detected_overlay")


def replaced_pictures(
    detections: pd.DataFrame,
    pictures: pd.DataFrame,
    confidence: float,
    box: Literal["most_confident", "last_wins"],
) -> pd.DataFrame:
    """One part for each picture: a detected overlay that is sure enough, else the whole (BoT sheet, 5.1).

    Args:
        detections, pictures: as for `detected_parts`; boxes are in pixels of the picture, not of what the detector saw.
        confidence: a box must be surer than this.
        box: which of several; `last_wins`, as published, is the least sure, which the original writes last.

    Returns:
        The parts table, `COLUMNS`.
    """
    detected = detected_parts(detections, pictures)
    sure = detected[detected["score"] > confidence].sort_values("rank", kind="stable")  # the surest first
    chosen = sure[~sure.index.duplicated(keep="first" if box == "most_confident" else "last")]
    whole = fixed_query_parts(pictures["width"].to_numpy(), pictures["height"].to_numpy(), ["whole"])
    table = pd.concat([whole[~whole.index.isin(chosen.index)], chosen]).sort_index()
    return parts_table([table], pictures["image_id"], ["whole", "detected_overlay"])


def _found_parts(
    picture: np.ndarray, rank: np.ndarray, boxes: np.ndarray, scores: np.ndarray, kind: str
) -> pd.DataFrame:
    """Rows of upright boxes [n, 4] with the number of their picture, rank and score [n] each."""
    x0, y0, x1, y1 = boxes.astype(np.int32).T
    total = len(x0)
    return pd.DataFrame(
        {
            "kind": pd.array([kind], dtype="str").take(np.zeros(total, dtype=np.intp)),
            "rank": rank.astype(np.int16),
            "x0": x0,
            "y0": y0,
            "x1": x1,
            "y1": y1,
            "rotation": np.zeros(total, dtype=np.int16),
            "mirrored": np.zeros(total, dtype=bool),
            "score": scores.astype(np.float32),
        },
        index=picture,
    )


def parts_table(tables: Sequence[pd.DataFrame], image_ids: pd.Series, kinds: Sequence[str]) -> pd.DataFrame:
    """The parts table of the design: rows of `tables` put in order and numbered inside each picture.

    Args:
        tables: rows as `fixed_query_parts` returns them, indexed by the number of the picture.
        image_ids: [pictures], the manifest's column.
        kinds: order of the kinds inside a picture; within a kind rows go by rank.

    Returns:
        Columns `COLUMNS`; `part` counts from 0 in each picture.
    """
    table = pd.concat(tables)
    picture = table.index.to_numpy()
    if len(tables) > 1:  # one table alone is in order, and the tiles of a million references are many rows
        place = table["kind"].map({kind: number for number, kind in enumerate(kinds)}).to_numpy()
        order = np.lexsort((table["rank"].to_numpy(), place, picture))
        table, picture = table.iloc[order], picture[order]
    first = np.searchsorted(picture, picture)  # row at which each row's picture begins
    table.insert(0, "image_id", image_ids.array.take(picture))
    table.insert(1, "part", (np.arange(len(picture)) - first).astype(np.int16))
    return table.reset_index(drop=True)


def cut_part(image: np.ndarray, row: PartRow) -> np.ndarray:
    """A part as its own picture: box cut out, turned counter-clockwise, mirrored. Lossless.

    Args:
        image: uint8 [height, width, 3], the decoded picture.
        row: the part.

    Returns:
        uint8 [h, w, 3], contiguous; w and h exchanged for a quarter turn.
    """
    part = np.rot90(image[row.y0 : row.y1, row.x0 : row.x1], row.rotation // 90)
    return np.ascontiguousarray(part[:, ::-1] if row.mirrored else part)


def points_in_picture(points: np.ndarray, row: PartRow) -> np.ndarray:
    """Where points of a cut part lie in the picture it was cut from: undoes mirror, turn and cut.

    Args:
        points: [n, 2], (x, y) in pixels of the part; pixel i covers [i, i + 1).
        row: the part.

    Returns:
        float64 [n, 2], (x, y) in pixels of the picture.
    """
    width, height = row.x1 - row.x0, row.y1 - row.y0
    turn = row.rotation % 360
    x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
    if row.mirrored:
        x = (height if turn in (90, 270) else width) - x
    if turn == 90:
        x, y = width - y, x
    elif turn == 180:
        x, y = width - x, height - y
    elif turn == 270:
        x, y = y, height - x
    return np.column_stack([x + row.x0, y + row.y0])


def part_corners_in_picture(row: PartRow) -> np.ndarray:
    """The picture's points that became the part's corners: float64 [4, 2], (x, y) in pixels of the picture.

    In the part's order top left, top right, bottom right, bottom left, so that the first edge of the
    outline shows which side is up in the part.
    """
    width, height = row.x1 - row.x0, row.y1 - row.y0
    if row.rotation % 180 == 90:
        width, height = height, width
    return points_in_picture(np.array([(0, 0), (width, 0), (width, height), (0, height)]), row)
