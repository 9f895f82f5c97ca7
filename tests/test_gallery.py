"""The gallery: choice of pairs, evidence and outlines against slow loops and marked pictures; odd names, odd sizes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import draw_gallery
import draw_nearest
from copytrace import ensembling, gallery, metrics, parts
from copytrace.errors import InputError

SCRIPTS = Path(gallery.__file__).parents[1]
KINDS = list(parts.QUERY_LAYOUTS)
TILE_KINDS = list(parts.REFERENCE_LAYOUTS)
SETTINGS = {
    "vote": 1,
    "tile_vote": 1,
    "reference_side": None,
    "penalties": dict.fromkeys(KINDS, 0.1) | {"whole": 0.0},
    "free_ranks": {},
    "tile_penalty": 0.2,
    "drop_face_references": True,
    "final_score": "different_evidence",
    "rows_per_query": 10,
    "maximum_rows": None,
}
RULES = st.sampled_from(["different_evidence", "distinct_values"])
ORANGE = (255, 159, 28)


def pairs_table(rows):
    """A table of pairs from (model, scale, query, query_part, reference, reference_part, score)."""
    table = pd.DataFrame(rows, columns=ensembling.COLUMNS)
    table = table.astype({"scale": "int16", "query_part": "int16", "reference_part": "int16", "score": "float32"})
    table = table.astype(dict.fromkeys(ensembling.NAMES, str))
    return ensembling.stack([table.astype(dict.fromkeys(ensembling.NAMES, "category"))])


def final_list(rows):
    table = pd.DataFrame(rows, columns=ensembling.FINAL_COLUMNS).astype({"score": float})
    return table.sort_values(["score", "query_id", "reference_id"], ascending=[False, True, True], ignore_index=True)


def truth_table(*pairs):
    return pd.DataFrame(pairs, columns=["query_id", "reference_id"], dtype=str)


def names(choice):
    return list(choice.pairs[["query_id", "reference_id"]].itertuples(index=False, name=None))


# ------------------------------------------------------------------------------------------ choice of the pairs


def example():
    """Nine hits, a miss at rank 10, a hit and a miss behind it, and a true pair that is not listed."""
    rows = [(f"q{i}", f"r{i}", 0.99 - i / 100) for i in range(9)]
    rows += [("q9", "r0", 0.8), ("q9", "r9", 0.7), ("q1", "r2", 0.6)]
    return final_list(rows), truth_table(*[(f"q{i}", f"r{i}") for i in range(11)], ("q11", ""))


def test_choice_follows_its_definitions():
    final, truth = example()
    judged = gallery.judge(final, truth, "all")
    assert judged.threshold == 0.7  # 10 of 11 are right there; 9 of 10 and 9 of 9 before
    right = gallery.choose_right(judged, 4)
    assert names(right) == [(f"q{i}", f"r{i}") for i in (0, 3, 6, 9)]
    assert right.title.startswith("Right matches: 4 of 10")
    assert right.note == "10 of 11 true pairs score at least 0.700, the threshold of 90 % precision."
    wrong = gallery.choose_wrong(judged, 4)
    assert names(wrong) == [("q9", "r0"), ("q1", "r2")]
    assert wrong.pairs["rank"].tolist() == [10, 12]
    assert wrong.title == "Wrong matches: 2 of 2 wrong pairs at any score"
    assert gallery.choose_wrong(judged, 1).title == "Wrong matches: 1 of 2 wrong pairs at any score, the highest"
    assert wrong.note.startswith("1 wrong pair scores at least 0.700, the threshold of 90 % precision; what stands ")
    assert wrong.pairs["remark"].tolist() == [
        "Its true source r9 has rank 11 with 0.700.",
        "Its true source r1 has rank 2 with 0.980.",
    ]
    missed = gallery.choose_missed(judged, 4)
    assert names(missed) == [("q10", "r10")]
    assert missed.pairs["remark"].tolist() == ["The list has no wrong candidate for this query."]


def test_missed_shares_its_rows_between_absent_and_low_pairs():
    rows = [("q0", "r0", 0.9)] + [(f"w{i}", "r", 0.8) for i in range(9)]
    rows += [(f"low{i}", "r", 0.1 * i) for i in range(5)]
    truth = truth_table(("q0", "r0"), *[(f"low{i}", "r") for i in range(5)], *[(f"none{i}", "r") for i in range(7)])
    judged = gallery.judge(final_list(rows), truth, "all")
    assert judged.threshold == 0.9
    shown = {count: [query for query, _ in names(gallery.choose_missed(judged, count))] for count in (4, 5, 10, 20)}
    assert shown[4] == ["none0", "none6", "low0", "low1"]
    assert shown[5] == ["none0", "none3", "none6", "low0", "low1"]
    assert shown[10] == ["none0", "none2", "none3", "none4", "none6", "low0", "low1", "low2", "low3", "low4"]
    assert shown[20] == [f"none{i}" for i in range(7)] + [f"low{i}" for i in range(5)]
    assert "7 are not in the list and 5 score less than 0.900" in gallery.choose_missed(judged, 4).note


def test_without_a_threshold_what_the_list_holds_is_right():
    rows = [("q1", "r0", 0.9), ("q0", "r0", 0.8), ("q2", "r0", 0.7)]
    judged = gallery.judge(final_list(rows), truth_table(("q0", "r0"), ("q3", "r0")), "all")
    assert judged.threshold is None
    assert names(gallery.choose_right(judged, 8)) == [("q0", "r0")]
    assert names(gallery.choose_missed(judged, 8)) == [("q3", "r0")]


def test_listed_leaves_out_queries_that_the_ground_truth_does_not_name():
    rows = [("other", "r0", 0.9), ("q0", "r0", 0.8), ("none", "r0", 0.7)]
    truth = truth_table(("q0", "r0"), ("none", ""))
    judged = gallery.judge(final_list(rows), truth, "listed")
    assert judged.threshold == 0.8
    wrong = gallery.choose_wrong(judged, 8)
    assert names(wrong) == [("none", "r0")]
    assert wrong.pairs["rank"].tolist() == [3]  # the place in the file
    assert wrong.pairs["remark"].tolist() == ["This query has no source among the references."]
    assert gallery.judge(final_list(rows), truth, "all").threshold is None


def test_best_takes_each_query_once():
    rows = [("q0", "r0", 0.9), ("q0", "r1", 0.8), ("q1", "r1", 0.7), ("q2", "r1", 0.6)]
    best = gallery.choose_best(gallery.rank_list(final_list(rows)), 2)
    assert names(best) == [("q0", "r0"), ("q1", "r1")]
    assert best.title == "Best pair of each query: 2 of 3, highest score first"
    assert "not all are copies" in best.note and set(best.pairs["verdict"]) == {"best pair"}


ids = st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["x", "y", "z"]))


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(ids, st.integers(0, 9).map(lambda number: number / 10), max_size=12),
    st.sets(ids, min_size=1),
    st.integers(1, 12),
)
def test_right_and_missed_are_the_truth_and_agree_with_the_recall(scores, true, count):
    final = final_list([(*pair, score) for pair, score in scores.items()])
    judged = gallery.judge(final, truth_table(*sorted(true)), "all")
    everything = len(true) + len(scores)
    right = set(names(gallery.choose_right(judged, everything)))
    missed = set(names(gallery.choose_missed(judged, everything)))
    assert right | missed == true
    assert not right & missed
    if judged.threshold is not None:
        hits = [pair in true for pair in final[["query_id", "reference_id"]].itertuples(index=False, name=None)]
        assert len(right) / len(true) == metrics.recall_at_precision(final["score"], hits, len(true))[0]
        assert right == {pair for pair in true if scores.get(pair, -1) >= judged.threshold}
    wrong = sorted((pair for pair in scores if pair not in true), key=lambda pair: (-scores[pair], pair))
    assert names(gallery.choose_wrong(judged, count)) == wrong[:count]
    some = names(gallery.choose_right(judged, count))
    assert len(some) == min(count, len(right))
    if count > 1 and right:
        ranked = [pair for pair in sorted(scores, key=lambda pair: (-scores[pair], pair)) if pair in right]
        assert (some[0], some[-1]) == (ranked[0], ranked[-1])
        assert some == [pair for pair in ranked if pair in some]


def test_a_ground_truth_without_any_pair_is_refused():
    with pytest.raises(InputError, match="names no pair"):
        gallery.judge(final_list([]), truth_table(("q", "")), "all")


# ------------------------------------------------------------------------------------------ evidence of the pairs

evidence_rows = st.tuples(
    st.sampled_from(["f.a", "f.b", "g.a"]),
    st.sampled_from([200, 256]),
    st.sampled_from(["q1", "q2"]),
    st.integers(0, 2),
    st.sampled_from(["r1", "r2"]),
    st.just(0),
    st.integers(0, 8).map(lambda number: number / 8),
)
tile_rows = st.tuples(
    st.sampled_from(["f.a", "f.b"]),
    st.just(256),
    st.sampled_from(["q1", "q2"]),
    st.just(0),
    st.sampled_from(["r1", "r2", "face"]),
    st.integers(0, 3),
    st.integers(0, 8).map(lambda number: number / 8),
)


def once(rows):
    """Each place of a table of pairs once, as a vote leaves it."""
    return list({row[:6]: row for row in rows}.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("evidence")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(evidence_rows, min_size=1, max_size=30).map(once),
    st.lists(tile_rows, max_size=15).map(once),
    st.sets(st.sampled_from([("q1", "r1"), ("q1", "r2"), ("q2", "r1"), ("q2", "face")]), min_size=1),
    RULES,
)
def test_evidence_of_some_pairs_gives_the_scores_of_the_whole_list(folder, rows, tiles, wanted, rule):
    """Read for a few pairs alone, filtered and penalised, the two best rows have the final score as their mean."""
    rules = ensembling.Ensembling(**SETTINGS | {"final_score": rule})
    manifest = pd.DataFrame({"image_id": ["q1", "q2"], "width": [100, 60], "height": [60, 100]})
    layout = parts.fixed_query_parts(manifest["width"].to_numpy(), manifest["height"].to_numpy(), ["whole", "half"])
    table = parts.parts_table([layout], manifest["image_id"], ["whole", "half"])
    faces = pd.DataFrame({"image_id": ["r1", "r2", "face"], "faces": [0, 0, 2]})
    sides = {"f": 40, "g": 61}  # g's filter drops what is narrower than the pictures
    voted, tile_votes = pairs_table(rows), pairs_table(tiles)
    by_family = [voted[[m.startswith(f) for m in voted["model"]]] for f in ("f", "g")]
    files = [folder / "f.parquet", folder / "g.parquet"]
    for path, family in zip(files, by_family):
        ensembling.write_pairs(path, family)
    ensembling.write_pairs(folder / "tiles.parquet", tile_votes)

    everything = [
        ensembling.collect_evidence(voted, table, sides, rules),
        ensembling.collect_tile_evidence(tile_votes, faces, rules),
    ]
    scores = ensembling.final_scores(ensembling.stack(everything), rule)
    expected = {(row.query_id, row.reference_id): row.score for row in scores.itertuples()}
    pairs = truth_table(*sorted(wanted))
    evidence = gallery.read_evidence(pairs, files, [folder / "tiles.parquet"], table, faces, sides, rules)
    found = set(zip(evidence["query_id"], evidence["reference_id"]))
    assert found == wanted & expected.keys()
    for query, reference in found:
        own = evidence[(evidence["query_id"] == query) & (evidence["reference_id"] == reference)]
        best = gallery.two_best(own, rule)
        assert best["score"].mean() == pytest.approx(expected[query, reference], abs=1e-6)
        assert best["score"].is_monotonic_decreasing
        if len(best) == 2 and rule == "different_evidence":
            assert (best[gallery.EVIDENCE].iloc[0] != best[gallery.EVIDENCE].iloc[1]).any()
        # what a tile lost of its name for the rule that compares values, the sheet still needs
        known = {row[:4] + row[4:6] for row in tiles} | {(*row[:5], -1) for row in rows}
        for row in best.itertuples():
            part = 0 if row.tile >= 0 else row.query_part
            assert (row.model, row.scale, query, part, reference, row.tile) in known
    listed = pairs.assign(score=[expected.get(tuple(pair), np.nan) for pair in pairs.itertuples(index=False)])
    checked = gallery.check_scores(listed, evidence, rule)
    np.testing.assert_allclose(checked["recomputed"], listed["score"], atol=1e-5)
    assume(found)
    with pytest.raises(InputError, match="different runs"):
        gallery.check_scores(listed.assign(score=listed["score"] + 2e-5), evidence, rule)


def test_a_listed_pair_without_evidence_is_of_another_run():
    evidence = pairs_table([("f.a", 256, "q1", 0, "r1", 0, 0.5)])
    listed = truth_table(("q2", "r1")).assign(score=0.5)
    with pytest.raises(InputError, match="q2 and r1"):
        gallery.check_scores(listed, evidence, "different_evidence")


def test_an_unknown_part_is_of_another_run():
    manifest = pd.DataFrame({"image_id": ["r"], "path": ["r.png"], "width": [8], "height": [8]})
    known = gallery.pictures(manifest, gallery.whole_and_tiles(manifest, None))
    assert known.view("r", gallery.NO_TILE).part.kind == "whole"
    assert known.picture("lost") is None
    with pytest.raises(InputError, match="no part 3 of picture r"):
        known.view("r", 3)


# ---------------------------------------------------------------------------------------------------- pictures


def save(path, pixels):
    Image.fromarray(pixels).save(path)
    return str(path)


def part_row(box, rotation=0, mirrored=False, kind="half", rank=0):
    row = pd.DataFrame([(kind, rank, *box, rotation, mirrored)], columns=gallery.PART)
    return next(row.itertuples(index=False, name="Part"))


def has_colour(panel, point, colour):
    return panel.getpixel(tuple(round(value) for value in point)) == colour


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_orange_marks_the_upper_edge_and_its_left_end(tmp_path, rotation, mirrored):
    """Where the part's upper corners lie in the picture is read off a picture whose pixels say where they are."""
    pixels = np.zeros((95, 135, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(135), np.arange(95)[:, None]
    box = 20, 10, 110, 70
    view = gallery.View(save(tmp_path / "p.png", pixels), part_row(box, rotation, mirrored))
    cut = parts.cut_part(pixels, view.part)
    # pixel i covers [i, i + 1): a corner pixel's outer corner is on the box
    at = {name: cut[place][:2].astype(int) for name, place in (("left", (0, 0)), ("right", (0, -1)))}
    start, end = ([x + (x == 109), y + (y == 69)] for x, y in at.values())
    picture, part = gallery.draw_panels([view])[view]
    scale = 2  # the picture is half as large as a panel
    assert picture.size == (270 + 2 * gallery.FRAME, 190 + 2 * gallery.FRAME)
    corners = np.array([(x, y) for x in (20, 110) for y in (10, 70)])
    centre = corners.mean(axis=0)
    for corner in corners:
        outward = np.sign(corner - centre) * 4
        point = corner * scale + gallery.FRAME + outward
        assert has_colour(picture, point, ORANGE) == (list(corner) == start)
    for a, b in ((0, 1), (0, 2), (3, 1), (3, 2)):
        middle = (corners[a] + corners[b]) / 2
        upper = {tuple(corners[a]), tuple(corners[b])} == {tuple(start), tuple(end)}
        assert has_colour(picture, middle * scale + gallery.FRAME, ORANGE if upper else (255, 255, 255))
    assert has_colour(part, (2, 2), ORANGE)
    assert has_colour(part, (part.width / 2, gallery.FRAME), ORANGE)
    assert not has_colour(part, (part.width - 3, 2), ORANGE)


def test_the_part_is_shown_as_it_was_compared(tmp_path):
    """A quarter red, cut, turned and mirrored: the colours of the panel's quarters are those of the cut part."""
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[:20, :20] = (255, 0, 0)
    pixels[:20, 20:40] = (0, 255, 0)
    pixels[20:40, :20] = (0, 0, 255)
    view = gallery.View(save(tmp_path / "p.png", pixels), part_row((0, 0, 40, 40), 90, True))
    _, part = gallery.draw_panels([view])[view]
    # left turn: green over red at left, black over blue at right; then left and right exchanged
    near, far = part.width // 4, part.width * 3 // 4
    quarters = [part.getpixel(place) for place in ((near, near), (far, near), (near, far), (far, far))]
    assert quarters == [(0, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0)]


@pytest.mark.parametrize("width, height", [(1, 1), (2, 3), (1, 5000), (5000, 1), (3000, 2000), (20_000, 7)])
def test_every_size_of_picture_is_drawn(tmp_path, width, height):
    rng = np.random.default_rng(0)
    path = save(tmp_path / "p.png", rng.integers(0, 200, (height, width, 3), dtype=np.uint8))
    table = parts.fixed_query_parts(width, height, KINDS)
    views = [gallery.View(path, row) for row in table[gallery.PART].itertuples(index=False, name="Part")]
    panels = gallery.draw_panels([*views, gallery.View(path, None), None])
    assert len(panels) == len(views) + 1
    for view, drawn in panels.items():
        assert (drawn[1] is None) == (view.part is None or view.part.kind == "whole")
        for panel in filter(None, drawn):
            inside = np.asarray(panel)[gallery.FRAME : -gallery.FRAME, gallery.FRAME : -gallery.FRAME]
            assert 4 <= inside.shape[1] <= gallery.PANEL[0]
            assert 4 <= inside.shape[0] <= gallery.PANEL[1]
            assert max(inside.shape[1] / gallery.PANEL[0], inside.shape[0] / gallery.PANEL[1]) == 1
            assert (inside < 255).any()


def test_large_pictures_are_thinned_evenly(tmp_path):
    """A ramp from left to right stays one."""
    ramp = np.linspace(0, 255, 6000).astype(np.uint8)[None, :, None].repeat(4000, 0).repeat(3, 2)
    view = gallery.View(save(tmp_path / "p.png", ramp), None)
    frame = gallery.FRAME
    inside = np.asarray(gallery.draw_panels([view])[view][0])[frame:-frame, frame:-frame]
    expected = np.linspace(0, 255, inside.shape[1])[:, None]
    np.testing.assert_allclose(inside, np.broadcast_to(expected, inside.shape), atol=2)


def test_a_picture_is_decoded_once_however_often_it_is_shown(tmp_path, monkeypatch):
    path = save(tmp_path / "p.png", np.zeros((9, 9, 3), np.uint8))
    decoded = []
    load = gallery.load_image
    monkeypatch.setattr(gallery, "load_image", lambda path: decoded.append(path) or load(path))
    boxes = [(0, 0, 9, 9), (0, 0, 5, 9), (0, 0, 9, 9)]
    panels = gallery.draw_panels([gallery.View(path, part_row(box)) for box in boxes])
    assert (len(panels), decoded) == (2, [path])


def test_a_picture_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"lost\.png"):
        gallery.draw_panels([gallery.View(str(tmp_path / "lost.png"), None)])


ODD = ["a, b", 'say "x"', "$\\frac{1}{$ ^_%", "two\nlines", "x" * 240, "字" * 90, "‏שלום", "-", "\x00\t", "𝔘😀"]


@pytest.mark.parametrize("name", ODD)
def test_text_of_any_name_fits_its_place(name):
    font = gallery.font(13)
    text = gallery.printable(name)
    assert text.isprintable()
    short = gallery.fitted(text, font, 120)
    assert font.getlength(short) <= 120
    if font.getlength(text) <= 120:
        assert short == text
    else:
        head, tail = short.split("…")
        assert head and text.startswith(head) and text.endswith(tail)
        assert font.getlength(text[: len(head) + 1] + "…" + text[-len(tail) - 1 :]) > 120


# ------------------------------------------------------------------------------------------------- the whole


class Run:
    """A small finished run: pictures, tables and a list, as the workflow leaves them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.queries = ["same", "turned", "mirrored, too", 'in a "tile"\n$x$', "wrong", "lost", "low" + "w" * 237]
        self.references = [f"R{i} ü$" for i in range(7)]
        rng = np.random.default_rng(1)
        base = {i: rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1) for i in range(7)}
        edited = dict(base) | {1: np.rot90(base[1], -1), 2: base[2][:, ::-1], 3: base[3][:60, :80]}
        tables = {}
        for role, names, pixels in (("queries", self.queries, edited), ("references", self.references, base)):
            paths = [save(folder / f"{role}{i}.png", np.ascontiguousarray(pixels[i])) for i in range(7)]
            sizes = [pixels[i].shape for i in range(7)]
            table = pd.DataFrame({"image_id": names, "path": paths})
            tables[role] = table.assign(width=[s[1] for s in sizes], height=[s[0] for s in sizes])
            tables[role].to_parquet(folder / f"{role}.parquet")
        sizes = tables["queries"][["width", "height"]].to_numpy().T
        self.parts = parts.parts_table([parts.fixed_query_parts(*sizes, KINDS)], tables["queries"]["image_id"], KINDS)
        self.parts.to_parquet(folder / "parts.parquet")
        sizes = tables["references"][["width", "height"]].to_numpy().T
        tiles = parts.reference_tiles(*sizes, TILE_KINDS)
        parts.parts_table([tiles], tables["references"]["image_id"], TILE_KINDS).to_parquet(folder / "tiles.parquet")
        q, r = self.queries, self.references
        rows = [("f.a", 128, q[0], 0, r[0], 0, 0.99), ("f.b", 128, q[0], 0, r[0], 0, 0.97)]
        rows += [("f.a", 128, q[1], 1, r[1], 0, 0.95), ("f.b", 128, q[1], 1, r[1], 0, 0.91)]
        rows += [("f.a", 128, q[2], 4, r[2], 0, 0.93), ("f.a", 128, q[2], 0, r[2], 0, 0.5)]
        rows += [("f.a", 128, q[4], 0, r[0], 0, 0.3), ("f.a", 128, q[6], 0, r[6], 0, 0.2)]
        self.voted = pairs_table(rows)
        ensembling.write_pairs(folder / "f.parquet", self.voted)
        ensembling.write_pairs(folder / "ft.parquet", pairs_table([("f.a", 128, q[3], 0, r[3], 1, 0.9)]))
        self.truth = truth_table(*((q[i], r[i]) for i in (0, 1, 2, 3, 5, 6)), (q[4], ""))
        self.truth.to_csv(folder / "truth.csv", index=False)
        self.write_list({0: 0.98, 1: 0.83, 2: 0.665, 3: 0.7, 6: 0.2}, {4: 0.3})

    def write_list(self, right, wrong):
        rows = [(self.queries[i], self.references[i], score) for i, score in right.items()]
        rows += [(self.queries[i], self.references[0], score) for i, score in wrong.items()]
        ensembling.write_final(self.folder / "matching.csv", final_list(rows))

    def words(self, *arguments):
        flags = ["--final", "matching.csv", "--voted", "f.parquet", "--tile-votes", "ft.parquet"]
        flags += ["--parts", "parts.parquet", "--tiles", "tiles.parquet"]
        flags += ["--queries", "queries.parquet", "--references", "references.parquet"]
        flags += ["--ensembling", json.dumps(SETTINGS | {"drop_face_references": False})]
        flags += ["--family-sides", '{"f": 1}', "--matches", "4", "--threads", "1"]
        return [str(SCRIPTS / "draw_gallery.py"), *flags, *arguments]

    def command(self, *arguments):
        command = [sys.executable, *self.words(*arguments)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True)


JUDGED = ["--ground-truth", "truth.csv", "--sheets", "right.png", "wrong.png", "missed.png"]


@pytest.fixture
def small_run(tmp_path):
    return Run(tmp_path)


def sheet(path):
    """A sheet's pixels; read strictly, one figure's width."""
    pixels = gallery.load_image(path)
    assert pixels.shape[1] == 1200
    return pixels


def rows_of(pixels):
    """The number of matches on a sheet: of the long grey lines above them."""
    line = np.all(pixels[:, 30:1170] == (0xD0, 0xD3, 0xD6), axis=(1, 2))
    return int(line.sum())


def test_script_draws_right_wrong_and_missed_matches_of_odd_names(small_run):
    done = small_run.command(*JUDGED)
    assert done.returncode == 0, done.stderr
    assert "Right matches: 4 of 4:" in done.stderr
    assert "Wrong matches: 1 of 1 wrong pairs at any score:" in done.stderr
    assert "Missed matches: 2 of 2:" in done.stderr
    counts = {"right": 4, "wrong": 1, "missed": 2}
    for name, count in counts.items():
        pixels = sheet(small_run.folder / f"{name}.png")
        assert rows_of(pixels) == count
        # the pictures are squares of many colours, words and lines are not: every row has some in the first two columns
        for part in np.array_split(pixels[100:], count):
            for column in (part[:, 24:300], part[:, 318:594]):
                assert len(np.unique(column.reshape(-1, 3), axis=0)) > 60
    first = (small_run.folder / "right.png").read_bytes()
    assert small_run.command(*JUDGED).returncode == 0
    assert (small_run.folder / "right.png").read_bytes() == first


def test_a_sheet_says_which_list_it_shows_and_whether_that_is_the_last_word(small_run, monkeypatch):
    small_run.truth.iloc[:4].to_csv(small_run.folder / "truth.csv", index=False)
    small_run.write_list({0: 0.98, 1: 0.83, 2: 0.665, 3: 0.7}, {})
    said, headline = [], gallery.headline
    monkeypatch.setattr(gallery, "headline", lambda *words: said.append(words) or headline(*words))
    monkeypatch.chdir(small_run.folder)
    for flags in ([], ["--verified"]):
        said.clear()
        monkeypatch.setattr(sys, "argv", small_run.words(*JUDGED, *flags))
        draw_gallery.main()
        assert {source for *_, source in said} == {
            "matching.csv, the ranked list" + ", before verification" * len(flags)
        }
        assert {"matches.csv, can find what this list misses" in note for _, note, _ in said} == {bool(flags)}
        assert ["Each row" in note for _, note, _ in said] == [True, False, False]  # the others are empty


def described(run, choose, queries):
    """The matches of a kind as a sheet words them, of those queries that the manifest holds."""
    rules = ensembling.Ensembling(**SETTINGS | {"drop_face_references": False})
    final = ensembling.read_final(run.folder / "matching.csv")
    pairs = choose(gallery.judge(final, run.truth, "all"), 8).pairs
    files = [run.folder / "f.parquet"], [run.folder / "ft.parquet"]
    evidence = gallery.read_evidence(pairs, *files, run.parts, None, {"f": 1}, rules)
    manifest = pd.read_parquet(run.folder / "queries.parquet")
    references = pd.read_parquet(run.folder / "references.parquet")
    tiles = pd.read_parquet(run.folder / "tiles.parquet")
    return gallery.describe_matches(
        gallery.check_scores(pairs, evidence, rules.final_score),
        evidence,
        gallery.pictures(manifest[manifest["image_id"].isin(queries)], run.parts),
        gallery.pictures(references, gallery.whole_and_tiles(references, tiles)),
        len(final),
        rules,
    )


def test_words_name_score_model_scale_parts_and_penalty(small_run):
    same, turned, tiled, mirrored = described(small_run, gallery.choose_right, small_run.queries)
    assert same.lines == [
        "score 0.980, rank 1 of 6",
        "Best evidence 0.990: f.a at 128 px, whole picture × whole picture",
        "Second evidence 0.970: f.b at 128 px, whole picture × whole picture",
    ]
    assert turned.lines[1].startswith(
        "Best evidence 0.850 (similarity 0.950, penalty 0.100): f.a at 128 px, rotation by"
    )
    assert turned.captions[1:3] == ["query part: rotation by 90°", "reference part: whole picture"]
    assert turned.query.part.rotation == 90
    assert mirrored.captions[1] == "query part: mirror"
    assert mirrored.query.part.mirrored
    assert mirrored.lines[2] == "Second evidence 0.500: f.a at 128 px, whole picture × whole picture"
    assert tiled.lines == [
        "score 0.700, rank 3 of 6",
        "Best evidence 0.700 (similarity 0.900, penalty 0.200): f.a at 128 px, whole picture × grid2 1",
    ]
    assert tiled.captions[0] == 'query in a "tile"\\n$x$'
    assert (tiled.reference.part.x1, tiled.reference.part.y1) == (80, 60)


def test_missed_pairs_say_what_the_list_says_instead(small_run):
    """A pair without evidence, one below the threshold, and one whose query was rejected."""
    lost, low = described(small_run, gallery.choose_missed, small_run.queries)
    assert lost.lines[0] == "not in the list"
    assert lost.lines[1].startswith("No evidence: no model has it among its best pairs")
    pair = pd.Series({"score": np.nan, "recomputed": np.nan})
    assert gallery._standing(pair, 6, True, vote=2)[1].startswith("No evidence: not enough models agree")
    assert lost.query == gallery.View(str(small_run.folder / "queries5.png"), None)
    assert low.lines[0] == "score 0.200, rank 6 of 6"
    small_run.write_list({0: 0.98, 1: 0.83, 2: 0.665, 3: 0.7}, {4: 0.3})
    rejected, cut_off = described(small_run, gallery.choose_missed, small_run.queries[:5] + small_run.queries[6:])
    assert rejected.query is None
    assert rejected.lines[1] == "No evidence: one of the two pictures could not be read (images/rejected.csv)."
    assert cut_off.lines[:2] == ["not in the list", "It scores 0.200, less than the pairs that the list keeps."]
    assert cut_off.query.part.kind == "whole"
    gallery.draw_sheet(
        gallery.Choice("Missed", "Two.", pd.DataFrame()),
        [rejected, cut_off],
        gallery.draw_panels([rejected.query, rejected.reference, cut_off.query, cut_off.reference]),
        small_run.folder / "rejected.png",
        "list", "", "",
    )  # fmt: skip
    assert rows_of(sheet(small_run.folder / "rejected.png")) == 2


def test_a_kind_without_matches_says_so_on_a_small_sheet(small_run):
    """Every pair of the list is right, and all are in it."""
    small_run.truth = small_run.truth.iloc[:4]
    small_run.truth.to_csv(small_run.folder / "truth.csv", index=False)
    small_run.write_list({0: 0.98, 1: 0.83, 2: 0.665, 3: 0.7}, {})
    done = small_run.command(*JUDGED)
    assert done.returncode == 0, done.stderr
    assert "No match is missed.: " in done.stderr
    assert "No match is wrong.: " in done.stderr
    for name in ("wrong", "missed"):
        pixels = sheet(small_run.folder / f"{name}.png")
        assert len(pixels) < 150
        assert (pixels[20:60] < 100).any(axis=2).sum() > 300  # a sentence
        assert rows_of(pixels) == 0


def test_a_whole_picture_is_shown_once_and_a_part_beside_its_picture(small_run, monkeypatch):
    rows, row = [], gallery.row
    monkeypatch.setattr(gallery, "row", lambda *words: rows.append([text for text, _ in words[-1]]) or row(*words))
    matches = described(small_run, gallery.choose_right, small_run.queries)
    panels = gallery.draw_panels([view for match in matches for view in (match.query, match.reference)])
    choice = gallery.Choice("Right", "Four.", pd.DataFrame())
    gallery.draw_sheet(choice, matches, panels, small_run.folder / "right.png", "list", "", "")
    assert rows == [
        ["query same", "reference R0 ü$"],
        ["query turned", "query part: rotation by 90°", "reference R1 ü$"],
        ['query in a "tile"\\n$x$', "reference part: grid2 1", "reference R3 ü$"],
        ["query mirrored, too", "query part: mirror", "reference R2 ü$"],
    ]


def test_the_nearest_pairs_of_a_list_of_descriptors_are_drawn(small_run, monkeypatch):
    """One query is described by a box; of another the picture could not be read."""
    manifest = pd.read_parquet(small_run.folder / "queries.parquet")
    manifest[manifest["image_id"] != "lost"].to_parquet(small_run.folder / "queries.parquet")
    boxes = small_run.parts[small_run.parts["part"] == 0].copy()
    boxes.loc[boxes["image_id"] == "turned", ["kind", "x1", "y1"]] = ["detected_overlay", 60, 80]
    boxes.to_parquet(small_run.folder / "boxes.parquet")
    flags = ["--list", "matching.csv", "--queries", "queries.parquet", "--references", "references.parquet"]
    flags += ["--replaced", "boxes.parquet", "--count", "all", "--matches", "4", "--threads", "1"]
    said, row = [], gallery.row
    monkeypatch.setattr(gallery, "row", lambda *words: said.append((*words[2], *words[-1])) or row(*words))
    monkeypatch.chdir(small_run.folder)
    monkeypatch.setattr(sys, "argv", ["draw_nearest.py", *flags, *JUDGED])
    draw_nearest.main()
    assert [rows_of(sheet(small_run.folder / f"{name}.png")) for name in ("right", "wrong", "missed")] == [4, 1, 2]
    words = [[text if isinstance(text, str) else text[0] for text in parts] for parts in said]
    assert words[0] == ["score 0.980, rank 1 of 6", "query same", "reference R0 ü$"]
    assert words[1][1:] == ["query turned", "query part: detected overlay 1", "reference R1 ü$"]
    assert words[4][:2] == ["score 0.300, rank 5 of 6", "This query has no source among the references."]
    assert words[5][:2] == ["not in the list", "One of the two pictures could not be read (images/rejected.csv)."]
    monkeypatch.setattr(sys, "argv", ["draw_nearest.py", *flags, "--sheets", "best.png"])
    draw_nearest.main()
    assert rows_of(sheet(small_run.folder / "best.png")) == 4


def test_without_ground_truth_one_sheet_of_the_best(small_run):
    done = small_run.command("--sheets", "best.png")
    assert done.returncode == 0, done.stderr
    assert rows_of(sheet(small_run.folder / "best.png")) == 4
    small_run.write_list({}, {})
    assert small_run.command("--sheets", "best.png").returncode == 0
    assert len(sheet(small_run.folder / "best.png")) < 150


def test_a_list_of_another_run_is_refused_in_one_sentence(small_run):
    small_run.write_list({0: 0.9}, {})
    done = small_run.command(*JUDGED)
    assert done.returncode == 2
    assert "error: The list gives same and R0 ü$ the score 0.900000, their evidence amounts to 0.98" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (small_run.folder / "right.png").exists()


@pytest.mark.parametrize("arguments", [JUDGED[:-1], [*JUDGED, "b.png"], JUDGED[2:], ["--sheets", "b.png", *JUDGED[:2]]])
def test_sheets_and_ground_truth_go_together(small_run, arguments):
    done = small_run.command(*arguments)
    assert done.returncode == 2
    assert "with --ground-truth give three files as --sheets, without it one" in done.stderr
