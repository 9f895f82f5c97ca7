"""Matches to look at: which pairs are shown, what evidence each stands on, and one sheet of pictures per kind.

right    true pairs of the list that score at least the threshold, spread evenly over their ranks
wrong    pairs of the list that are not true, at any score, highest first: the mistakes that cost most
missed   all other true pairs: half of the sheet for those that are not in the list, spread evenly over the ids,
         half for those below the threshold, lowest first; either fills what the other leaves
best     where there is no ground truth: the best pair of each query, copy or not, highest score first

The threshold is the score at which recall at precision 90 % is read off (`metrics.recall_at_precision`), so the
share of right pairs among the true ones is that recall. A list that never reaches that precision has no
threshold: then all its true pairs are right, and missed are those that it lacks.

A pair's score is the mean of two pieces of evidence, or one alone (`ensembling.final_scores`). A piece is what one
model said at one scale about one part of the query and one of the reference.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from copytrace import ensembling, metrics
from copytrace.ensembling import Ensembling
from copytrace.errors import InputError
from copytrace.figures import spread
from copytrace.ground_truth import PAIR, positive_pairs
from copytrace.imaging import UnreadableImage, load_image
from copytrace.parts import QUERY_LAYOUTS, REFERENCE_LAYOUTS, cut_part, part_corners_in_picture, whole_pictures
from copytrace.runtime import Arguments, atomic_output, log
from copytrace.tables import read_footer

EVIDENCE = ["model", "scale", "query_part", "reference_part"]
PART = ["kind", "rank", "x0", "y0", "x1", "y1", "rotation", "mirrored"]
NO_TILE = -1

# ------------------------------------------------------------------------------------------ choice of the pairs


class Judged(NamedTuple):
    """A ranked list beside the truth.

    `ranked` is the list in its order, with the columns `rank` (from 1) and `hit`; `truth` the true pairs.
    """

    ranked: pd.DataFrame
    truth: pd.DataFrame
    threshold: float | None


class Choice(NamedTuple):
    """What one sheet shows: the words above it, and its pairs with `verdict` and `remark` (text).

    `pairs` has the columns `query_id, reference_id, score, rank, verdict, remark`; score and rank are NaN for a
    pair that is not in the list.
    """

    title: str
    note: str
    pairs: pd.DataFrame


def rank_list(final: pd.DataFrame) -> pd.DataFrame:
    """A final list (`query_id, reference_id, score`, best first) with each row's `rank`, from 1."""
    return final.assign(rank=np.arange(1, len(final) + 1))


def judge(final: pd.DataFrame, ground_truth: pd.DataFrame, count: str) -> Judged:
    """Mark the true pairs of a list and find its threshold.

    Args:
        final: `query_id, reference_id, score`, best first.
        ground_truth: `query_id, reference_id`, "" for a query without source.
        count: `all` or `listed`: whose rows count, as in `ablation.task`. What the list says about queries that
            do not count is left out.

    Raises:
        InputError: the ground truth has no true pair.
    """
    truth = positive_pairs(ground_truth)
    if not len(truth):
        raise InputError("The ground truth names no pair: right, wrong and missed need at least one.")
    ranked = rank_list(final)
    if count == "listed":
        ranked = ranked[ranked["query_id"].isin(ground_truth["query_id"])].reset_index(drop=True)
    hits = metrics.mark_hits(ranked, truth)
    _, threshold = metrics.recall_at_precision(ranked["score"], hits, len(truth), metrics.PRECISION)
    return Judged(ranked.assign(hit=hits), truth, threshold)


def parse_sheets(parser: Arguments) -> Namespace:
    """Read the command line of a script that draws the sheets of a list, `--sheets`: as many as `choose` has for it.

    `parser` has all its other flags, `--ground-truth` among them. Another number of files ends the script.
    """
    help_text = "PNGs of right, wrong and missed matches; without --ground-truth one, of the best"
    parser.add_output("--sheets", type=Path, nargs="+", required=True, help=help_text)
    args = parser.parse()
    if len(args.sheets) != (3 if args.ground_truth else 1):
        parser.error("with --ground-truth give three files as --sheets, without it one")
    return args


def choose(final: pd.DataFrame, ground_truth: pd.DataFrame | None, count: str, matches: int) -> list[Choice]:
    """What the sheets of a list show: right, wrong and missed matches; without a ground truth the best pairs alone.

    `final`, `ground_truth` and `count` are as for `judge`; `matches`: rows of a sheet, at most.
    """
    if ground_truth is None:
        return [choose_best(rank_list(final), matches)]
    judged = judge(final, ground_truth, count)
    return [chosen(judged, matches) for chosen in (choose_right, choose_wrong, choose_missed)]


def choose_right(judged: Judged, matches: int) -> Choice:
    """Right matches, evenly by rank from the highest score to the lowest."""
    right = _right_pairs(judged)
    pairs = right.iloc[spread(len(right), matches)]
    title = _title(
        "Right matches",
        len(pairs),
        len(right),
        "spread evenly from the highest score to the lowest",
        "No match is right.",
    )
    share = f"{len(right):,} of {counted(len(judged.truth), 'true pair', 'true pairs')}"
    if judged.threshold is None:
        note = f"The list holds {share}; no score reaches a precision of 90 %."
    else:
        note = f"{share} {'scores' if len(right) == 1 else 'score'} {_threshold_text(judged.threshold)}."
    return Choice(title, note, pairs.assign(verdict="right", remark=""))


def choose_wrong(judged: Judged, matches: int) -> Choice:
    """The wrong pairs that score highest, each with what the list says about the query's true reference."""
    wrong = judged.ranked[~judged.ranked["hit"]]
    pairs = wrong.iloc[:matches]
    title = _title(
        "Wrong matches", len(pairs), len(wrong), "the highest", "No match is wrong.", " wrong pairs at any score"
    )
    if judged.threshold is None:
        note = "No score reaches a precision of 90 %."
    else:
        costly = int((wrong["score"] >= judged.threshold).sum())
        note = f"{counted(costly, 'wrong pair scores', 'wrong pairs score')} {_threshold_text(judged.threshold)}; "
        note += "what stands lower nobody would take for a match."
    remarks = [_true_source(judged, query) for query in pairs["query_id"]]
    return Choice(title, note, pairs.assign(verdict="wrong", remark=remarks))


def choose_missed(judged: Judged, matches: int) -> Choice:
    """True pairs that are not right: some that the list lacks, then some with the lowest scores."""
    right = _right_pairs(judged)
    listed = judged.ranked[judged.ranked["hit"] & ~judged.ranked["rank"].isin(right["rank"])]
    found = pd.MultiIndex.from_frame(judged.ranked.loc[judged.ranked["hit"], PAIR])
    absent = judged.truth[~pd.MultiIndex.from_frame(judged.truth[PAIR]).isin(found)].sort_values(PAIR)
    shown = absent.iloc[spread(len(absent), max(matches - matches // 2, matches - len(listed)))]
    pairs = pd.concat([shown.reindex(columns=judged.ranked.columns), listed[::-1].iloc[: matches - len(shown)]])
    total = len(absent) + len(listed)
    title = _title(
        "Missed matches", len(pairs), total, "some that the list lacks, then the lowest scores", "No match is missed."
    )
    note = f"Of {counted(len(judged.truth), 'true pair', 'true pairs')}, {len(absent):,} "
    note += f"{'is' if len(absent) == 1 else 'are'} not in the list"
    if judged.threshold is None:
        note += "; no score reaches a precision of 90 %, so those in the list count as right."
    else:
        note += f" and {len(listed):,} {'scores' if len(listed) == 1 else 'score'} less than {judged.threshold:.3f}, "
        note += "the threshold of 90 % precision."
    remarks = [_best_wrong(judged, query) for query in pairs["query_id"]]
    return Choice(title, note, pairs.assign(verdict="missed", remark=remarks))


def choose_best(ranked: pd.DataFrame, matches: int) -> Choice:
    """The best pair of each query, highest score first; for a list that no ground truth judges."""
    first = ranked[~ranked["query_id"].duplicated()]
    pairs = first.iloc[:matches]
    title = _title(
        "Best pair of each query",
        len(pairs),
        len(first),
        "highest score first",
        "The list of matches is empty.",
    )
    note = "Every query has a best pair: not all are copies. There is no ground truth, so which are is for you to see."
    return Choice(title, note, pairs.assign(verdict="best pair", remark=""))


def _right_pairs(judged: Judged) -> pd.DataFrame:
    least = -np.inf if judged.threshold is None else judged.threshold
    return judged.ranked[judged.ranked["hit"] & (judged.ranked["score"] >= least)]


def _true_source(judged: Judged, query: str) -> str:
    sources = judged.truth.loc[judged.truth["query_id"] == query, "reference_id"]
    if not len(sources):
        return "This query has no source among the references."
    rows = judged.ranked[judged.ranked["hit"] & (judged.ranked["query_id"] == query)]
    if not len(rows):
        return f"Its true source {_short(sources.iloc[0])} is not in the list."
    best = rows.iloc[0]
    return f"Its true source {_short(best.reference_id)} has rank {best['rank']:,} with {best.score:.3f}."


def _best_wrong(judged: Judged, query: str) -> str:
    rows = judged.ranked[~judged.ranked["hit"] & (judged.ranked["query_id"] == query)]
    if not len(rows):
        return "The list has no wrong candidate for this query."
    best = rows.iloc[0]
    return f"Its best wrong candidate is {_short(best.reference_id)}, rank {best['rank']:,} with {best.score:.3f}."


def _title(kind: str, shown: int, total: int, order: str, none: str, things: str = "") -> str:
    if not total:
        return none
    return f"{kind}: {shown:,} of {total:,}{things}" + (f", {order}" if shown < total else "")


def counted(count: int, one: str, many: str) -> str:
    """A number of things in words."""
    return f"{count:,} {one if count == 1 else many}"


def _threshold_text(threshold: float) -> str:
    return f"at least {threshold:.3f}, the threshold of 90 % precision"


# ------------------------------------------------------------------------------------------ evidence of the pairs


def read_evidence(
    pairs: pd.DataFrame,
    voted: Sequence[Path],
    tile_votes: Sequence[Path],
    parts: pd.DataFrame,
    faces: pd.DataFrame | None,
    sides: Mapping[str, float],
    settings: Ensembling,
) -> pd.DataFrame:
    """All evidence of some pairs, filtered and penalised as the final list's was; nothing else is read.

    Args:
        pairs: `query_id, reference_id`.
        voted: voted pairs of the families.
        tile_votes: voted pairs of whole queries and reference tiles.
        parts: parts of the queries, at least of those of `pairs`.
        faces: faces of the references, if known.
        sides: minimum part side per family.
        settings: the ensembling's settings.

    Returns:
        A table of pairs with two columns more: `similarity`, the score before its penalty, and `tile`, the number of
        the reference's part in the table of tiles, or −1 for a whole reference.
    """
    evidence = []
    for path in voted:
        rows = _read_rows(path, pairs)
        rows = rows.assign(similarity=rows["score"], tile=np.int16(NO_TILE))
        evidence.append(ensembling.collect_evidence(rows, parts, sides, settings))
    if tile_votes:
        rows = ensembling.stack([_read_rows(path, pairs) for path in tile_votes])
        rows = rows.assign(similarity=rows["score"], tile=rows["reference_part"])
        evidence.append(ensembling.collect_tile_evidence(rows, faces, settings))
    return ensembling.stack(evidence)


def among(column: str, ids: pd.Series) -> pc.Expression:
    """A filter for Parquet files: rows whose `column` is one of `ids`."""
    return pc.field(column).isin(pa.array(ids.unique(), pa.string()))


def _read_rows(path: Path, pairs: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table of pairs that belong to `pairs`; Parquet passes over blocks that hold none."""
    # ids of a table without rows have no type to compare
    rows = read_footer(path).num_rows
    wanted = among("query_id", pairs["query_id"]) & among("reference_id", pairs["reference_id"]) if rows else None
    table = pq.read_table(
        path, columns=ensembling.COLUMNS, filters=wanted, read_dictionary=ensembling.NAMES, use_threads=False
    ).to_pandas()
    table[ensembling.NAMES] = table[ensembling.NAMES].astype(str)
    shown = pd.MultiIndex.from_frame(table[PAIR]).isin(pd.MultiIndex.from_frame(pairs[PAIR]))
    return table[shown].astype(dict.fromkeys(ensembling.NAMES, "category")).reset_index(drop=True)


def two_best(rows: pd.DataFrame, rule: ensembling.Rule) -> pd.DataFrame:
    """The one or two rows of a pair's evidence whose mean is its final score, the better first.

    Of rows that would do equally well it takes the first by model, scale and parts.

    Args:
        rows: all evidence of one pair, from `read_evidence`; one row or more.
        rule: as in `ensembling.final_scores`.
    """
    rows = rows.astype({"model": str}).sort_values(["score", *EVIDENCE], ascending=[False, True, True, True, True])
    best = rows.iloc[0]
    if rule == "different_evidence":
        others = rows[np.logical_or.reduce([rows[name] != best[name] for name in EVIDENCE])]
    else:
        rows = rows.assign(value=np.rint(rows["score"] * 1e6))
        once = rows[~rows.duplicated(["query_part", "reference_part", "value"])]
        others = once[~once.duplicated("value", keep=False) & (once["value"] < once["value"].iloc[0])]
    return pd.concat([rows.iloc[:1], others.iloc[:1]])


def check_scores(pairs: pd.DataFrame, evidence: pd.DataFrame, rule: ensembling.Rule) -> pd.DataFrame:
    """The pairs with what their evidence amounts to as `recomputed` (NaN: no evidence).

    Raises:
        InputError: a score of the list is not what its evidence amounts to.
    """
    scored = ensembling.final_scores(evidence, rule).rename(columns={"score": "recomputed"})
    scored[PAIR] = scored[PAIR].astype(str)
    checked = pairs.merge(scored, how="left", on=PAIR)
    # NaN must count as different for a pair that is in the list
    wrong = checked["score"].notna() & ~((checked["score"] - checked["recomputed"]).abs() <= 1e-5)
    if wrong.any():
        row = checked[wrong].iloc[0]
        raise InputError(
            f"The list gives {row.query_id} and {row.reference_id} the score {row.score:.6f}, their evidence amounts "
            f"to {row.recomputed:.6f}: list and voted pairs are of different runs; let the workflow make both again."
        )
    return checked


class View(NamedTuple):
    """A picture to show and its part: a row with the columns `PART`, or None where no part matched."""

    path: str
    part: Any


class Match(NamedTuple):
    """One row of a sheet: its words, captions of query, its part, the reference's part and reference, what they show.

    A view is None where the picture is not among the readable ones.
    """

    verdict: str
    lines: list[str]
    captions: list[str]
    query: View | None
    reference: View | None


class Pictures(NamedTuple):
    """Where pictures and parts are: `paths` by id, `parts` by (id, number) as rows with the columns `PART`."""

    paths: dict[str, str]
    parts: dict[tuple[str, int], Any]

    def view(self, image_id: str, part: int) -> View:
        """A picture with one of its parts; InputError if they are unknown."""
        if image_id not in self.paths or (image_id, part) not in self.parts:
            raise InputError(
                f"There is no part {part} of picture {image_id}; pairs and parts are of different runs: let the "
                "workflow make both again."
            )
        return View(self.paths[image_id], self.parts[image_id, part])

    def picture(self, image_id: str) -> View | None:
        """A picture without a part; None if it is not among the readable ones."""
        return View(self.paths[image_id], None) if image_id in self.paths else None


def pictures(manifest: pd.DataFrame, parts: pd.DataFrame) -> Pictures:
    """Lookups from a manifest (`image_id, path`) and a parts table."""
    keys = zip(parts["image_id"], parts["part"])
    return Pictures(
        dict(zip(manifest["image_id"], manifest["path"])),
        dict(zip(keys, parts[PART].itertuples(index=False, name="Part"))),
    )


def whole_and_tiles(manifest: pd.DataFrame, tiles: pd.DataFrame | None) -> pd.DataFrame:
    """Parts of references: the whole picture under the number −1, and the tiles under their own numbers."""
    whole = whole_pictures(manifest).assign(part=np.int16(NO_TILE))
    return whole if tiles is None else pd.concat([whole, tiles], ignore_index=True)


def describe_matches(
    pairs: pd.DataFrame,
    evidence: pd.DataFrame,
    queries: Pictures,
    references: Pictures,
    rows: int,
    settings: Ensembling,
) -> list[Match]:
    """Everything a sheet says about its pairs.

    Args:
        pairs: a choice's pairs with the column `recomputed`.
        evidence: see `read_evidence`.
        queries: the queries, with their parts.
        references: the references, with whole pictures and tiles.
        rows: length of the final list.
        settings: the ensembling's settings.
    """
    return [_describe(pair, evidence, queries, references, rows, settings) for pair in pairs.itertuples(index=False)]


def _describe(
    pair: Any,
    evidence: pd.DataFrame,
    queries: Pictures,
    references: Pictures,
    rows: int,
    settings: Ensembling,
) -> Match:
    """One row of a sheet."""
    own = evidence[(evidence["query_id"] == pair.query_id) & (evidence["reference_id"] == pair.reference_id)]
    readable = pair.query_id in queries.paths and pair.reference_id in references.paths
    lines = _standing(pair, rows, readable, settings.vote)
    query: View | None
    reference: View | None
    if len(own):
        pieces = []
        best: list[Any] = list(two_best(own, settings.final_score).itertuples(index=False))
        for row in best:
            part = row.query_part if row.tile == NO_TILE else 0
            pieces.append((queries.view(pair.query_id, part), references.view(pair.reference_id, row.tile)))
        lines += [_piece_line(name, row, *views) for name, row, views in zip(("Best", "Second"), best, pieces)]
        query, reference = pieces[0]
    else:
        query, reference = queries.picture(pair.query_id), references.picture(pair.reference_id)
    lines += [pair.remark] if pair.remark else []
    return Match(pair.verdict, lines, _captions(pair, query, reference), query, reference)


def describe_nearest(pairs: pd.DataFrame, queries: Pictures, references: Pictures, rows: int) -> list[Match]:
    """Everything a sheet says about pairs of a list in which each picture has one part, number 0, and one descriptor.

    Args:
        pairs: a choice's pairs.
        queries, references: the pictures, with what was described of them.
        rows: length of the list.
    """
    matches = []
    pair: Any
    for pair in pairs.itertuples(index=False):
        query, reference = _described(queries, pair.query_id), _described(references, pair.reference_id)
        lines = [_place(pair, rows)]
        if query is None or reference is None:
            lines.append("One of the two pictures could not be read (images/rejected.csv).")
        lines += [pair.remark] if pair.remark else []
        matches.append(Match(pair.verdict, lines, _captions(pair, query, reference), query, reference))
    return matches


def _described(side: Pictures, image_id: str) -> View | None:
    """A picture with the part that was described, if not the whole; None if it is not among the readable ones."""
    view = side.view(image_id, 0) if image_id in side.paths else None
    return side.picture(image_id) if view is None or view.part.kind == "whole" else view


def _captions(pair: Any, query: View | None, reference: View | None) -> list[str]:
    """What stands above the pictures of a pair: query, its part, the reference's part, reference."""
    parts = [("query part", query, QUERY_LAYOUTS), ("reference part", reference, REFERENCE_LAYOUTS)]
    middle = [f"{of}: {_part_text(view, layouts)}" if view and view.part else "" for of, view, layouts in parts]
    return [f"query {printable(pair.query_id)}", *middle, f"reference {printable(pair.reference_id)}"]


def _place(pair: Any, rows: int) -> str:
    if np.isnan(pair.score):
        return "not in the list"
    return f"score {pair.score:.3f}, rank {int(pair.rank):,} of {rows:,}"


def _standing(pair: Any, rows: int, readable: bool, vote: int) -> list[str]:
    """The pair's score and place in the list, or that it has none and why."""
    place = _place(pair, rows)
    if not np.isnan(pair.score):
        return [place]
    if np.isnan(pair.recomputed):
        if not readable:
            return [place, "No evidence: one of the two pictures could not be read (images/rejected.csv)."]
        lacks = "not enough models agree on any of its parts" if vote > 1 else "no model has it among its best pairs"
        return [place, f"No evidence: {lacks}, or a filter took it out."]
    return [place, f"It scores {pair.recomputed:.3f}, less than the pairs that the list keeps."]


def _piece_line(name: str, row: Any, query: View, reference: View) -> str:
    penalty = row.similarity - row.score
    of = f" (similarity {row.similarity:.3f}, penalty {penalty:.3f})" if penalty > 1e-6 else ""
    parts = f"{_part_text(query, QUERY_LAYOUTS)} × {_part_text(reference, REFERENCE_LAYOUTS)}"
    return f"{name} evidence {row.score:.3f}{of}: {row.model} at {row.scale} px, {parts}"


def _part_text(view: View, layouts: Mapping[str, Sequence[object]]) -> str:
    """A part in words: its kind, and by how much it is turned or which of its kind it is."""
    part = view.part
    if part.kind == "whole":
        return "whole picture"
    text = part.kind.replace("_", " ")
    if part.rotation:
        return f"{text} by {part.rotation}°"
    return text if len(layouts.get(part.kind, ())) == 1 else f"{text} {part.rank + 1}"


def printable(text: str) -> str:
    """Text on one line: what has no shape of its own, such as a newline, as its escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _short(image_id: str) -> str:
    """An id inside a sentence."""
    text = printable(image_id)
    return text if len(text) <= 40 else f"{text[:19]}…{text[-20:]}"


# ---------------------------------------------------------------------------------------------------- pictures

WIDTH = 1200
MARGIN = 24
GAP = 24
PANEL = (270, 190)  # largest width and height of a picture in a row
FRAME = 7  # around a picture, for the outline of a part that reaches its edges

ORANGE, WHITE, BLACK, GREY, LINE, BLUE = "#ff9f1c", "#ffffff", "#1c1c1c", "#5f6368", "#d0d3d6", "#1b4f72"
VERDICT_COLOURS = {"right": "#117a65", "wrong": "#943126", "missed": "#9a6400", "best pair": BLUE}


#: A view's picture with its part outlined, and the part as it was compared, if it is not the whole picture.
Panels = Mapping[View, tuple[Image.Image, Image.Image | None]]


def draw_panels(views: Iterable[View | None]) -> Panels:
    """The pictures that a sheet needs.

    A picture is decoded once, however many of its parts are shown, and one picture is held at a time.

    Raises:
        InputError: a picture can no longer be read.
    """
    panels: dict[View, tuple[Image.Image, Image.Image | None]] = {}
    wanted = sorted({view for view in views if view is not None}, key=lambda view: (view.path, repr(view.part)))
    for path, group in groupby(wanted, key=lambda view: view.path):
        try:
            image = load_image(path)
        except UnreadableImage as problem:
            raise InputError(f"{path} could be read when it was listed and no longer can: {problem}.") from None
        for view in group:
            if view.part is None:
                panels[view] = _framed(image, None), None
            else:
                panels[view] = _framed(image, part_corners_in_picture(view.part)), _compared(image, view.part)
    return panels


def _compared(image: NDArray[np.uint8], part: Any) -> Image.Image | None:
    """A part as it was compared, framed; None for the whole picture, which need not be shown twice."""
    if part.kind == "whole":
        return None
    cut = cut_part(image, part)
    edges = np.array([(0, 0), (cut.shape[1], 0), cut.shape[1::-1], (0, cut.shape[0])], np.float64)
    return _framed(cut, edges)


def _framed(image: NDArray[np.uint8], corners: NDArray[np.float64] | None) -> Image.Image:
    """A picture at panel size with an outline (corners [4, 2] in its pixels)."""
    panel, scale = in_panel(image)
    if corners is not None:
        _outline(panel, corners * scale + FRAME)
    return panel


def in_panel(image: NDArray[np.uint8]) -> tuple[Image.Image, tuple[float, float]]:
    """A picture at panel size with `FRAME` pixels of room at the edges, and by how much it is scaled in x and y."""
    height, width = image.shape[:2]
    scale = min(PANEL[0] / width, PANEL[1] / height)
    # a line of one pixel by thousands keeps four pixels' breadth
    size = max(round(width * scale), 4), max(round(height * scale), 4)
    # A camera's picture is thinned first, for Pillow holds it once more; the resampling then has 64 pixels or more
    # for each of the panel's.
    small = image[:: max(height // (8 * size[1]), 1), :: max(width // (8 * size[0]), 1)]
    panel = Image.new("RGB", (size[0] + 2 * FRAME, size[1] + 2 * FRAME), WHITE)
    panel.paste(Image.fromarray(small).resize(size, Image.Resampling.LANCZOS), (FRAME, FRAME))
    return panel, (size[0] / width, size[1] / height)


def _outline(panel: Image.Image, corners: NDArray[np.float64]) -> None:
    """Draw a part's outline: white in black, its upper edge orange, a square at that edge's left end.

    Seen on any ground, and it tells all eight turns and mirrorings apart.
    """
    draw = ImageDraw.Draw(panel)
    left, top = corners.min(axis=0).round()
    right, bottom = corners.max(axis=0).round()
    for outer, width, colour in ((2, 5, BLACK), (1, 3, WHITE)):
        draw.rectangle((left - outer, top - outer, right + outer, bottom + outer), outline=colour, width=width)
    start, end = corners[:2].round()
    for half, colour in ((3, BLACK), (2, ORANGE)):
        draw.rectangle((*(np.minimum(start, end) - half), *(np.maximum(start, end) + half)), fill=colour)
    for half, colour in ((6, BLACK), (5, ORANGE)):
        draw.rectangle((*(start - half), *(start + half)), fill=colour)


LEGEND = (
    "Each row: the query with its matching part outlined, that part as it was compared, the reference's part as it was "
    "compared, the reference with its part outlined; a whole picture stands for its part, too. Orange is the part's "
    "upper edge, the square its left end: they show how a part was turned or mirrored."
)


def draw_sheets(sheets: Mapping[Path, tuple[Choice, Sequence[Match]]], source: str, note: str, legend: str) -> None:
    """Draw the sheets of a list: by their files, what each shows; other arguments as for `draw_sheet`."""
    views = [view for _, matches in sheets.values() for match in matches for view in (match.query, match.reference)]
    panels = draw_panels(views)
    for path, (choice, matches) in sheets.items():
        draw_sheet(choice, matches, panels, path, source, note, legend)
        log.info("%s: %s", choice.title, path)


def draw_sheet(
    choice: Choice, matches: Sequence[Match], panels: Panels, path: Path, source: str, note: str, legend: str
) -> None:
    """Write one kind's sheet as PNG, 1200 pixels wide; equal sheets are equal bytes.

    Args:
        choice: for the words above the rows.
        matches: the rows, from `describe_matches` or `describe_nearest`; without any, the sheet is a few words.
        panels: from `draw_panels`, at least of the views of `matches`.
        path: where to write.
        source: which list it shows.
        note: what is to be said of that list behind the choice's own note, or "".
        legend: how to read a row.
    """
    words = [choice.note, note, legend if matches else ""]
    blocks = [headline(choice.title, " ".join(filter(None, words)), source)]
    blocks += [_row(number, match, panels) for number, match in enumerate(matches, 1)]
    stacked(blocks, path)


def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as Matplotlib brings it: the same on every machine, and it draws a box for what it lacks."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(fonts / name), size, layout_engine=ImageFont.Layout.BASIC)


def headline(title: str, text: str, source: str) -> Image.Image:
    """The top of a sheet: the list that it shows, its title, and text in lines that fit."""
    body, top = font(14), MARGIN + 24
    lines = _wrapped(text, body, WIDTH - 2 * MARGIN)
    block = Image.new("RGB", (WIDTH, top + 34 + 20 * len(lines) + 8), WHITE)
    draw = ImageDraw.Draw(block)
    draw.text((MARGIN, MARGIN), source, BLUE, font(14, bold=True))
    draw.text((MARGIN, top), title, BLACK, font(20, bold=True))
    for number, line in enumerate(lines):
        draw.text((MARGIN, top + 34 + 20 * number), line, GREY, body)
    return block


def _row(number: int, match: Match, panels: Panels) -> Image.Image:
    """One match: a line, its words, the captions, two to four pictures."""
    unreadable = absent("this picture could not be read", PANEL[0]), None
    query, query_part = panels[match.query] if match.query else unreadable
    reference, reference_part = panels[match.reference] if match.reference else unreadable
    places = zip(match.captions, (query, query_part, reference_part, reference))
    shown = [(caption, panel) for caption, panel in places if panel is not None]
    return row(f"{number}  {match.verdict}", VERDICT_COLOURS[match.verdict], match.lines, shown)


def row(
    start: str,
    colour: str,
    lines: Sequence[str],
    shown: Sequence[tuple[str, Image.Image]],
) -> Image.Image:
    """One row of a sheet: `start` in a colour, the first line behind it, more lines, up to four captioned pictures."""
    head, body, caption = font(15, bold=True), font(13), font(13)
    words = 16 + 24 + 19 * (len(lines) - 1) + 6
    block = Image.new("RGB", (WIDTH, words + 22 + max(panel.height for _, panel in shown) + 10), WHITE)
    draw = ImageDraw.Draw(block)
    draw.line((MARGIN, 4, WIDTH - MARGIN, 4), LINE, 1)
    draw.text((MARGIN, 16), start, colour, head)
    after = MARGIN + head.getlength(start) + GAP
    draw.text((after, 16), fitted(lines[0], head, WIDTH - MARGIN - after), BLACK, head)
    for place, line in enumerate(lines[1:]):
        draw.text((MARGIN, 40 + 19 * place), fitted(line, body, WIDTH - 2 * MARGIN), GREY if place else BLACK, body)
    for column, (text, panel) in enumerate(shown):
        left = MARGIN + column * (PANEL[0] + GAP)
        draw.text((left, words), fitted(text, caption, PANEL[0]), GREY, caption)
        block.paste(panel, (left - FRAME, words + 22))
    return block


def stacked(blocks: Sequence[Image.Image], path: Path) -> None:
    """Write blocks one below the other as PNG; equal sheets are equal bytes."""
    sheet = Image.new("RGB", (WIDTH, sum(block.height for block in blocks) + MARGIN), WHITE)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    with atomic_output(path) as temporary:
        sheet.save(temporary, format="PNG")


def absent(text: str, width: int) -> Image.Image:
    """In the place of a picture: words that say why there is none."""
    panel = Image.new("RGB", (width + 2 * FRAME, 60 + 2 * FRAME), WHITE)
    draw = ImageDraw.Draw(panel)
    draw.rectangle((FRAME, FRAME, FRAME + width - 1, FRAME + 59), fill="#f1f3f4")
    draw.text((FRAME + 12, FRAME + 22), text, GREY, font(13))
    return panel


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Words in lines of at most `width` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """A text of at most `width` pixels: what is too long loses its middle, for ids differ at their ends."""
    kept = len(text)
    short = text
    while font.getlength(short) > width:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short
