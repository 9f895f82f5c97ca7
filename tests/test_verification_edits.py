"""Edits with a known geometry: pixels followed through each of them, and the region that shows the picture."""

import numpy as np
import pytest

from copytrace import runtime
from copytrace.verification import edits
from copytrace.verification.frames import area, project

GEOMETRY = ("crop", "rotation", "flip", "perspective", "screenshot", "collage", "small_paste")
WIDTH, HEIGHT = 180, 120


def ramp():
    """Red is x, green is 2 y, blue is 0: linear, so that a right resampling gives the same value at the same place."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x, 2 * y, 0 * x], axis=2).astype(np.uint8)


def foreign():
    return np.full((150, 200, 3), (90, 30, 200), np.uint8)


def inside(region, shape, margin=0.0):
    """Pixels of a picture whose centres lie in a convex polygon, at least `margin` from its sides."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    within = np.ones(shape[:2], bool)
    one, two = region[1] - region[0], region[2] - region[1]
    turning = np.sign(one[0] * two[1] - one[1] * two[0])
    for start, end in zip(region, np.roll(region, -1, axis=0)):
        side = end - start
        if (length := np.hypot(*side)) > 1e-9:
            within &= turning * (side[0] * (y - start[1]) - side[1] * (x - start[0])) / length >= margin
    return within


@pytest.mark.parametrize("names", [*[(name,) for name in GEOMETRY], ("crop", "rotation"), ("flip", "collage", "crop")])
@pytest.mark.parametrize("draw", range(6))
def test_every_pixel_lies_where_the_transform_says(names, draw):
    rng = runtime.generator("test", names, draw)
    made = edits.apply(ramp(), [edits.EDITS[name] for name in names], rng, foreign)
    within = inside(made.region, made.picture.shape, margin=2.0)
    assert within.sum() > 50
    y, x = np.nonzero(within)
    expected = project(np.linalg.inv(made.transform), np.column_stack([x, y])) * (1, 2)
    coarseness = 1 / np.sqrt(abs(np.linalg.det(made.transform[:2, :2])))
    apart = np.abs(made.picture[y, x, :2] - expected)
    assert np.median(apart) < 0.75 + 0.25 * len(names) and np.quantile(apart, 0.98) < 1 + 2 * coarseness
    assert (made.picture[y, x, 2] == 0).mean() > 0.99


@pytest.mark.parametrize("name", GEOMETRY)
@pytest.mark.parametrize("draw", range(6))
def test_the_region_is_what_shows_the_picture(name, draw):
    """Outside of it no pixel has the colour that the picture, continued, would have there."""
    made = edits.apply(ramp(), [edits.EDITS[name]], runtime.generator("test", name, draw), foreign)
    height, width = made.picture.shape[:2]
    y, x = (grid.ravel() for grid in np.mgrid[:height, :width])
    expected = project(np.linalg.inv(made.transform), np.column_stack([x, y])) * (1, 2)
    tolerance = 1 + 2 / np.sqrt(abs(np.linalg.det(made.transform[:2, :2])))
    pixels = made.picture.reshape(-1, 3).astype(float)
    shown = (np.abs(pixels[:, :2] - expected).max(axis=1) <= tolerance) & (pixels[:, 2] <= tolerance)
    core, hull = (inside(made.region, made.picture.shape, margin).ravel() for margin in (2.0, -2.0))
    assert shown[core].mean() > 0.98 and shown[~hull].sum() <= 0.002 * len(shown)
    assert area(made.region) == pytest.approx(inside(made.region, made.picture.shape).sum(), rel=0.05, abs=60)
    assert (made.source_region >= -0.501).all() and (made.source_region <= (WIDTH - 0.499, HEIGHT - 0.499)).all()


def test_closed_forms_of_a_chain():
    """A mirror image, then a detail of it: x → w − 1 − x − x0."""

    def mirror(picture, rng, foreign):
        return edits.Step(picture[:, ::-1], np.array([[-1.0, 0, WIDTH - 1], [0, 1, 0], [0, 0, 1]]))

    def detail(picture, rng, foreign):
        return edits.Step(picture[10:70, 20:120], np.array([[1.0, 0, -20], [0, 1, -10], [0, 0, 1]]))

    made = edits.apply(ramp(), [mirror, detail], runtime.generator("test"), foreign)
    assert made.transform == pytest.approx(np.array([[-1, 0, 159], [0, 1, -10], [0, 0, 1]]))
    assert made.region.min(axis=0).tolist() == [-0.5, -0.5] and made.region.max(axis=0).tolist() == [99.5, 59.5]
    assert made.source_region.min(axis=0).tolist() == [59.5, 9.5]
    assert made.source_region.max(axis=0).tolist() == [159.5, 69.5]


@pytest.mark.parametrize("kind", edits.KINDS)
def test_every_kind_changes_the_picture_and_is_drawn_again_from_the_same_seed(kind):
    picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    one, same, other = (
        edits.copy(picture, kind, runtime.generator("test", kind, draw), foreign) for draw in ("a", "a", "b")
    )
    assert one.picture.dtype == np.uint8 and one.picture.ndim == 3 and one.picture.flags.c_contiguous
    assert one.picture.shape != picture.shape or (one.picture != picture).any()
    assert (one.picture == same.picture).all() and (one.transform == same.transform).all()
    if kind not in ("flip", "inversion", "screenshot", "sketch"):
        assert one.picture.shape != other.picture.shape or (one.picture != other.picture).any()
    if kind not in (*GEOMETRY, "caption", *edits.CHAINS):
        assert (one.transform == np.eye(3)).all() and area(one.region) == 90 * 120


def test_copies_show_enough():
    for draw in range(60):
        rng = runtime.generator("test", "enough", draw)
        made = edits.copy(ramp(), ("two_edits", "three_edits")[draw % 2], rng, foreign)
        assert area(made.source_region) >= edits.LEAST_SHOWN * WIDTH * HEIGHT
        assert area(made.region) >= edits.LEAST_COVERED * made.picture.shape[0] * made.picture.shape[1]
