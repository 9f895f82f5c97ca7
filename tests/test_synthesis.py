"""Synthesis: operations against closed forms and other libraries, families against the sheet, shards."""

import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import webdataset
import yaml
from PIL import Image

from copytrace import compat
from copytrace.errors import InputError
from copytrace.runtime import generator
from copytrace.synthesis import foreign, operations
from copytrace.synthesis.chain import render_copy, render_original
from copytrace.synthesis.classes import class_table
from copytrace.synthesis.foreign import ForeignPictures
from copytrace.synthesis.operations import CORNER_NORMALS, Faithful, Scene
from copytrace.synthesis.plan import plan_chain
from copytrace.synthesis.tarset import TrainingSet, write_shard

REPOSITORY = Path(__file__).parents[1]
SCRIPT = REPOSITORY / "workflow_scripts" / "synthesise.py"
MAGENTA = (255, 0, 255)
GREY_FAMILIES = {"baseline_BW", "blur_BW", "color_BW", "face_BW"}
FAMILIES = [
    *("baseline_CC", "baseline_BW", "blur_CC", "blur_BW", "color_CC", "color_BW"),
    *("dark_CC", "face_CC", "face_BW", "opa_CC", "u_CC"),
]


@pytest.fixture
def scene():
    """A quarter of the published side; foreign pictures are magenta, 128 × 64."""
    return Scene(side=64, scale=0.25, foreign=lambda rng: Image.new("RGB", (128, 64), MAGENTA), foreign_side=1024)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def configuration():
    return yaml.safe_load((REPOSITORY / "config.yaml").read_text())


def smooth(seed, width=64, height=64):
    """A colourful picture without fine detail."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def all_different():
    """64 × 64 pixels, no two alike."""
    number = np.arange(64 * 64)
    pixels = np.stack([number // 256, number % 256, np.full_like(number, 90)], axis=1)
    return Image.fromarray(pixels.reshape(64, 64, 3).astype(np.uint8))


def values(image):
    return np.asarray(image).astype(int)


# --- operations


def test_resized_crop_takes_the_asked_area_and_aspect(scene, rng):
    # A ramp tells where the crop was: bilinear reduction keeps a linear ramp's slope.
    x, y = np.meshgrid(np.arange(256), np.arange(200))
    ramp = Image.fromarray(np.stack([x, y, x], axis=2).astype(np.uint8))
    areas, aspects = [], []
    for _ in range(300):
        out = values(operations.resized_crop(ramp, rng, scene, area=(0.2, 0.5), aspect=(3 / 4, 4 / 3)))
        assert out.shape == (64, 64, 3)
        width, height = 2 * (out[32, 48, 0] - out[32, 16, 0]), 2 * (out[48, 32, 1] - out[16, 32, 1])
        areas.append(width * height / (256 * 200))
        aspects.append(width / height)
    assert 0.18 < min(areas) < 0.22
    assert 0.47 < max(areas) < 0.53
    assert np.mean(areas) == pytest.approx(0.35, abs=0.02)
    assert 0.70 < min(aspects) < 0.80
    assert 1.25 < max(aspects) < 1.42
    assert np.mean(np.log(aspects)) == pytest.approx(0, abs=0.04)


def test_resized_crop_falls_back_to_the_centre(scene, rng):
    # 300 × 30 has no box of its full area and at most 4/3: the largest such box in the middle is 40 × 30.
    picture = Image.new("RGB", (300, 30))
    picture.paste(MAGENTA, (130, 0, 170, 30))
    out = operations.resized_crop(picture, rng, scene, area=(1, 1), aspect=(3 / 4, 4 / 3))
    assert (values(out) == MAGENTA).all()


def test_rotation_is_counter_clockwise_with_black_corners(scene, rng):
    picture = smooth(1)
    turned = operations.rotation(picture, rng, scene, degrees=(90, 90))
    assert turned.tobytes() == picture.transpose(Image.Transpose.ROTATE_90).tobytes()
    tilted = values(operations.rotation(Image.new("RGB", (64, 64), "white"), rng, scene, degrees=(45, 45)))
    assert (tilted[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    assert (tilted[32, 32] == 255).all()


def test_pixelisation_shrinks_to_the_ratio_and_back(scene, rng):
    picture = all_different()
    out = operations.pixelisation(picture, rng, scene, ratio=(0.25, 0.25))
    assert out.tobytes() == picture.resize((16, 16)).resize((64, 64)).tobytes()


@pytest.mark.parametrize("constant", [False, True])
def test_pixel_shuffling_permutes_the_fraction(scene, rng, constant):
    scene = replace(scene, faithful=Faithful(constant_noise=constant))
    before = values(all_different()).reshape(-1, 3)
    out = operations.pixel_shuffling(all_different(), rng, scene, fraction=(0.3, 0.3))
    after = values(out).reshape(-1, 3)
    assert sorted(map(tuple, before)) == sorted(map(tuple, after))
    moved = (before != after).any(axis=1).sum()
    count = int(0.3 * 64 * 64)
    assert count - 8 < moved <= count  # a random permutation leaves one in its place on average
    again = operations.pixel_shuffling(all_different(), rng, scene, fraction=(0.3, 0.3))
    assert (again.tobytes() == out.tobytes()) is constant


def test_constant_pixel_shuffling_is_auglys(scene, rng):
    scene = replace(scene, faithful=Faithful(constant_noise=True))
    expected = compat.ensure_augly().shuffle_pixels(all_different(), factor=0.37)
    out = operations.pixel_shuffling(all_different(), rng, scene, fraction=(0.37, 0.37))
    assert out.tobytes() == expected.tobytes()


def test_constant_corners_are_the_fact_sheets():
    expected = [(0.4967, -0.1383), (0.6477, 1.5230), (-0.2342, -0.2341), (1.5792, 0.7674)]
    assert pytest.approx(np.array(expected), abs=5e-5) == CORNER_NORMALS


def test_constant_perspective_is_auglys_and_scales(scene, rng):
    scene = replace(scene, faithful=Faithful(constant_noise=True))
    picture = smooth(2)
    out = operations.perspective(picture, rng, scene, sigma=(40, 40))
    expected = compat.ensure_augly().perspective_transform(picture, sigma=40 * 0.25, seed=42)
    assert np.abs(values(out) - values(expected)).mean() < 0.01


def test_perspective_moves_the_corners_there(scene, rng):
    scene = replace(scene, faithful=Faithful(constant_noise=True))
    white = Image.new("RGB", (64, 64), "white")
    out = values(operations.perspective(white, rng, scene, sigma=(32, 32)))[:, :, 0] > 127
    corners = np.array([(0, 0), (64, 0), (64, 64), (0, 64)]) + 8 * CORNER_NORMALS
    polygon = np.zeros((64, 64), np.uint8)
    cv2.fillConvexPoly(polygon, np.round(corners - 0.5).astype(np.int32), 1)
    assert (out != polygon.astype(bool)).mean() < 0.03


def test_perspective_noise_is_standard_normal_and_convex(scene, rng, monkeypatch):
    moved = []

    def record(points, corners):
        moved.append(np.array(points))
        return np.eye(3)

    monkeypatch.setattr(cv2, "getPerspectiveTransform", record)
    for _ in range(400):
        operations.perspective(smooth(3), rng, scene, sigma=(8, 8))
    corners = np.array([(0, 0), (64, 0), (64, 64), (0, 64)])
    normals = (np.array(moved) - corners) / (8 * 0.25)
    assert normals.mean(axis=0) == pytest.approx(np.zeros((4, 2)), abs=0.2)
    assert normals.std() == pytest.approx(1, abs=0.05)
    moved.clear()
    for _ in range(200):
        operations.perspective(smooth(3), rng, scene, sigma=(100, 100))
    for points in moved:
        assert cv2.isContourConvex(points.astype(np.float32))
        assert cv2.contourArea(points.astype(np.float32), oriented=True) > 0


def test_padding_frames_the_picture(scene, rng):
    picture = smooth(4)
    out = operations.padding(picture, rng, scene, width=(0.1, 0.1), height=(0.05, 0.05))
    assert out.size == (64 + 2 * 6, 64 + 2 * 3)
    assert out.crop((6, 3, 70, 67)).tobytes() == picture.tobytes()
    frame = values(out)
    frame[3:67, 6:70] = frame[0, 0]
    assert (frame == frame[0, 0]).all()


@pytest.mark.parametrize(("foreign_side", "size"), [(1024, (26, 13)), (None, (13, 6))])
def test_paste_foreign_size_and_place(scene, rng, foreign_side, size):
    # A tenth of 1024 px × 0.25, or of the real 128 px; a quarter of 64 px from the left, half from the top.
    scene = replace(scene, foreign_side=foreign_side)
    out = operations.paste_foreign(
        Image.new("RGB", (64, 64)), rng, scene, scale=(0.1, 0.1), x=(0.25, 0.25), y=(0.5, 0.5)
    )
    expected = Image.new("RGB", (64, 64))
    expected.paste(MAGENTA, (16, 32, 16 + size[0], 32 + size[1]))
    assert out.tobytes() == expected.tobytes()


def test_colour_jitter_draws_within_its_strengths(scene, rng):
    flat = Image.new("RGB", (4, 4), (100, 100, 100))
    none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    assert operations.colour_jitter(flat, rng, scene, **none).tobytes() == flat.tobytes()
    levels = [
        values(operations.colour_jitter(flat, rng, scene, **(none | {"brightness": 0.5})))[0, 0, 0] for _ in range(400)
    ]
    assert 50 <= min(levels) < 56
    assert 144 < max(levels) <= 150
    assert np.mean(levels) == pytest.approx(100, abs=5)


@pytest.mark.parametrize("turn", [-0.2, -0.01, 0.13, 0.5])
def test_hue_turns_as_in_torchvision(turn):
    compat.ensure_torchvision()
    from torchvision.transforms.functional import adjust_hue

    picture = smooth(5)
    assert operations._turn_hue(picture, turn).tobytes() == adjust_hue(picture, turn).tobytes()


@pytest.mark.parametrize("scale", [0.25, 0.5])
def test_blur_radius_is_the_standard_deviation_times_scale(scene, rng, scale):
    # The derivative of a blurred edge is the blur's kernel.
    edge = np.zeros((9, 128, 3), np.uint8)
    edge[:, 64:] = 255
    out = operations.gaussian_blur(Image.fromarray(edge), rng, replace(scene, scale=scale), radius=(12, 12))
    kernel = np.diff(values(out)[4, :, 0]) / 255
    at = np.arange(127)
    deviation = np.sqrt((kernel * at**2).sum() - (kernel * at).sum() ** 2)
    assert deviation == pytest.approx(12 * scale, rel=0.05)


def test_greyscale_and_flip(scene, rng):
    grey = values(operations.greyscale(smooth(6), rng, scene))
    assert (grey == values(smooth(6).convert("L"))[:, :, None]).all()
    assert (values(operations.horizontal_flip(smooth(6), rng, scene)) == values(smooth(6))[:, ::-1]).all()


def test_emoji_covers_its_box_with_its_opacity(scene):
    picture = Image.new("RGB", (64, 64), (0, 0, 255))
    place = {"size": (0.5, 0.5), "x": (0.25, 0.25), "y": (0.125, 0.125)}
    change = {}
    for opacity in (0.0, 0.5, 1.0):
        out = operations.emoji(picture, np.random.default_rng(3), scene, opacity=(opacity, opacity), **place)
        difference = values(out) - values(picture)
        change[opacity] = difference[8:40, 16:48].copy()
        difference[8:40, 16:48] = 0
        assert not difference.any()
    assert not change[0.0].any()
    assert np.abs(change[1.0]).max() > 150
    assert change[0.5] == pytest.approx(change[1.0] / 2, abs=3)
    assert len(operations.EMOJI) == 92


TEXT = {"length": (12, 12), "glyphs": 100, "size": (0.6, 0.6), "x": (0.1, 0.1), "y": (0.1, 0.1)}


@pytest.mark.parametrize("opaque", [False, True])
def test_text_opacity(scene, opaque):
    scene = replace(scene, faithful=Faithful(opaque_text=opaque))
    black = Image.new("RGB", (64, 64))

    def strongest(opacity):
        rng = np.random.default_rng(8)
        colour = np.random.default_rng(8).integers(256, size=3)  # the first that the operation draws
        out = operations.text(black, rng, scene, opacity=(opacity, opacity), **TEXT)
        return values(out).reshape(-1, 3).max(axis=0) / colour

    assert strongest(1.0) == pytest.approx(np.ones(3), abs=0.01)
    assert strongest(0.5) == pytest.approx(np.full(3, 1.0 if opaque else 0.5), abs=0.03)
    assert strongest(0.0) == pytest.approx(np.full(3, 1.0 if opaque else 0.0), abs=0.01)


def test_text_may_be_empty_or_tiny(scene, rng):
    picture = smooth(7)
    out = operations.text(picture, rng, scene, opacity=(1, 1), **(TEXT | {"length": (0, 0)}))
    assert out.tobytes() == picture.tobytes()
    for side in (49, 64):  # 49 · (1 / 49) is below 1 in floating point
        operations.text(Image.new("RGB", (side, side)), rng, scene, opacity=(1, 1), **(TEXT | {"size": (0, 0)}))


def test_colourise_maps_three_greys_to_three_colours(scene):
    greys = Image.fromarray(np.array([[0, 127, 255, 64, 191]], np.uint8)).convert("RGB")
    out = values(operations.colourise(greys, np.random.default_rng(4), scene))[0]
    rng = np.random.default_rng(4)
    black, mid, white = (rng.integers(256, size=3) for _ in range(3))
    assert (out[:3] == [black, mid, white]).all()
    assert out[3] == pytest.approx(black + (mid - black) * 64 / 127, abs=1)
    assert out[4] == pytest.approx(mid + (white - mid) * 64 / 128, abs=1)


def test_darken(scene, rng):
    bright = Image.new("RGB", (4, 4), (200, 200, 200))
    levels = [values(operations.darken(bright, rng, scene, factor=(0.1, 0.5)))[0, 0, 0] for _ in range(300)]
    assert 20 <= min(levels) < 24
    assert 96 < max(levels) <= 100


def test_blend_weighs_the_image(scene, rng):
    out = operations.blend_foreign(Image.new("RGB", (70, 66), (100, 200, 0)), rng, scene, weight=(0.25, 0.25))
    assert out.size == (64, 64)
    assert values(out)[30, 30] == pytest.approx(0.25 * np.array([100, 200, 0]) + 0.75 * np.array(MAGENTA), abs=1)


def test_onto_background_enlarges_and_cuts(scene, rng):
    out = operations.onto_background(
        Image.new("RGB", (64, 64), "green"), rng, scene, enlarge=(2.5, 2.5), x=(0.25, 0.25), y=(0.5, 0.5)
    )
    expected = Image.new("RGB", (256, 128), MAGENTA)  # 1024 px × 0.25
    expected.paste((0, 128, 0), (64, 64, 64 + 160, 64 + 160))
    assert out.tobytes() == expected.tobytes()
    assert operations.resize(out, rng, scene).size == (64, 64)


# --- foreign pictures and classes


def test_foreign_pictures_are_uniform_and_never_the_own(monkeypatch, rng):
    monkeypatch.setattr(foreign, "load_rgb", lambda path: path)
    paths = ["a", "b", "c", "d"]
    for own in ["a", "c", "d", "elsewhere"]:
        draw = ForeignPictures(paths).without(own)
        drawn = [draw(rng) for _ in range(1200)]
        others = [path for path in paths if path != own]
        assert set(drawn) == set(others)
        for path in others:
            assert drawn.count(path) == pytest.approx(1200 / len(others), rel=0.2)
    with pytest.raises(InputError, match=r"images\.backgrounds"):
        ForeignPictures(["a"]).without("a")


def test_every_stride_th_picture_is_a_class_and_faces_follow():
    names = [f"T{i}" for i in range(25)]
    manifest = pd.DataFrame({"image_id": names, "path": [f"/p/{name}.jpg" for name in names]})
    base = class_table(manifest, 10)
    assert list(base.columns) == ["class_id", "image_id", "path", "reason"]
    assert base["image_id"].tolist() == ["T0", "T10", "T20"]
    assert base["class_id"].tolist() == [0, 1, 2]
    faces = pd.DataFrame({"image_id": ["T20", "T19", "T3", "T4"], "faces": [1, 2, 1, 0]})
    with_faces = class_table(manifest, 10, faces)
    assert with_faces["image_id"].tolist() == ["T0", "T10", "T20", "T3", "T19"]
    assert with_faces["reason"].tolist() == ["stride"] * 3 + ["face"] * 2
    assert with_faces["class_id"].tolist() == list(range(5))
    pd.testing.assert_frame_equal(class_table(manifest, 10, faces.assign(faces=0)), base)
    with pytest.raises(InputError, match="empty"):
        class_table(manifest[:0], 10)


# --- chains


def chain_of(configuration, family, partial_grey=False):
    settings = configuration["family_table"][family]
    return plan_chain(configuration["synthesis"]["chain"], family, settings["chain"], settings["grey"], partial_grey)


# Table 2.2 of the fact sheet; number 1 and 17 (to RGB) hold everywhere.
HALF = (0.0, 0.5)
ANY = (0.0, 1.0)
TEXT_PARAMETERS = {"length": (0, 20), "glyphs": 100, "opacity": ANY, "size": ANY, "x": HALF, "y": HALF}
BASE = [
    ("resized_crop", "resized_crop", 1.0, {"area": (0.2, 1.0), "aspect": (3 / 4, 4 / 3)}),
    ("rotation", "rotation", 0.3, {"degrees": (-50, 50)}),
    ("pixelisation", "pixelisation", 0.3, {"ratio": (0.1, 1.0)}),
    ("pixel_shuffling", "pixel_shuffling", 0.3, {"fraction": (0.0, 0.4)}),
    ("perspective", "perspective", 0.3, {"sigma": (0, 50)}),
    ("padding", "padding", 0.3, {"width": (0.0, 0.1), "height": (0.0, 0.1)}),
    ("paste_foreign", "paste_foreign", 0.3, {"scale": (0.04, 0.1), "x": HALF, "y": HALF}),
    (
        *("colour_jitter", "colour_jitter", 0.8),
        {"brightness": 0.5, "contrast": 0.5, "saturation": 0.3, "hue": 0.2},
    ),
    ("gaussian_blur", "gaussian_blur", 1.0, {"radius": (0.1, 2.0)}),
    ("greyscale", "greyscale", 0.3, {}),
    ("horizontal_flip", "horizontal_flip", 0.5, {}),
    ("emoji", "emoji", 0.3, {"opacity": ANY, "size": ANY, "x": HALF, "y": HALF}),
    ("text_1", "text", 0.3, TEXT_PARAMETERS),
    ("text_2", "text", 0.3, TEXT_PARAMETERS),
    ("onto_background", "onto_background", 0.2, {"enlarge": (2.5, 3.5), "x": HALF, "y": HALF}),
    ("resize", "resize", 1.0, {}),
]
# Table 2.3: what a family's steps are instead, or besides.
BLUR = {"gaussian_blur": ("gaussian_blur", 0.3, {"radius": (5, 20)})}
COLOUR = {"colourise": ("colourise", 0.4, {})}
DELTAS = {
    "baseline_CC": {},
    "baseline_BW": {},
    "blur_CC": BLUR,
    "blur_BW": BLUR,
    "color_CC": COLOUR,
    "color_BW": COLOUR,
    "dark_CC": {"darken": ("darken", 0.5, {"factor": (0.1, 0.5)})},
    "face_CC": {},
    "face_BW": {},
    "opa_CC": {"blend_foreign": ("blend_foreign", 0.4, {"weight": (0.2, 1.0)})},
    "u_CC": {"paste_foreign": ("paste_foreign", 0.4, {"scale": (0.2, 0.3), "x": HALF, "y": HALF})},
}
# The step that a new one follows; None: it is the first.
FOLLOWS = {"colourise": None, "darken": "colour_jitter", "blend_foreign": "text_2"}
PUBLISHED_GREY_FOLLOWS = {
    "baseline_BW": "resize",
    "face_BW": "resize",
    "blur_BW": "onto_background",
    "color_BW": "gaussian_blur",
}


@pytest.mark.parametrize("partial_grey", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_the_fact_sheets(configuration, family, partial_grey):
    expected = {name: (operation, probability, rest) for name, operation, probability, rest in BASE}
    order = list(expected)
    for name, step in DELTAS[family].items():
        if name not in order:
            order.insert(order.index(FOLLOWS[name]) + 1 if FOLLOWS[name] else 0, name)
        expected[name] = step
    if family in GREY_FAMILIES:
        order.remove("greyscale")
        last = PUBLISHED_GREY_FOLLOWS[family] if partial_grey else order[-1]
        order.insert(order.index(last) + 1, "grey")
        expected["grey"] = ("greyscale", 1.0, {})
    chain = chain_of(configuration, family, partial_grey=partial_grey)
    assert [step.name for step in chain] == order
    for step in chain:
        operation, probability, parameters = expected[step.name]
        assert step.operation == operation
        assert step.probability == probability
        assert step.parameters.keys() == parameters.keys()
        for key, value in parameters.items():
            assert step.parameters[key] == pytest.approx(value), (step.name, key)


def test_the_configuration_has_the_eleven_families(configuration):
    assert set(FAMILIES) <= set(configuration["family_table"])
    grey = {name for name in FAMILIES if configuration["family_table"][name]["grey"]}
    assert grey == GREY_FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_copies_have_the_side_and_grey_families_are_grey(configuration, scene, family):
    chain = chain_of(configuration, family)
    scene = replace(scene, foreign=lambda rng: smooth(rng.integers(9), 90, 60))
    source = smooth(11, 200, 120)
    coloured = 0
    for copy in range(1, 31):
        out = render_copy(source, chain, scene, (0, "test", family, copy))
        assert (out.size, out.mode) == ((64, 64), "RGB")
        coloured += bool(np.ptp(values(out), axis=2).any())
    assert coloured == 0 if family in GREY_FAMILIES else coloured > 10


def test_published_grey_leaves_colour_in_color_bw_only(configuration, scene):
    for family in sorted(GREY_FAMILIES):
        chain = chain_of(configuration, family, partial_grey=True)
        copies = [render_copy(smooth(11), chain, scene, (0, "test", copy)) for copy in range(40)]
        coloured = [bool(np.ptp(values(copy), axis=2).any()) for copy in copies]
        assert any(coloured) is (family == "color_BW")
        assert not all(coloured)


def test_copy_zero_is_the_squashed_picture():
    source = smooth(12, 200, 100)
    expected = source.resize((48, 48), Image.Resampling.BICUBIC)
    assert render_original(source, 48, grey=False).tobytes() == expected.tobytes()
    assert render_original(source, 48, grey=True).tobytes() == expected.convert("L").convert("RGB").tobytes()


def test_probability_and_seed(scene):
    base = {"order": ["flip"], "steps": {"flip": {"operation": "horizontal_flip", "probability": 0.3}}}
    chain = plan_chain(base, "f", {}, grey=False, partial_grey=False)
    source = smooth(13)
    outs = [render_copy(source, chain, scene, (0, copy)).tobytes() for copy in range(600)]
    assert outs == [render_copy(source, chain, scene, (0, copy)).tobytes() for copy in range(600)]
    assert sum(out != source.tobytes() for out in outs) == pytest.approx(180, abs=40)


@pytest.mark.parametrize(
    ("delta", "message"),
    [
        ({"add": {}}, r"family_table\.x\.chain\.add is unknown"),
        ({"remove": ["crop"]}, r"chain\.remove: the chain has no step crop"),
        ({"set": {"blur": {}}}, r"chain\.set: the chain has no step blur"),
        ({"insert": {"darken": {"factor": [0.1, 0.5]}}}, "needs either before or after"),
        ({"insert": {"darken": {"after": "blur", "factor": [0.1, 0.5]}}}, "has no step blur"),
        ({"insert": {"resize": {"after": "emoji"}}}, "has a step of this name"),
        ({"insert": {"sharpen": {"after": "emoji"}}}, "no operation sharpen"),
        ({"set": {"gaussian_blur": {"sigma": [1, 2]}}}, "gaussian_blur has no parameter sigma, it takes radius"),
        (
            {"set": {"gaussian_blur": {"radius": 2}}},
            r"radius is 2, but should be a range \[low, high\] of numbers not below 0",
        ),
        ({"set": {"gaussian_blur": {"radius": [3, 2]}}}, "should be a range"),
        (
            {"insert": {"darken": {"after": "emoji", "factors": [0, 1]}}},
            r"no parameter factors, .* did you mean factor\?",
        ),
        ({"insert": {"darken": {"after": "emoji"}}}, "darken needs the parameter factor"),
        ({"set": {"emoji": {"opacity": [0, 2]}}}, "not below 0 and not above 1"),
        ({"set": {"resized_crop": {"aspect": [0, 1]}}}, "of numbers above 0"),
        ({"set": {"text_1": {"length": [0, 2.5]}}}, "of whole numbers"),
        ({"set": {"colour_jitter": {"hue": [0, 1]}}}, "should be one number not below 0 and not above 0.5"),
        ({"set": {"emoji": {"probability": 30}}}, "probability 30 is not between 0 and 1"),
    ],
)
def test_mistakes_in_a_chain_are_named(configuration, delta, message):
    with pytest.raises(InputError, match=message):
        plan_chain(configuration["synthesis"]["chain"], "x", delta, grey=False, partial_grey=False)


# --- shards


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A manifest of 14 pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = []
    for number in range(14):
        path = folder / f"T{number:02d}.png"
        smooth(number, 120, 90).save(path)
        rows.append((path.stem, str(path)))
    pd.DataFrame(rows, columns=["image_id", "path"]).to_parquet(folder / "manifest.parquet")
    return folder


def synthesise(configuration, pictures, folder, shards=1, threads=1, **files):
    """Run the script for all shards; the training set and what the last shard wrote to its log."""
    folder.mkdir()
    section = configuration["synthesis"] | {"side": 48, "class_stride": 2, "copies": 3}
    manifest, indices = str(pictures / "manifest.parquet"), []
    for shard in range(shards):
        indices.append(folder / f"{shard}.parquet")
        command = [sys.executable, SCRIPT, "--training", manifest, "--backgrounds", manifest]
        command += ["--family", "face_CC", "--synthesis", json.dumps(section)]
        command += ["--family-settings", json.dumps(configuration["family_table"]["face_CC"])]
        command += ["--shard", str(shard), "--shards", str(shards), "--seed", "5", "--threads", str(threads)]
        command += ["--tar", folder / f"{shard}.tar", "--index", indices[-1]]
        command += [part for name, path in files.items() for part in (f"--{name}", path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return TrainingSet(indices), done.stderr


@pytest.fixture(scope="module")
def one_shard(configuration, pictures, tmp_path_factory):
    return synthesise(configuration, pictures, tmp_path_factory.mktemp("set") / "one")[0]


def test_sharding_and_threads_change_no_byte(configuration, pictures, one_shard, tmp_path):
    three, log = synthesise(configuration, pictures, tmp_path / "three", shards=3, threads=2)
    assert one_shard.classes.tolist() == three.classes.tolist() == list(range(7))
    assert len(one_shard) == 7 * 4
    for class_id in range(7):
        rows = one_shard.copies_of(class_id)
        assert one_shard.index.loc[rows, "copy"].tolist() == [0, 1, 2, 3]
        for row, other in zip(rows, three.copies_of(class_id), strict=True):
            assert one_shard.read(row) == three.read(other)
    assert len({one_shard.read(row) for row in range(28)}) == 28
    assert "12 copies in" in log  # the last of three shards of seven classes has three


def test_written_copies_are_what_the_library_renders(configuration, pictures, one_shard):
    section = configuration["synthesis"]
    source = smooth(6, 120, 90)  # class 3 is picture 6
    scale = 48 / section["reference_side"]
    paths = pd.read_parquet(pictures / "manifest.parquet")["path"].tolist()
    scene = Scene(48, scale, ForeignPictures(paths).without(paths[6]), section["foreign_side"])
    chain = chain_of(configuration, "face_CC")
    expected = [render_original(source, 48, grey=False)]
    expected += [render_copy(source, chain, scene, (5, "synthesis", "face_CC", 3, copy)) for copy in (1, 2, 3)]
    for row, picture in zip(one_shard.copies_of(3), expected, strict=True):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=section["quality"])
        assert one_shard.read(row) == buffer.getvalue()


def test_faces_add_classes_or_say_that_there_are_none(configuration, pictures, one_shard, tmp_path):
    faces = tmp_path / "faces.parquet"
    pd.DataFrame({"image_id": ["T03", "T04"], "faces": [0, 2]}).to_parquet(faces)  # T04 is a class already
    base, log = synthesise(configuration, pictures, tmp_path / "none", faces=faces)
    assert "face_CC: no face outside the 7 base classes" in log
    assert [base.read(row) for row in range(28)] == [one_shard.read(row) for row in range(28)]
    pd.DataFrame({"image_id": ["T03", "T04"], "faces": [1, 2]}).to_parquet(faces)
    more, log = synthesise(configuration, pictures, tmp_path / "some", faces=faces)
    assert "no face" not in log
    assert more.classes.tolist() == list(range(8))
    assert [more.read(row) for row in range(28)] == [one_shard.read(row) for row in range(28)]


def test_a_shard_is_a_tar_and_a_webdataset(tmp_path):
    pictures = {(number, copy): bytes([number, copy]) * (300 + 7 * copy) for number in (3, 12) for copy in (0, 1)}
    copies = [(number, copy, picture) for (number, copy), picture in pictures.items()]
    index = write_shard(tmp_path / "tmp.tar", "a.tar", copies)
    write_shard(tmp_path / "a.tar", "a.tar", copies)
    assert (tmp_path / "tmp.tar").read_bytes() == (tmp_path / "a.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
        names = ["0000003_000.jpg", "0000003_001.jpg", "0000012_000.jpg", "0000012_001.jpg"]
        assert [member.name for member in members] == names
        assert [member.offset_data for member in members] == index["offset"].tolist()
        assert [member.size for member in members] == index["size"].tolist()
        assert [tar.extractfile(member).read() for member in members] == list(pictures.values())
    samples = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [name[:-4] for name in names]
    assert [sample["jpg"] for sample in samples] == list(pictures.values())
    index.to_parquet(tmp_path / "a.parquet")
    training_set = TrainingSet([tmp_path / "a.parquet"])
    assert [training_set.read(row) for row in range(4)] == list(pictures.values())
    with pytest.raises(KeyError):
        training_set.copies_of(4)
    os.truncate(tmp_path / "a.tar", members[-1].offset_data + members[-1].size - 1)
    with pytest.raises(InputError, match=r"a\.tar is cut off"):
        TrainingSet([tmp_path / "a.parquet"])
    (tmp_path / "a.tar").unlink()
    with pytest.raises(InputError, match=r"a\.tar is missing"):
        TrainingSet([tmp_path / "a.parquet"])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_reading_in_worker_processes(one_shard, start):
    expected = [one_shard.read(row) for row in range(28)]
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.map(one_shard.read, range(28)) == expected
    one_shard.close()
    assert pickle.loads(pickle.dumps(one_shard)).read(3) == expected[3]


def test_seeds_differ_by_family_class_and_copy():
    identities = [(0, "synthesis", f, c, k) for f in ("a", "b") for c in (1, 2) for k in (1, 2)]
    assert len({generator(*identity).random() for identity in identities}) == len(identities)
