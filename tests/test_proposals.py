"""Selective search: regions against the package selectivesearch; what is kept, ordered and mapped back."""

import itertools
import json
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import selectivesearch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from copytrace import proposals
from copytrace.errors import InputError
from copytrace.imaging import load_image
from copytrace.proposals import (
    SearchSettings,
    choose,
    find_regions,
    non_maximum_suppression,
    propose,
)
from copytrace.sample import scenes

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"
PUBLISHED = SearchSettings()
EVERYTHING = replace(PUBLISHED, min_region=0, aspect=(0, np.inf), nms_iou=1.0)
RECTANGLE = (30, 20, 80, 65)


def picture_with_rectangle(seed: int = 0) -> np.ndarray:
    """Two noisy colours, 120 x 90: the second fills RECTANGLE."""
    image = np.full((90, 120, 3), (40, 120, 60), np.uint8)
    x0, y0, x1, y1 = RECTANGLE
    image[y0:y1, x0:x1] = (220, 200, 90)
    return image + np.random.default_rng(seed).integers(0, 8, image.shape, dtype=np.uint8)


def assert_same_as_package(image, scale=125.0, sigma=0.9, min_size=10) -> int:
    """The same boxes and sizes in the same order, whatever ties there are; returns how many."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Applying `local_binary_pattern`")
        _, expected = selectivesearch.selective_search(image, scale, sigma, min_size)
    boxes, sizes = find_regions(image, scale, sigma, min_size)
    starts, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    # Its rectangles are (x, y, width - 1, height - 1).
    found = np.concatenate([starts, sides - 1, sizes[:, None]], axis=1)
    assert found.tolist() == [[*region["rect"], region["size"]] for region in expected]
    return len(found)


def noise(height: int, width: int, highest: int = 255) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, highest + 1, (height, width, 3), dtype=np.uint8)


def overlap(a, b) -> float:
    """IoU by counting pixels."""
    first, second = (set(itertools.product(range(box[0], box[2]), range(box[1], box[3]))) for box in (a, b))
    return len(first & second) / len(first | second)


@st.composite
def box_lists(draw):
    corner = st.integers(0, 9)
    side = st.integers(1, 9)
    found = draw(st.lists(st.tuples(corner, corner, side, side), max_size=12))
    return np.array([(x, y, x + w, y + h) for x, y, w, h in found], dtype=np.int64).reshape(-1, 4)


def test_a_rectangle_is_found_and_none_of_its_pixels_lacks():
    boxes, sizes = find_regions(picture_with_rectangle(), 500, 0.9, 10)
    assert boxes[:, :2].min() == 0 and boxes[:, 2].max() == 120 and boxes[:, 3].max() == 90
    exact = (boxes == RECTANGLE).all(axis=1)
    assert sizes[exact].max() == (80 - 30) * (65 - 20)
    assert sizes.max() == 90 * 120  # the hierarchy ends with the whole picture


@pytest.mark.parametrize("number", range(4))
def test_regions_of_drawn_scenes_are_the_package_s(number):
    image = np.asarray(scenes.render(scenes.scene(0, "queries", number), 160))
    assert assert_same_as_package(image, scale=80) > 50


@pytest.mark.skipif("COPYTRACE_PHOTOS" not in os.environ, reason="COPYTRACE_PHOTOS names no folder")
def test_regions_of_photographs_are_the_package_s():
    photos = sorted(Path(os.environ["COPYTRACE_PHOTOS"]).rglob("*.jpg"))[::150][:10]
    assert len(photos) == 10
    for photo in photos:
        image = load_image(photo)
        assert assert_same_as_package(image[:: -(-max(image.shape) // 256), :: -(-max(image.shape) // 256)]) > 10


@pytest.mark.parametrize(
    "image",
    [
        noise(60, 80),
        noise(12, 16).repeat(6, axis=0).repeat(6, axis=1),
        np.tile(noise(12, 12).repeat(4, axis=0).repeat(4, axis=1), (2, 2, 1)),  # ties in all that is compared
        np.tile(noise(20, 20, 3), (3, 3, 1)),
        noise(60, 80)[:, :, :1].repeat(3, axis=2),
        np.arange(256, dtype=np.uint8).repeat(40 * 3).reshape(256, 40, 3),
        np.zeros((40, 50, 3), np.uint8),
        np.full((40, 50, 3), 255, np.uint8),
    ],
    ids=["noise", "blocks", "equal blocks", "faint and equal", "grey", "every brightness", "black", "white"],
)
@pytest.mark.parametrize("scale, sigma, min_size", [(500, 0.9, 10), (20, 0.5, 3), (1, 0, 4)])
def test_regions_of_odd_pictures_are_the_package_s(image, scale, sigma, min_size):
    assert_same_as_package(image, scale, sigma, min_size)


@settings(max_examples=200, deadline=None)
@given(
    image=st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(
        lambda sides: st.sampled_from([1, 3, 255]).flatmap(
            lambda highest: arrays.arrays(np.uint8, (*sides, 3), elements=st.integers(0, highest), fill=st.nothing())
        )
    ),
    scale=st.sampled_from([0.5, 5.0, 50.0]),
    sigma=st.sampled_from([0, 0.5, 0.9]),
    min_size=st.integers(1, 4),
)
def test_regions_of_small_pictures_are_the_package_s(image, scale, sigma, min_size):
    assert_same_as_package(image, scale, sigma, min_size)


def test_neighbours_are_the_same_however_many_are_compared_at_a_time(monkeypatch):
    image = noise(60, 80)
    monkeypatch.setattr(proposals, "PAIRS_AT_A_TIME", 500)
    assert assert_same_as_package(image, 20, 0.5, 3) > 500 / 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2)])
@pytest.mark.parametrize("min_size", [1, 100])
def test_thin_pictures_have_no_neighbours_and_one_region_each_segment(shape, min_size):
    """A rectangle one or two pixels high has no inside, so nothing merges."""
    image = noise(*shape)
    count = assert_same_as_package(image, 1, 0, min_size)
    assert count == (1 if min_size == 100 else shape[0] * shape[1])


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
def test_a_picture_without_pixels_has_no_regions(shape):
    """The package raises ValueError; `load_image` never returns such a picture."""
    boxes, sizes = find_regions(np.zeros((*shape, 3), np.uint8), 125, 0.9, 10)
    assert boxes.shape == (0, 4) and sizes.shape == (0,)


def test_proposals_are_unique_and_inside():
    image = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = image.repeat(6, axis=0).repeat(6, axis=1)
    boxes, filled = propose(image, EVERYTHING)
    assert len(boxes) > 10 and boxes.dtype == np.int32
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes >= 0).all() and (boxes[:, 2] <= 96).all() and (boxes[:, 3] <= 72).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert (filled > 0).all() and (filled <= 1).all()


@settings(max_examples=200)
@given(boxes=box_lists(), iou=st.sampled_from([0.0, 0.3, 0.5, 1.0]), data=st.data())
def test_suppression_equals_brute_force(boxes, iou, data):
    order = data.draw(st.permutations(range(len(boxes))))
    expected: list[int] = []
    for candidate in order:
        if all(overlap(boxes[candidate], boxes[kept]) <= iou for kept in expected):
            expected.append(candidate)
    assert non_maximum_suppression(boxes, np.array(order, dtype=int), iou).tolist() == expected


def test_suppression_uses_the_published_areas():
    """Inclusive ends and areas with +1, as published, give 10 x 10 and 10 x 5 an overlap of exactly half."""
    boxes = np.array([(0, 0, 10, 10), (0, 0, 10, 5)])
    assert non_maximum_suppression(boxes, np.array([0, 1]), 0.5).tolist() == [0, 1]
    assert non_maximum_suppression(boxes, np.array([0, 1]), 0.49).tolist() == [0]


def test_limits_on_size_and_shape():
    boxes = np.array([(0, 0, 10, 10), (20, 0, 30, 20), (40, 0, 50, 21), (60, 0, 80, 10), (0, 30, 21, 40)])
    sizes = np.array([50, 200, 210, 120, 210])
    loose = replace(PUBLISHED, min_region=0)
    assert set(choose(boxes, sizes, 1000, 0, loose)) == {0, 1, 3}  # 1:2 and 2:1 pass, 10:21 and 21:10 do not
    assert set(choose(boxes, sizes, 1000, 120, loose)) == {1, 3}  # at least
    assert set(choose(boxes, sizes, 1000, 0, replace(loose, min_region_fraction=0.12))) == {1, 3}
    assert set(choose(boxes, sizes, 1000, 0, replace(loose, max_region_fraction=0.2))) == {0, 3}  # below


def test_order_limit_and_ties():
    boxes = np.array([(50, 0, 60, 10), (0, 0, 10, 10), (0, 20, 10, 30), (20, 0, 40, 20), (20, 0, 40, 20)])
    sizes = np.array([90, 90, 100, 300, 280])
    assert choose(boxes, sizes, 10**4, 0, PUBLISHED).tolist() == [3, 1, 2, 0]  # area, then x0, then y0
    by_filling = replace(PUBLISHED, order="rectangularity")
    assert choose(boxes, sizes, 10**4, 0, by_filling).tolist() == [2, 1, 0, 3]  # 1.0, 0.9, 0.9, 0.75
    assert choose(boxes, sizes, 10**4, 0, replace(by_filling, limit=2)).tolist() == [2, 1]
    shuffled = np.random.default_rng(0).permutation(5)
    again = choose(boxes[shuffled], sizes[shuffled], 10**4, 0, by_filling)
    assert boxes[shuffled][again].tolist() == boxes[[2, 1, 0, 3]].tolist()


def test_the_better_of_two_similar_boxes_stays():
    boxes = np.array([(0, 0, 20, 20), (0, 0, 18, 20)])
    sizes = np.array([200, 360])
    assert choose(boxes, sizes, 10**4, 0, PUBLISHED).tolist() == [0]
    assert choose(boxes, sizes, 10**4, 0, replace(PUBLISHED, order="rectangularity")).tolist() == [1]


def test_nothing_to_keep_is_no_error():
    boxes, filled = propose(np.zeros((40, 50, 3), np.uint8), replace(PUBLISHED, min_region=10**6))
    assert boxes.shape == (0, 4) and filled.shape == (0,)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 3), (40, 1)])
def test_the_smallest_pictures_pass(shape):
    boxes, _ = propose(np.full((*shape, 3), 128, np.uint8), EVERYTHING)
    assert boxes.tolist() == [[0, 0, shape[1], shape[0]]]


def test_a_picture_twice_as_large_gives_the_same_boxes_twice_as_large():
    """Background and three flat rectangles; the smallest is below the limit at the reference side."""
    image = np.full((90, 120, 3), (40, 120, 60), np.uint8)
    for (x0, y0, x1, y1), colour in {
        (10, 10, 50, 40): (220, 200, 90),
        (60, 30, 110, 80): (30, 40, 200),
        (20, 60, 36, 72): (250, 20, 20),
    }.items():
        image[y0:y1, x0:x1] = colour
    relative = replace(PUBLISHED, reference_side=120, min_region=400, max_region_fraction=0.9)
    small, _ = propose(image, relative)
    large, _ = propose(image.repeat(3, axis=0).repeat(3, axis=1), relative)
    assert len(small) == len(large) == 3
    assert np.abs(3 * small - large).max() <= 6  # an edge is blurred over two pixels in both
    absolute = replace(relative, reference_side=None)
    assert len(propose(image.repeat(3, axis=0).repeat(3, axis=1), absolute)[0]) == 4


def test_a_shrunk_search_finds_the_same_boxes_in_the_picture_s_own_pixels():
    image = picture_with_rectangle().repeat(4, axis=0).repeat(4, axis=1)[:-1, :-3]
    only = replace(PUBLISHED, min_region=16000, max_region_fraction=0.5)
    for side in (None, 200):
        (box,), (filled,) = propose(image, replace(only, max_side=side))
        assert np.abs(box - 4 * np.array(RECTANGLE)).max() <= 6
        assert filled > 0.95
    everything, _ = propose(image, replace(only, max_side=200, max_region_fraction=None))
    assert everything[0].tolist() == [0, 0, 477, 359]


def test_search_is_quiet(recwarn):
    propose(picture_with_rectangle(), PUBLISHED)
    assert not recwarn.list


def test_wrong_settings_are_refused_by_name():
    with pytest.raises(InputError, match=r"parts.selective_search has no key 'sise'"):
        SearchSettings.from_table({"sise": 3})
    with pytest.raises(InputError, match=r"parts.selective_search.order is 'size'"):
        SearchSettings.from_table({"order": "size"})


def test_script_puts_proposals_between_the_fixed_parts(tmp_path):
    pictures = {f"q{i}": picture_with_rectangle(i) for i in range(3)}
    for name, image in pictures.items():
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    pd.DataFrame(
        {
            "image_id": list(pictures),
            "path": [str(tmp_path / f"{n}.png") for n in pictures],
            "width": 120,
            "height": 90,
        }
    ).to_parquet(tmp_path / "queries.parquet")
    kinds = ["whole", "selective_search", "half"]
    search = {"min_region": 500, "max_region_fraction": 0.9, "order": "rectangularity", "limit": 2}
    command = [
        sys.executable, SCRIPTS / "cut_query_parts.py", "--queries", tmp_path / "queries.parquet",
        "--parts", json.dumps({"kinds": kinds, "selective_search": search}),
        "--shard", "0", "--shards", "1", "--threads", "2", "--output", tmp_path / "parts.parquet",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "parts.parquet")
    for name, image in pictures.items():
        rows = table[table.image_id == name]
        found = rows[rows.kind == "selective_search"]
        expected, filled = propose(image, SearchSettings.from_table(search))
        assert found[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == expected.tolist()
        np.testing.assert_allclose(found.score, filled)
        assert 1 <= len(found) <= 2
        assert rows.part.tolist() == list(range(5 + len(found)))
        assert rows.kind.tolist() == ["whole", *["selective_search"] * len(found), *["half"] * 4]
