"""Query parts and reference tiles: the sheet's geometry in numbers, exact tilings, cut and map back."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from copytrace import parts
from copytrace.errors import InputError

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"
QUERY_KINDS = list(parts.QUERY_LAYOUTS)
REFERENCE_KINDS = list(parts.REFERENCE_LAYOUTS)
sides = st.integers(1, 400)


def boxes(table: pd.DataFrame, kind: str) -> list[tuple[int, ...]]:
    return list(table.loc[table.kind == kind, ["x0", "y0", "x1", "y1"]].itertuples(index=False, name=None))


def test_fixed_query_parts_follow_the_sheet():
    """Section 5.1 worked out by hand for 1000 x 600; halves are the picture cut in two."""
    table = parts.fixed_query_parts(1000, 600, QUERY_KINDS)
    assert boxes(table, "whole") == [(0, 0, 1000, 600)]
    assert boxes(table, "rotation") == [(0, 0, 1000, 600)] * 3
    assert table[table.kind == "rotation"].rotation.tolist() == [90, 180, 270]
    assert table[table.kind != "rotation"].rotation.eq(0).all()
    assert table[table.mirrored].kind.tolist() == ["mirror"]
    assert boxes(table, "centre") == [(250, 150, 750, 450)]
    assert boxes(table, "third") == [
        (166, 100, 500, 300),
        (500, 100, 833, 300),
        (166, 300, 500, 500),
        (500, 300, 833, 500),
    ]
    assert boxes(table, "half") == [
        (0, 0, 500, 600),
        (500, 0, 1000, 600),
        (0, 0, 1000, 300),
        (0, 300, 1000, 600),
    ]
    assert table["rank"].tolist() == [0, 0, 1, 2, 0, 0, 0, 1, 2, 3, 0, 1, 2, 3]
    assert table.score.isna().all()


def test_reference_tiles_follow_the_sheet():
    """Section 5.3 for an odd size, 641 x 427: W//2 = 320, W//3 = 213, 2W//3 = 427; H: 213, 142, 284."""
    table = parts.reference_tiles(641, 427, REFERENCE_KINDS)
    assert len(table) == 19
    assert table.kind.tolist() == ["whole"] + ["grid2"] * 4 + ["centre"] + ["grid3"] * 9 + ["third"] * 4
    assert boxes(table, "grid2") == [
        (0, 0, 320, 213),
        (320, 0, 641, 213),
        (0, 213, 320, 427),
        (320, 213, 641, 427),
    ]
    assert boxes(table, "centre") == [(160, 106, 480, 320)]
    assert boxes(table, "grid3") == [
        (x0, y0, x1, y1)
        for y0, y1 in [(0, 142), (142, 284), (284, 427)]
        for x0, x1 in [(0, 213), (213, 427), (427, 641)]
    ]
    assert boxes(table, "third") == [
        (106, 71, 320, 213),
        (320, 71, 534, 213),
        (106, 213, 320, 355),
        (320, 213, 534, 355),
    ]


@given(width=sides, height=sides)
def test_fractions_are_rounded_down_exactly(width, height):
    """The sheet's fractions in rational numbers, where nothing is widened."""
    if min(width, height) < 6:
        return
    (whole, centre, first, *_) = parts.fixed_query_parts(width, height, ["whole", "centre", "third"]).itertuples()
    assert (whole.x1, whole.y1) == (width, height)
    assert (centre.x0, centre.x1) == (width * 25 // 100, width * 75 // 100)
    assert (first.x0, first.y0, first.x1, first.y1) == (width // 6, height // 6, width // 2, height // 2)


@given(width=sides, height=sides)
def test_boxes_lie_inside_and_hold_a_pixel(width, height):
    for table in (
        parts.fixed_query_parts(width, height, QUERY_KINDS),
        parts.reference_tiles(width, height, REFERENCE_KINDS),
    ):
        assert (table.x0 >= 0).all() and (table.y0 >= 0).all()
        assert (table.x0 < table.x1).all() and (table.y0 < table.y1).all()
        assert (table.x1 <= width).all() and (table.y1 <= height).all()


@settings(max_examples=30)
@given(width=st.integers(3, 200), height=st.integers(3, 200))
def test_grids_and_halves_cover_every_pixel_once(width, height):
    table = pd.concat(
        [
            parts.reference_tiles(width, height, ["grid2", "grid3"]),
            parts.fixed_query_parts(width, height, ["half"]),
        ]
    )
    for kind, ranks in [("grid2", range(4)), ("grid3", range(9)), ("half", (0, 1)), ("half", (2, 3))]:
        covered = np.zeros((height, width), np.int64)
        for row in table[(table.kind == kind) & table["rank"].isin(ranks)].itertuples():
            covered[row.y0 : row.y1, row.x0 : row.x1] += 1
        assert (covered == 1).all()


def test_many_pictures_at_once_equal_one_at_a_time():
    sizes = np.random.default_rng(0).integers(1, 500, (20, 2))
    together = parts.reference_tiles(*sizes.T, REFERENCE_KINDS)
    alone = pd.concat([parts.reference_tiles(w, h, REFERENCE_KINDS) for w, h in sizes])
    pd.testing.assert_frame_equal(together.reset_index(drop=True), alone.reset_index(drop=True))
    assert (together.index == np.repeat(np.arange(20), 19)).all()


def test_order_of_kinds_is_the_configured_one():
    table = parts.fixed_query_parts(64, 64, ["whole", "half", "selective_search", "mirror"])
    assert table.kind.tolist() == ["whole"] + ["half"] * 4 + ["mirror"]


def test_found_boxes_take_their_place_and_parts_are_numbered():
    kinds = ["whole", "selective_search", "centre"]
    found = [np.array([[1, 2, 3, 4], [5, 6, 9, 9]]), np.empty((0, 4), int), np.array([[0, 0, 2, 2]])]
    scores = [np.array([0.9, 0.4]), np.empty(0), np.array([0.5])]
    fixed = parts.fixed_query_parts(np.array([12, 24, 36]), np.array([12, 24, 36]), kinds)
    proposed = parts.proposed_parts(found, scores, "selective_search")
    table = parts.parts_table([fixed, proposed], pd.Series(["a", "b", "c"]), kinds)
    assert list(table.columns) == parts.COLUMNS
    assert list(table[["image_id", "part", "kind", "rank", "x1"]].itertuples(index=False, name=None)) == [
        ("a", 0, "whole", 0, 12),
        ("a", 1, "selective_search", 0, 3),
        ("a", 2, "selective_search", 1, 9),
        ("a", 3, "centre", 0, 9),
        ("b", 0, "whole", 0, 24),
        ("b", 1, "centre", 0, 18),
        ("c", 0, "whole", 0, 36),
        ("c", 1, "selective_search", 0, 2),
        ("c", 2, "centre", 0, 27),
    ]
    np.testing.assert_allclose(table.score.dropna(), [0.9, 0.4, 0.5], rtol=1e-6)
    assert table.dtypes.astype(str).to_dict() == {
        "image_id": "str",
        "part": "int16",
        "kind": "str",
        "rank": "int16",
        **dict.fromkeys(("x0", "y0", "x1", "y1"), "int32"),
        "rotation": "int16",
        "mirrored": "bool",
        "score": "float32",
    }


def test_whole_pictures():
    table = parts.whole_pictures(pd.DataFrame({"image_id": ["a", "b"], "width": [7, 8], "height": [5, 4]}))
    assert list(table.columns) == parts.COLUMNS
    assert table.part.tolist() == [0, 0]
    assert boxes(table, "whole") == [(0, 0, 7, 5), (0, 0, 8, 4)]


def test_cut_turns_counter_clockwise_and_then_mirrors():
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0] = [[1, 2, 3], [4, 5, 6]]
    row = SimpleNamespace(x0=0, y0=0, x1=3, y1=2, rotation=90, mirrored=False)
    cut = parts.cut_part(image, row)
    assert cut[..., 0].tolist() == [[3, 6], [2, 5], [1, 4]]
    assert cut.flags.c_contiguous and cut.dtype == np.uint8
    row.mirrored = True
    assert parts.cut_part(image, row)[..., 0].tolist() == [[6, 3], [5, 2], [4, 1]]
    row = SimpleNamespace(x0=1, y0=0, x1=3, y1=1, rotation=180, mirrored=False)
    assert parts.cut_part(image, row)[..., 0].tolist() == [[3, 2]]


@st.composite
def pictures_with_parts(draw):
    width, height = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    row = SimpleNamespace(
        x0=x0,
        y0=y0,
        x1=draw(st.integers(x0 + 1, width)),
        y1=draw(st.integers(y0 + 1, height)),
        rotation=draw(st.sampled_from([0, 90, 180, 270])),
        mirrored=draw(st.booleans()),
    )
    return width, height, row


@given(pictures_with_parts())
def test_every_pixel_of_a_part_maps_back_to_where_it_came_from(case):
    width, height, row = case
    image = np.stack([*np.mgrid[:height, :width], np.zeros((height, width))], axis=2).astype(np.uint8)
    part = parts.cut_part(image, row)
    y, x = np.mgrid[: part.shape[0], : part.shape[1]]
    back = parts.points_in_picture(np.column_stack([x.ravel(), y.ravel()]) + 0.5, row)
    assert (np.floor(back) == part.reshape(-1, 3)[:, [1, 0]]).all()


@given(pictures_with_parts())
def test_corners_of_a_part_are_the_box(case):
    row = case[2]
    corners = parts.part_corners_in_picture(row)
    assert {tuple(corner) for corner in corners} == {(x, y) for x in (row.x0, row.x1) for y in (row.y0, row.y1)}
    if not row.rotation and not row.mirrored:
        assert corners.tolist() == [[row.x0, row.y0], [row.x1, row.y0], [row.x1, row.y1], [row.x0, row.y1]]


@pytest.mark.parametrize(
    ("kinds", "says"),
    [
        (["whole", "quarter"], "'quarter'"),
        (["centre", "whole"], "begin with 'whole'"),
        ([], "begin with 'whole'"),
        (["whole", "half", "half"], "twice"),
    ],
)
def test_wrong_kinds_are_refused_by_name(kinds, says):
    with pytest.raises(InputError, match=f"parts.kinds.*{says}"):
        parts.check_kinds(kinds, parts.QUERY_LAYOUTS, "parts.kinds")


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, SCRIPTS / f"{name}.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_scripts_write_the_tables(tmp_path):
    manifest = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "path": "no picture is opened",
            "width": [60, 24, 5],
            "height": [36, 48, 7],
        }
    )
    manifest.to_parquet(tmp_path / "manifest.parquet")
    tiles = json.dumps({"kinds": REFERENCE_KINDS})
    done = run_script(
        "cut_reference_tiles", "--references", tmp_path / "manifest.parquet", "--tiles", tiles,
        "--output", tmp_path / "tiles.parquet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "tiles.parquet")
    assert list(table.columns) == parts.COLUMNS
    assert table.groupby("image_id").part.apply(list).tolist() == [list(range(19))] * 3
    assert boxes(table[table.image_id == "b"], "grid2")[3] == (12, 24, 24, 48)

    fixed = json.dumps({"kinds": ["whole", "rotation", "half"]})
    shards = []
    for shard in range(2):
        shards.append(tmp_path / f"parts_{shard}.parquet")
        done = run_script(
            "cut_query_parts", "--queries", tmp_path / "manifest.parquet", "--parts", fixed,
            "--shard", shard, "--shards", 2, "--threads", 1, "--output", shards[-1],
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    done = run_script("merge_tables", "--tables", *shards, "--output", tmp_path / "parts.parquet")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "parts.parquet")
    assert table.image_id.tolist() == ["a"] * 8 + ["b"] * 8 + ["c"] * 8
    assert table[table.image_id == "c"].kind.tolist() == ["whole"] + ["rotation"] * 3 + ["half"] * 4

    done = run_script(
        "cut_reference_tiles", "--references", tmp_path / "manifest.parquet",
        "--tiles", '{"kinds": ["grid2"]}', "--output", tmp_path / "none.parquet",
    )  # fmt: skip
    assert done.returncode == 2 and "tiles.kinds" in done.stderr
