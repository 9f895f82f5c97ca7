"""Agreement of aligned pixels and evidence boxes, on pictures with known transforms."""

import cv2
import numpy as np
import pytest

from copytrace import pdq
from copytrace.sample import scenes
from copytrace.verification.alignment import Agreement, compare_aligned, compare_thumbnails
from copytrace.verification.evidence import evidence, share
from copytrace.verification.features import FeatureSettings, extract
from copytrace.verification.frames import bounding_box, project
from copytrace.verification.geometry import Geometry
from copytrace.verification.matching import both_orientations, prepare_query
from copytrace.verification.verify import UNRELATED_BITS, hash_distance, verify

SIZE = 320, 240
SETTINGS = FeatureSettings()
FLAT = np.full((240, 320, 3), 120, np.uint8)
MIRROR = np.array([[-1.0, 0, 319], [0, 1, 0], [0, 0, 1]])


def picture(number, side=320):
    """A scene of four by three, whatever its own shape."""
    return cv2.resize(scenes.render(scenes.scene(0, "references", number), side), (side, side * 3 // 4))


def about_the_middle(degrees, scale, shift=(0, 0)):
    matrix = np.vstack([cv2.getRotationMatrix2D((159.5, 119.5), degrees, scale), [0, 0, 1]])
    matrix[:2, 2] += shift
    return matrix


TRANSFORMS = {
    "identity": np.eye(3),
    "turned": about_the_middle(30, 0.8),
    "enlarged": about_the_middle(-10, 1.9, (20, 10)),
    "small": about_the_middle(0, 0.35, (70, -40)),
    "mirrored": about_the_middle(15, 0.7) @ MIRROR,
    "perspective": np.array([[1.1, 0.1, -20], [0.05, 1.0, 5], [4e-4, 6e-4, 1]]),
}


def warped(reference, transform, ground=FLAT):
    """The reference laid over the ground, shrunk by areas so that it doesn't flicker."""
    large = cv2.warpPerspective(
        np.dstack([reference, np.full(reference.shape[:2], 255, np.uint8)]),
        np.diag([4, 4, 1.0]) @ transform,
        (4 * SIZE[0], 4 * SIZE[1]),
    )
    small = cv2.resize(large, SIZE, interpolation=cv2.INTER_AREA).astype(np.float64)
    alpha = small[:, :, 3:] / 255
    return np.rint(small[:, :, :3] * (alpha > 0.99) + ground * (alpha <= 0.99)).astype(np.uint8)


def compare(query, reference, transform):
    return compare_aligned(extract(query, SETTINGS), extract(reference, SETTINGS), transform)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_copy_agrees_where_it_lies_and_not_elsewhere(name):
    reference, transform = picture(1), TRANSFORMS[name]
    query = warped(reference, transform, ground=picture(9))
    right = compare(query, reference, transform)
    assert right.local_ncc > 0.85 and right.agreeing_share > 0.95 and right.global_ncc > 0.85
    beside = compare(query, reference, np.array([[1, 0, 12], [0, 1, 9], [0, 0, 1.0]]) @ transform)
    assert beside.local_ncc < right.local_ncc - 0.3 and beside.agreeing_share < right.agreeing_share - 0.3
    other = compare(query, picture(5), transform)
    assert other.local_ncc < 0.3 and other.agreeing_share < 0.35


def test_agreement_is_that_of_the_definition_window_by_window():
    """Pictures as large as the box, so that nothing is resampled: NCC of all windows, mirrored at the borders."""
    one, other = picture(1, 96), picture(2, 96) // 2 + picture(1, 96) // 3
    agreement = compare(one, other, np.eye(3))
    windows, whole = [], []
    for rgb in (one, other):
        blurred = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float64), (0, 0), 1.2)
        whole.append(blurred - blurred.mean())
        padded = np.pad(blurred, 4, mode="reflect")
        windows.append(np.lib.stride_tricks.sliding_window_view(padded, (9, 9)).reshape(*blurred.shape, 81))
    a, b = (w - w.mean(axis=2, keepdims=True) for w in windows)
    deviations = a.std(axis=2), b.std(axis=2)
    ncc = (a * b).mean(axis=2) / (deviations[0] * deviations[1] + 0.25)
    weight = np.minimum(*deviations)
    assert agreement.local_ncc == pytest.approx(np.average(ncc, weights=weight), abs=1e-3)
    assert agreement.agreeing_share == pytest.approx(np.average(ncc > 0.5, weights=weight), abs=0.01)
    assert agreement.global_ncc == pytest.approx(abs(np.corrcoef(whole[0].ravel(), whole[1].ravel())[0, 1]), abs=1e-2)
    assert 0.2 < agreement.local_ncc < 0.9


@pytest.mark.parametrize("name", TRANSFORMS)
def test_shares_are_those_of_counting(name):
    transform = TRANSFORMS[name]
    agreement = compare(FLAT, picture(1), transform)
    for share_of, matrix in (
        (agreement.query_share, np.linalg.inv(transform)),
        (agreement.reference_share, transform),
    ):
        grid = np.stack(np.meshgrid(np.arange(320.0), np.arange(240.0)), axis=-1).reshape(-1, 2)
        there = project(matrix, grid)
        inside = ((there > -0.5) & (there < np.array(SIZE) - 0.5)).all(axis=1)
        assert share_of == pytest.approx(inside.mean(), abs=0.02)


def test_brightness_contrast_and_inversion_do_not_count():
    reference = picture(2)
    paler = np.rint(reference * 0.5 + 90).astype(np.uint8)
    assert compare(paler, reference, np.eye(3)).local_ncc > 0.95
    inverted = compare(255 - reference, reference, np.eye(3))
    assert min(inverted.local_ncc, inverted.agreeing_share, inverted.global_ncc) > 0.95
    assert compare_thumbnails(*(extract(p, SETTINGS) for p in (255 - reference, reference))) > 0.95


def test_pictures_without_content_agree_with_nothing():
    assert compare(FLAT, picture(1), np.eye(3)).local_ncc == pytest.approx(0, abs=1e-6)
    assert compare(FLAT, FLAT, np.eye(3)).agreeing_share == 0
    pixel = np.zeros((1, 1, 3), np.uint8)
    assert compare(pixel, picture(1), np.diag([1 / 320, 1 / 240, 1])).local_ncc == pytest.approx(0, abs=1e-6)
    assert compare(picture(1), picture(1), about_the_middle(0, 1, (900, 0))) == Agreement()


@pytest.mark.filterwarnings("error")
def test_flat_parts_beside_texture_are_harmless():
    """Half a page is white, as around a screenshot: nothing there turns into not-a-number."""
    for number in range(4):
        page = picture(number)
        page[:, 150:] = 255
        agreement = compare(page, picture(number), np.eye(3))
        assert all(map(np.isfinite, vars(agreement).values()))
        assert agreement.local_ncc > 0.5
        assert np.isfinite(compare_thumbnails(extract(page, SETTINGS), extract(FLAT, SETTINGS)))


def test_a_caption_does_not_hide_the_rest():
    """Strong edges over a dark picture count no more than the dark picture's own texture there."""
    dark = picture(1) // 4
    captioned = dark.copy()
    captioned[100:130, ::16] = 255
    assert compare(captioned, dark, np.eye(3)).agreeing_share > 0.6


def test_thumbnails_agree_mirrored_or_not():
    features = [extract(p, SETTINGS) for p in (picture(3), np.ascontiguousarray(picture(3)[:, ::-1]), picture(4), FLAT)]
    assert compare_thumbnails(features[0], features[0]) > 0.95
    assert compare_thumbnails(features[0], features[1]) > 0.95
    assert compare_thumbnails(features[0], features[2]) < 0.3
    assert abs(compare_thumbnails(features[0], features[3])) < 0.01


# ---------------------------------------------------------------- evidence


def shown(transform, query, reference):
    points = np.zeros((3, 2), np.float32)
    return evidence(
        Geometry(transform, False, points, points, 3.0), extract(query, SETTINGS), extract(reference, SETTINGS)
    )


def scaled(factor, left, top):
    """A picture scaled by so much, its upper left corner, not its first pixel's centre, at (left, top)."""
    return np.array([[factor, 0, (factor - 1) / 2 + left], [0, factor, (factor - 1) / 2 + top], [0, 0, 1]])


def test_boxes_of_a_small_copy_and_of_a_detail():
    paste = np.array(
        [[0.25, 0, 40 + 0.125 - 0.5], [0, 0.25, 80 + 0.125 - 0.5], [0, 0, 1]]
    )  # upper left corner (40, 80)
    found = shown(paste, FLAT, picture(1))
    assert bounding_box(found.query_region) == pytest.approx((40, 80, 120, 140))
    assert bounding_box(found.reference_region) == pytest.approx((0, 0, 320, 240))
    detail = shown(np.linalg.inv(paste), FLAT, picture(1))
    assert bounding_box(detail.query_region) == pytest.approx((0, 0, 320, 240))
    assert bounding_box(detail.reference_region) == pytest.approx((40, 80, 120, 140))
    assert share(detail.reference_region, SIZE) == pytest.approx(1 / 16)
    assert bounding_box(detail.query_frame) == pytest.approx((-160, -320, 1120, 640))


def test_boxes_are_in_pixels_of_the_pictures_as_they_are():
    """A query that is reduced to a half and a reference to two fifths: the copy's box in each is the one it was."""
    query, reference = picture(1, 640), picture(1, 800)
    turn = np.array(
        [[0.4, 0, 0.4 / 2 - 0.5 + 100], [0, 0.4, 0.4 / 2 - 0.5 + 50], [0, 0, 1]]
    )  # 800 -> 320, at (100, 50)
    half, two_fifths = (np.array([[s, 0, (s - 1) / 2], [0, s, (s - 1) / 2], [0, 0, 1]]) for s in (0.5, 0.4))
    found = shown(half @ turn @ np.linalg.inv(two_fifths), query, reference)
    assert np.allclose(found.transform, turn)
    assert bounding_box(found.query_region) == pytest.approx((100, 50, 420, 290))
    assert bounding_box(found.reference_region) == pytest.approx((0, 0, 800, 600))


def test_nothing_shared_has_no_box():
    found = shown(about_the_middle(0, 1, (900, 0)), FLAT, FLAT)
    assert np.isnan(bounding_box(found.query_region)).all() and np.isnan(bounding_box(found.reference_region)).all()
    assert share(found.query_region, SIZE) == 0


# ---------------------------------------------------------------- all of it


def verified(query, reference):
    query, reference = extract(query, SETTINGS), extract(reference, SETTINGS)
    background = np.full(both_orientations(query).shape[:2], 1e5)
    return verify(prepare_query(query, background), query, reference)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_copy_is_verified(name, negative):
    reference, transform = picture(6, 640), TRANSFORMS[name]
    query = warped(cv2.resize(reference, SIZE, interpolation=cv2.INTER_AREA), transform, ground=picture(9))
    row = verified(255 - query if negative else query, reference)
    assert row["mirrored"] == (name == "mirrored")
    assert row["inliers"] >= 8 and 0 < row["weighted_inliers"] <= row["inliers"]
    assert row["local_ncc"] > 0.8 and row["agreeing_share"] > 0.9
    box = [row[f"query_{side}"] for side in ("x0", "y0", "x1", "y1")]
    frame = project(transform, np.array([[-0.5, -0.5], [319.5, -0.5], [319.5, 239.5], [-0.5, 239.5]])) + 0.5
    expected = [*np.clip(frame.min(axis=0), 0, SIZE), *np.clip(frame.max(axis=0), 0, SIZE)]
    assert np.abs(np.array(box) - expected).max() < 6
    ours = project(np.reshape(row["transform"], (3, 3)), np.array([[100.0, 50], [500, 400]]))
    theirs = project(transform, np.array([[100 / 2 - 0.25, 50 / 2 - 0.25], [500 / 2 - 0.25, 400 / 2 - 0.25]]))
    assert np.abs(ours - theirs).max() < 4


def test_other_pictures_and_hostile_ones_are_not():
    row = verified(picture(7), picture(8))
    assert row["inliers"] < 8 and row["local_ncc"] < 0.5 and row["thumbnail_ncc"] < 0.4
    pixel = np.zeros((1, 1, 3), np.uint8)
    for query in (FLAT, pixel, picture(7)):
        for reference in (FLAT, pixel):
            row = verified(query, reference)
            assert row["inliers"] == 0 and np.isnan(row["transform"]).all() and np.isnan(row["query_x0"])
            assert row["hash_distance"] == UNRELATED_BITS
            assert abs(row["thumbnail_ncc"]) < 0.01


def test_hash_distances_are_those_of_turned_pictures():
    reference = picture(1)
    hashes = pdq.dihedral_hashes(reference)
    assert hash_distance(pdq.dihedral_hashes(np.rot90(reference)[:, ::-1]), hashes) == 0
    other = pdq.dihedral_hashes(picture(2))
    bits = np.unpackbits(other, axis=1) != np.unpackbits(hashes[0])
    assert hash_distance(other, hashes) == min(bits.sum(axis=1).min(), (~bits).sum(axis=1).min()) > 60
    assert hash_distance(pdq.dihedral_hashes(255 - reference), hashes) <= 2
