"""The overlay detector: scenes whose boxes are true, boxes mapped back, matching as by hand, and that it learns."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from copytrace import counts, fitting, parts, runtime
from copytrace.detection import letterbox, measures, tables
from copytrace.detection.network import (
    STRIDES,
    DetectingSettings,
    Detections,
    create_detector,
    detect,
    load_detector,
    set_limits,
)
from copytrace.detection.scenes import (
    Labelled,
    SceneRenderer,
    SceneSettings,
    enclosing,
    on_canvas,
    pools,
    training_and_held_out,
)
from copytrace.detection.training import DetectorTraining, DetectorTrainingSettings, SceneBatches
from copytrace.errors import InputError
from copytrace.networks.registry import create_backbone
from copytrace.networks.weights import save_weights, seeded
from copytrace.synthesis.foreign import ForeignPictures
from copytrace.synthesis.operations import EMOJI

REPOSITORY = Path(__file__).parent.parent
SECTION = yaml.safe_load((REPOSITORY / "config.yaml").read_text())["detection"]
DETECTING = DetectingSettings(confidence=0.1, nms_iou=0.45, limit=1000, batch=3, precision="fp32")
sides = st.integers(1, 3000)


# Letter-boxing


@settings(deadline=None)
@given(width=sides, height=sides, side=st.sampled_from([64, 192, 640]), box=st.tuples(*[st.floats(0, 1)] * 4))
@example(width=641, height=427, side=640, box=(0.1, 0.2, 0.3, 0.4))
@example(width=1, height=3000, side=640, box=(0.0, 0.0, 1.0, 1.0))
def test_boxes_map_back_to_where_they_came_from(width, height, side, box):
    """A box of the picture, moved to the canvas by hand, comes back; so does the whole picture, exactly."""
    shown_width, shown_height = letterbox.fitted(width, height, side)
    assert max(shown_width, shown_height) == side
    assert abs(shown_width - width * side / max(width, height)) <= 1
    x0, x1 = sorted((box[0] * width, box[2] * width))
    y0, y1 = sorted((box[1] * height, box[3] * height))
    x, y = shown_width / width, shown_height / height
    moved = np.array([[x0 * x, y0 * y, x1 * x, y1 * y]])
    back = letterbox.boxes_in_picture(moved, width, height, side)
    np.testing.assert_allclose(back, [[x0, y0, x1, y1]], atol=1e-9 * side)
    all_of_it = letterbox.boxes_in_picture(np.array([[0, 0, shown_width, shown_height]]), width, height, side)
    assert all_of_it.tolist() == [[0, 0, width, height]]
    beyond = letterbox.boxes_in_picture(np.array([[-5, -5, side + 5, side + 5]]), width, height, side)
    assert beyond.tolist() == [[0, 0, width, height]]


@pytest.mark.parametrize("width, height", [(641, 427), (427, 641), (33, 21), (200, 199), (1283, 77)])
def test_what_lies_in_a_box_of_the_picture_lies_there_on_the_canvas(width, height):
    """A bright rectangle, found on the canvas by its brightness, maps back to within a pixel of the canvas."""
    side = 192
    x0, y0, x1, y1 = width // 3, height // 4, width // 3 + width // 2, height // 4 + height // 2
    picture = np.zeros((height, width, 3), np.uint8)
    picture[y0:y1, x0:x1] = 255
    canvas = letterbox.on_canvas(picture, side)
    shown_width, shown_height = letterbox.fitted(width, height, side)
    assert (canvas[shown_height:] == letterbox.GREY).all() and (canvas[:, shown_width:] == letterbox.GREY).all()
    bright = np.array([enclosing(canvas[:shown_height, :shown_width, 0] >= 128)])
    found = letterbox.boxes_in_picture(bright, width, height, side)
    np.testing.assert_allclose(found, [[x0, y0, x1, y1]], atol=max(width, height) / side)


def test_a_picture_of_the_canvas_size_is_left_as_it_is():
    picture = np.random.default_rng(0).integers(0, 256, (64, 40, 3), dtype=np.uint8)
    assert (letterbox.on_canvas(picture, 64)[:, :40] == picture).all()


# Scenes

COLOURS = [
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (0, 255, 255),
    (255, 0, 255),
    (255, 255, 255),
    (0, 0, 0),
]


@pytest.fixture(scope="module")
def flat_pictures(tmp_path_factory):
    """Pictures of one colour each, no two alike."""
    folder = tmp_path_factory.mktemp("flat")
    paths = []
    for number, colour in enumerate(COLOURS):
        paths.append(str(folder / f"{number}.png"))
        Image.new("RGB", (90 + 7 * number, 120 - 9 * number), colour).save(paths[-1])
    return paths


def scene_settings(**changes) -> SceneSettings:
    """Those of config.yaml; a change of a kind of paste or of the distractors is laid over it."""
    section = copy.deepcopy(SECTION["scenes"])
    for key, value in changes.items():
        section[key] = section[key] | value if isinstance(value, dict) and key != "edits" else value
    return SceneSettings(**section)


PLAIN = {"turned": 0.0, "opacity": [1.0, 1.0]}
NO_DISTRACTORS = {"collage": 0.0, "frame": 0.0, "outline": 0.0}


def test_boxes_enclose_what_is_still_seen_of_each_picture(flat_pictures):
    """Where no colour is drawn twice the box of each pasted picture is found from its pixels."""
    chosen = scene_settings(
        distractors=NO_DISTRACTORS, pictures=PLAIN | {"count": [1, 4]}, emoji={"count": [0, 0]},
        overhang=0.3, visible=0.3,
    )  # fmt: skip
    render = SceneRenderer(("test",), ForeignPictures(flat_pictures), EMOJI, 128, chosen)
    compared = covered = 0
    for number in range(60):
        canvas, boxes, labels = render.compose(runtime.generator(number))
        assert max(canvas.size) == 128
        assert labels.tolist() == [0] * len(boxes)
        pixels = np.asarray(canvas)
        background = runtime.generator(number).integers(len(COLOURS))  # the first draw
        masks = [(pixels == COLOURS[i]).all(axis=2) for i in range(len(COLOURS)) if i != background]
        seen = [mask for mask in masks if mask.any()]
        if len(seen) == len(boxes):
            compared += 1
            assert sorted(map(enclosing, seen)) == sorted(map(tuple, boxes.astype(int).tolist()))
            covered += any(mask.sum() < np.prod(np.subtract(enclosing(mask)[2:], enclosing(mask)[:2])) for mask in seen)
    assert compared > 25
    assert covered > 5  # one lies on another


def test_a_box_encloses_an_emoji_and_not_its_transparent_border(flat_pictures):
    chosen = scene_settings(
        distractors=NO_DISTRACTORS, pictures={"count": [0, 0]}, emoji=PLAIN | {"count": [1, 1], "size": [0.3, 0.8]},
        overhang=0.0,
    )  # fmt: skip
    render = SceneRenderer(("test",), ForeignPictures(flat_pictures), EMOJI, 128, chosen)
    for number in range(30):
        canvas, boxes, labels = render.compose(runtime.generator(number))
        background = COLOURS[runtime.generator(number).integers(len(COLOURS))]
        changed = np.abs(np.asarray(canvas).astype(int) - background).max(axis=2) > 40
        assert labels.tolist() == [1]
        # Half-transparent pixels at the rim may or may not differ that much.
        np.testing.assert_allclose(boxes[0], enclosing(changed), atol=2)


def test_enough_is_seen_of_everything_that_is_pasted(flat_pictures):
    """Half a paste can lie beyond the edge, yet of none less is seen than asked for."""
    chosen = scene_settings(
        distractors=NO_DISTRACTORS, pictures=PLAIN | {"count": [3, 3], "size": [0.3, 0.3], "aspect": [1, 1]},
        emoji={"count": [0, 0]}, aspect=[1, 1], overhang=0.5, visible=0.7,
    )  # fmt: skip
    render = SceneRenderer(("test",), ForeignPictures(flat_pictures), EMOJI, 100, chosen)
    for number in range(40):
        _, boxes, _ = render.compose(runtime.generator(number))
        # The longer side of each is 30 pixels; the least area is that of the narrowest picture.
        narrowest = min(min(w / h, h / w) for w, h in (Image.open(path).size for path in flat_pictures))
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        assert (areas >= 0.7 * 30 * 30 * narrowest - 60).all()  # sides are whole pixels


def test_a_turned_picture_larger_than_the_scene_finds_a_place(flat_pictures):
    chosen = scene_settings(
        pictures={"count": [1, 1], "size": [1.0, 1.0], "turned": 1.0, "degrees": [45, 45]}, emoji={"count": [0, 0]},
        overhang=0.0, visible=0.3,
    )  # fmt: skip
    render = SceneRenderer(("test",), ForeignPictures(flat_pictures), EMOJI, 64, chosen)
    boxes = np.concatenate([render.compose(runtime.generator(number))[1] for number in range(20)])
    assert len(boxes) > 15
    assert (boxes[:, :2] == 0).any()


def test_a_scene_is_the_same_whenever_it_is_asked_for(flat_pictures):
    train, _ = training_and_held_out(flat_pictures, 64, scene_settings(), 0.25, 0)
    first, again, other = train(3), train(3), train(4)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first.picture.shape != other.picture.shape or (first.picture != other.picture).any()
    batches = SceneBatches(train, 2)
    canvases, boxes, labels = batches[2]
    assert canvases.shape == (2, 64, 64, 3) and canvases.dtype == torch.uint8
    assert (boxes[1].numpy() == train(5).boxes).all() and (labels[1].numpy() == train(5).labels).all()


@settings(deadline=None)
@given(count=st.integers(4, 300), share=st.floats(0.025, 0.5), seed=st.integers(0, 5))
def test_held_out_scenes_share_no_picture_with_the_training(count, share, seed):
    if min(counts.held_out(share, count), count - counts.held_out(share, count)) < 2:
        with pytest.raises(InputError, match=r"detection\.held_out"):
            pools(count, share, seed)
        return
    train, apart = pools(count, share, seed)
    assert sorted([*train, *apart]) == list(range(count))
    assert share * count <= len(apart) < share * count + 1


def test_training_and_held_out_scenes_draw_from_pools_of_their_own(flat_pictures):
    train, apart = training_and_held_out(flat_pictures, 64, scene_settings(), 0.25, 0)
    assert set(train.pictures.paths) | set(apart.pictures.paths) == set(flat_pictures)
    assert not set(train.pictures.paths) & set(apart.pictures.paths)
    assert set(train.emoji) | set(apart.emoji) == set(EMOJI)
    assert not set(train.emoji) & set(apart.emoji)
    assert train.identity != apart.identity


@settings(deadline=None)
@given(
    x=st.integers(-12, 20), y=st.integers(-12, 20), width=st.integers(1, 9), height=st.integers(1, 9),
    size=st.tuples(st.integers(1, 15), st.integers(1, 15)),
)  # fmt: skip
def test_a_mask_is_laid_pixel_by_pixel(x, y, width, height, size):
    mask = np.random.default_rng(0).random((height, width)) < 0.7
    by_hand = np.zeros(size[::-1], bool)
    for row, column in np.argwhere(mask):
        if 0 <= y + row < size[1] and 0 <= x + column < size[0]:
            by_hand[y + row, x + column] = True
    assert (on_canvas(mask, (x, y), size) == by_hand).all()


# The detector


def small_detector(seed: int = 0):
    with seeded("test", seed):
        return create_detector(create_backbone("resnet10_tiny"), 32, 64)


@pytest.mark.parametrize("network", ["resnet10_tiny", "mobilenet_v2", "resnet50"])
def test_the_pyramid_has_its_strides(network):
    pyramid = create_detector(create_backbone(network), 32, 128).backbone.eval()
    with torch.inference_mode():
        maps = pyramid(torch.zeros(1, 3, 128, 192))
    assert [tuple(m.shape) for m in maps.values()] == [(1, 32, 128 // s, 192 // s) for s in STRIDES]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A detector's file; sure of itself, so that there is something to keep and to drop."""
    detector = small_detector()
    with torch.no_grad():
        detector.head.classification_head.cls_logits.bias.fill_(0.5)
        detector.head.classification_head.cls_logits.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(1))
        detector.head.regression_head.bbox_reg.bias.fill_(2.0)
    path = tmp_path_factory.mktemp("detector") / "detector.safetensors"
    save_weights(path, detector, {"kind": "detector", "network": "resnet10_tiny", "channels": 32, "side": 64})
    return path


def noise(count: int) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Canvases of random pictures and the pictures' sizes."""
    draw = np.random.default_rng(5)
    sizes = [(int(w), int(h)) for w, h in draw.integers(20, 300, (count, 2))]
    pictures = [draw.integers(0, 256, (h, w, 3), dtype=np.uint8) for w, h in sizes]
    return torch.stack([torch.from_numpy(letterbox.on_canvas(p, 64)) for p in pictures]), sizes


@pytest.mark.parametrize("limits", [(0.1, 0.45, 1000), (0.25, 0.2, 1000), (0.1, 0.9, 7)])
def test_boxes_keep_to_the_limits(saved, limits):
    """Confidence, overlap within a class, number, order, and the picture's borders."""
    confidence, nms_iou, limit = limits
    detecting = DetectingSettings(confidence, nms_iou, limit, 3, "fp32")
    detector, side = load_detector(saved, detecting)
    assert side == 64
    canvases, sizes = noise(3)
    found = detect(detector, canvases, sizes, detecting)
    assert sum(len(one.boxes) for one in found) > 10
    for one, (width, height) in zip(found, sizes, strict=True):
        assert len(one.boxes) <= limit
        assert (one.confidences > confidence).all() and (np.diff(one.confidences) <= 0).all()
        assert (one.boxes[:, :2] >= 0).all() and (one.boxes[:, 2:] <= [width, height]).all()
        assert (one.boxes[:, :2] < one.boxes[:, 2:]).all()
        for label in (0, 1):
            of_class = one.boxes[one.labels == label]
            shared = measures.overlaps(of_class, of_class)
            # Clipped at the picture's border boxes are more alike than on the canvas, where they were chosen.
            inner = ((of_class > 1) & (of_class < [width - 1, height - 1] * 2)).all(axis=1)
            assert (np.triu(shared, 1)[np.ix_(inner, inner)] <= nms_iou + 1e-6).all()


def test_boxes_of_a_picture_do_not_depend_on_its_company(saved):
    detector, _ = load_detector(saved, DETECTING)
    canvases, sizes = noise(3)
    together = detect(detector, canvases, sizes, DETECTING)
    for number in range(3):
        (alone,) = detect(detector, canvases[[number]], [sizes[number]], DETECTING)
        assert (alone.boxes == together[number].boxes).all()
        assert (alone.confidences == together[number].confidences).all()


def test_another_kind_of_weights_is_refused(tmp_path):
    save_weights(tmp_path / "w.safetensors", create_backbone("resnet10_tiny"), {"kind": "backbone"})
    with pytest.raises(InputError, match="holds no detector"):
        load_detector(tmp_path / "w.safetensors", DETECTING)


def test_it_learns_to_fit_a_few_scenes(flat_pictures):
    """On four scenes seen again and again, from next to nothing to nearly all boxes."""
    chosen = scene_settings(
        distractors=NO_DISTRACTORS, pictures=PLAIN | {"count": [1, 1], "size": [0.4, 0.8]}, emoji={"count": [0, 0]},
        edits={}, quality=[95, 95],
    )  # fmt: skip
    train, _ = training_and_held_out(flat_pictures, 64, chosen, 0.25, 0)
    batch = SceneBatches(train, 4)[0]
    scenes = [train(number) for number in range(4)]
    section = {key: SECTION[key] for key in DetectorTrainingSettings.__annotations__}
    module = DetectorTraining(small_detector(), DetectorTrainingSettings(**section | {"steps": 120}))
    module.record = lambda **_: None  # a trainer's step number is asked for there
    detecting = DetectingSettings(0.1, 0.45, 10, 4, "fp32")
    optimiser = torch.optim.AdamW(module.parameters(), lr=2e-3)

    def found():
        module.detector.eval()
        set_limits(module.detector, detecting)
        shown = detect(module.detector, batch[0], [scene.picture.shape[1::-1] for scene in scenes], detecting)
        return sum((measures.match(one, scene) >= 0).sum() for one, scene in zip(shown, scenes, strict=True))

    assert found() == 0
    module.train()
    for _ in range(120):
        optimiser.zero_grad()
        module.training_step(batch, 0).backward()
        optimiser.step()
    assert found() >= 3


def test_a_resumed_training_equals_an_undisturbed_one(flat_pictures, tmp_path, caplog):
    """The second run finds the checkpoint of step 2 and does the last two steps again."""
    scenes, _ = training_and_held_out(flat_pictures, 64, scene_settings(), 0.25, 0)
    section = {key: SECTION[key] for key in DetectorTrainingSettings.__annotations__} | {"steps": 4, "batch": 2}

    def train():
        module = DetectorTraining(small_detector(), DetectorTrainingSettings(**section))
        fitting.fit(
            module, SceneBatches(scenes, 2), steps=4, checkpoints=tmp_path, precision="fp32", pictures=2, threads=1,
            execution=runtime.Execution(workers=0, checkpoint_every=2, keep_checkpoints=1),
        )  # fmt: skip
        return module

    whole = train()
    with caplog.at_level("INFO"):
        resumed = train()
    assert "going on from step 2 of 4" in caplog.text
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert [row["loss"] for row in whole.curve] == [row["loss"] for row in resumed.curve]


# Tables, parts, measures


def detections(*rows: tuple[float, ...]) -> Detections:
    """From rows x0, y0, x1, y1, label, confidence."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4].astype(np.int64), table[:, 5].astype(np.float32))


def truth(*rows: tuple[float, ...]) -> Labelled:
    """From rows x0, y0, x1, y1, label."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Labelled(np.empty((0, 0, 3), np.uint8), table[:, :4], table[:, 4].astype(np.int64))


def test_ranks_count_both_classes_and_emoji_make_no_part():
    """Sheet 5.1: suffix 1000 + j, where j counts all detections of an image in the order of confidence."""
    found = [
        detections((9.6, 0.2, 30.4, 20.5, 0, 0.9), (1, 1, 5, 5, 1, 0.8), (39.8, 29.9, 40, 30, 0, 0.7)),
        detections(),
        detections((0, 0, 9, 9, 1, 0.5), (2.5, 3.5, 3.4, 3.6, 0, 0.4)),
    ]
    pictures = pd.DataFrame({"image_id": ["a", "b", "c"], "width": [40, 50, 60], "height": [30, 40, 50]})
    table = tables.detections_table(found, pictures["image_id"])
    assert table[["image_id", "rank", "class"]].to_numpy().tolist() == [
        ["a", 0, "overlay"], ["a", 1, "emoji"], ["a", 2, "overlay"], ["c", 0, "emoji"], ["c", 1, "overlay"],
    ]  # fmt: skip
    cut = parts.detected_parts(table, pictures)
    assert cut.index.tolist() == [0, 0, 2]
    assert cut["rank"].tolist() == [0, 2, 1]
    # Rounded to the nearest pixel border, at least one pixel wide and high, inside the picture.
    assert cut[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[10, 0, 30, 20], [39, 29, 40, 30], [2, 4, 3, 5]]
    whole = parts.fixed_query_parts(pictures["width"].to_numpy(), pictures["height"].to_numpy(), ["whole"])
    joined = parts.parts_table([whole, cut], pictures["image_id"], ["whole", "detected_overlay"])
    assert joined.groupby("image_id")["part"].apply(list).tolist() == [[0, 1, 2], [0], [0, 1]]
    assert joined.dtypes.equals(parts.parts_table([whole, whole], pictures["image_id"], ["whole"]).dtypes)


def test_a_query_is_replaced_by_a_confident_overlay():
    """By the surest overlay above the limit, or as published by the last that is written; else it is the whole."""
    found = [
        detections((0, 0, 9, 9, 1, 0.99), (0, 0, 10, 20, 0, 0.97), (5, 5, 20, 20, 0, 0.95), (1, 1, 9, 9, 0, 0.3)),
        detections((0, 0, 30, 20, 0, 0.9)),  # not surer than 0.9
        detections((3, 3, 8, 8, 0, 0.91)),
        detections(),
    ]
    ids = pd.Series(list("abcd"))
    pictures = pd.DataFrame({"image_id": ids, "width": [40, 40, 50, 60], "height": [30, 30, 20, 10]})
    table = tables.detections_table(found, ids)
    for box, first in (("most_confident", [0, 0, 10, 20]), ("last_wins", [5, 5, 20, 20])):
        chosen = parts.replaced_pictures(table, pictures, 0.9, box)
        assert list(chosen.columns) == parts.COLUMNS
        assert chosen.image_id.tolist() == list("abcd") and chosen.part.tolist() == [0] * 4
        assert chosen.kind.tolist() == ["detected_overlay", "whole", "detected_overlay", "whole"]
        assert chosen[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [
            first, [0, 0, 40, 30], [3, 3, 8, 8], [0, 0, 60, 10],
        ]  # fmt: skip
    nothing = parts.replaced_pictures(tables.detections_table([detections()] * 4, ids), pictures, 0, "last_wins")
    pd.testing.assert_frame_equal(nothing, parts.whole_pictures(pictures), check_like=True)


def test_no_detection_at_all_makes_no_part():
    table = tables.detections_table([detections(), detections()], pd.Series(["a", "b"]))
    pictures = pd.DataFrame({"image_id": ["a", "b"], "width": [4, 5], "height": [3, 4]})
    assert table.empty and parts.detected_parts(table, pictures).empty


def test_matching_by_hand():
    """The surest chooses first, one true box serves once, classes keep apart, an overlap of one half is enough."""
    true = truth((0, 0, 10, 10, 0), (20, 0, 30, 10, 0), (0, 20, 10, 30, 1))
    found = detections(
        (0, 0, 10, 5, 0, 0.9),  # overlap 1/2 exactly
        (0, 0, 10, 10, 0, 0.8),  # perfect, but the box is taken
        (0, 20, 10, 30, 0, 0.7),  # the emoji's place, another class
        (20, 0, 30, 4.9, 0, 0.6),  # overlap just below 1/2
        (0, 21, 10, 30, 1, 0.5),
    )
    assert measures.match(found, true).tolist() == [0, -1, -1, -1, 2]


boxes = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 1)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3], b[4])
)


@settings(deadline=None)
@given(st.lists(boxes, max_size=6), st.lists(boxes, max_size=6))
def test_matching_equals_a_plain_loop_over_pixels(true, found):
    def cells(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    free, expected = list(range(len(true))), []
    for box in found:
        best = max(
            (i for i in free if true[i][4] == box[4]),
            key=lambda i: (len(cells(box) & cells(true[i])) / len(cells(box) | cells(true[i])), -i),
            default=None,
        )
        if best is None or 2 * len(cells(box) & cells(true[best])) < len(cells(box) | cells(true[best])):
            expected.append(-1)
        else:
            expected.append(best)
            free.remove(best)
    sure = detections(*((*box, 1 - place / 10) for place, box in enumerate(found)))
    assert measures.match(sure, truth(*true)).tolist() == expected


def test_measures_by_hand():
    """Overlays: 3 true; found at 0.9 right, 0.6 wrong, 0.4 right: AP = (1 + 2/3) / 3. No emoji is true."""
    found = [
        detections((0, 0, 10, 10, 0, 0.9), (50, 50, 60, 60, 0, 0.6)),
        detections((0, 0, 10, 10, 0, 0.4), (0, 0, 9, 9, 1, 0.2)),
    ]
    truths = [truth((0, 0, 10, 10, 0), (20, 20, 30, 30, 0)), truth((0, 0, 10, 10, 0))]
    measured = measures.measure(found, truths, least=0.15)
    assert measured["overlay"]["true"] == 3
    assert measured["overlay"]["average_precision"] == pytest.approx((1 + 2 / 3) / 3)
    assert [tuple(row.values()) for row in measured["overlay"]["at"]] == [
        (0.15, 3, 2, 2 / 3, 2 / 3),
        (0.3, 3, 2, 2 / 3, 2 / 3),
        (0.5, 2, 1, 1 / 2, 1 / 3),
        (0.7, 1, 1, 1.0, 1 / 3),
        (0.9, 1, 1, 1.0, 1 / 3),
    ]
    assert measured["emoji"]["average_precision"] is None
    assert measured["emoji"]["at"][0] == {"confidence": 0.15, "found": 1, "right": 0, "precision": 0.0, "recall": None}


def test_parts_of_detections_are_cut_by_the_script(tmp_path):
    """Two queries, one of them with an overlay: the kind stands where parts.kinds has it."""
    manifest = pd.DataFrame({"image_id": ["a", "b"], "path": "not opened", "width": [40, 50], "height": [30, 40]})
    manifest.to_parquet(tmp_path / "manifest.parquet")
    found = [detections((1, 2, 20, 22, 0, 0.9)), detections()]
    tables.detections_table(found, manifest["image_id"]).to_parquet(tmp_path / "found.parquet")
    script = REPOSITORY / "workflow_scripts" / "cut_query_parts.py"
    kinds = json.dumps({"kinds": ["whole", "detected_overlay", "mirror"]})
    command = [
        sys.executable, script, "--queries", tmp_path / "manifest.parquet",
        "--detections", tmp_path / "found.parquet", "--shard", "0", "--shards", "1", "--threads", "1",
        "--parts", kinds, "--output", tmp_path / "parts.parquet",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    table = pd.read_parquet(tmp_path / "parts.parquet")
    assert table.kind.tolist() == ["whole", "detected_overlay", "mirror", "whole", "mirror"]
    assert table.iloc[1][["x0", "y0", "x1", "y1", "rank"]].tolist() == [1, 2, 20, 22, 0]
    assert table.score[1] == pytest.approx(0.9)
