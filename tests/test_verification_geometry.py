"""Where a reference lies in a query: known transforms, outliers, mirror images, perspective, matches by brute force."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from copytrace.sample import scenes
from copytrace.verification.features import UNIT, Features, FeatureSettings, extract, mirror_descriptors
from copytrace.verification.frames import area, clip, corners, project, resizing
from copytrace.verification.geometry import HOMOGRAPHY_INLIERS, LEAST_INLIERS, estimate, locate
from copytrace.verification.matching import MOST_MATCHES, RATIO, Matches, both_orientations, match, prepare_query

SIZE = 320, 240
PROPERTY = settings(max_examples=40)


def rotation(degrees):
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def centred(linear, shift=(0, 0)):
    """The linear map about the frame's middle, then a shift: [3, 3]."""
    middle = (np.array(SIZE) - 1) / 2
    out = np.eye(3)
    out[:2, :2] = linear
    out[:2, 2] = middle + shift - linear @ middle
    return out


def keypoint_map(transform, keypoints):
    """Keypoints [n, 4] where the transform takes them: places, diameters and angles by its derivative there."""
    points = keypoints[:, :2].astype(np.float64)
    moved = project(transform, points)
    depth = points @ transform[2, :2] + transform[2, 2]
    derivative = (transform[:2, :2] - moved[:, :, None] * transform[2, :2]) / depth[:, None, None]
    angles = np.radians(keypoints[:, 3])
    ahead = np.einsum("nij,jn->ni", derivative, np.stack([np.cos(angles), np.sin(angles)]))
    diameter = keypoints[:, 2] * np.sqrt(np.abs(np.linalg.det(derivative)))
    return np.column_stack([moved, diameter, np.degrees(np.arctan2(ahead[:, 1], ahead[:, 0])) % 360])


def drawn_keypoints(draw, count):
    return np.column_stack(
        [draw.uniform(0, SIZE[0] - 1, count), draw.uniform(0, SIZE[1] - 1, count), draw.uniform(2, 20, count),
         draw.uniform(0, 360, count)]
    )  # fmt: skip


def drawn_matches(transform, true, wrong, seed, noise=0.5):
    """`true` matches under the transform, with noise as of SIFT's keypoints, and `wrong` ones, shuffled."""
    draw = np.random.default_rng(seed)
    reference = drawn_keypoints(draw, true)
    query = keypoint_map(transform, reference)
    query[:, :2] += draw.normal(0, noise, (true, 2))
    query[:, 2] *= np.exp(draw.normal(0, 0.1, true))
    query[:, 3] += draw.normal(0, 5, true)
    order = draw.permutation(true + wrong)
    query = np.concatenate([query, drawn_keypoints(draw, wrong)])[order].astype(np.float32)
    reference = np.concatenate([reference, drawn_keypoints(draw, wrong)])[order].astype(np.float32)
    return Matches(query, reference, np.ones(true + wrong)), np.flatnonzero(order < true)


def assert_found(geometry, transform, matches, true, tolerance, share=0.9):
    """The transform to `tolerance` pixels at the corners; of the true matches most, of the wrong ones few."""
    assert geometry is not None
    apart = project(geometry.transform, corners(SIZE)) - project(transform, corners(SIZE))
    assert np.abs(apart).max() < tolerance
    place = {
        tuple(points): row for row, points in enumerate(np.hstack([matches.query[:, :2], matches.reference[:, :2]]))
    }
    found = [place[tuple(point)] for point in np.hstack([geometry.query_points, geometry.reference_points])]
    assert len(set(found)) == len(found) == geometry.inliers
    cells = [np.unique(np.floor(m[true, :2] / 2), axis=0) for m in (matches.query, matches.reference)]
    assert len(set(found) & set(true)) >= share * min(map(len, cells))
    assert len(set(found) - set(true)) <= 0.03 * (len(matches.query) - len(true)) + 1


similarities = st.builds(
    lambda scale, degrees, x, y: centred(scale * rotation(degrees), (x, y)),
    st.floats(0.3, 2.5), st.floats(-180, 180), st.floats(-100, 100), st.floats(-80, 80),
)  # fmt: skip
affine_maps = st.builds(
    lambda one, stretch, two, scale: centred(scale * rotation(one) @ np.diag([stretch, 1]) @ rotation(two)),
    st.floats(-90, 90), st.floats(1, 1.5), st.floats(-180, 180), st.floats(0.5, 1.5),
)  # fmt: skip


@PROPERTY
@given(similarities, st.integers(0, 2**32), st.integers(30, 60), st.floats(0, 0.5))
def test_similarities(transform, seed, true, outliers):
    matches, right = drawn_matches(transform, true, round(true * outliers / (1 - outliers)), seed)
    assert_found(estimate(matches, SIZE, SIZE), transform, matches, right, tolerance=6)


@PROPERTY
@given(similarities, st.integers(0, 2**32))
def test_nine_of_ten_matches_are_wrong(transform, seed):
    matches, right = drawn_matches(transform, 20, 180, seed)
    assert_found(estimate(matches, SIZE, SIZE), transform, matches, right, tolerance=15, share=0.7)


@PROPERTY
@given(affine_maps, st.integers(0, 2**32))
def test_affine_maps(transform, seed):
    matches, right = drawn_matches(transform, 40, 40, seed)
    assert_found(estimate(matches, SIZE, SIZE), transform, matches, right, tolerance=8, share=0.8)


def perspective(draw, strength):
    """A homography that moves the corners by up to this share of the sides."""
    moved = corners(SIZE) + draw.uniform(-strength, strength, (4, 2)) * SIZE
    return cv2.getPerspectiveTransform(np.float32(corners(SIZE)), np.float32(moved))


@PROPERTY
@given(st.integers(0, 2**32))
def test_perspective(seed):
    transform = perspective(np.random.default_rng(seed), 0.12)
    matches, right = drawn_matches(transform, 80, 20, seed)
    geometry = estimate(matches, SIZE, SIZE)
    assert_found(geometry, transform, matches, right, tolerance=8)
    assert np.abs(geometry.transform[2, :2]).max() > 0 or np.abs(transform[2, :2]).max() < 1e-4


@PROPERTY
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_the_same_matches_give_the_same_transform(seed, wrong):
    matches, _ = drawn_matches(perspective(np.random.default_rng(seed), 0.1), 40, wrong, seed)
    one, other = (estimate(matches, SIZE, SIZE) for _ in range(2))
    assert (one.transform == other.transform).all() and (one.query_points == other.query_points).all()


def test_without_noise_the_transform_is_exact():
    transform = centred(rotation(20) @ np.diag([1.2, 0.9]), (10, -5))
    matches, right = drawn_matches(transform, HOMOGRAPHY_INLIERS - 1, 0, seed=1, noise=0)
    geometry = estimate(matches, SIZE, SIZE)
    assert geometry.inliers == len(right)
    assert np.abs(geometry.transform - transform).max() < 1e-3 * np.abs(transform).max()


def test_weights_of_inliers_are_added_up():
    matches, _ = drawn_matches(centred(rotation(5)), 25, 0, seed=2)
    geometry = estimate(Matches(matches.query, matches.reference, np.full(25, 0.25)), SIZE, SIZE)
    assert geometry.inliers > 20
    assert geometry.weighted == pytest.approx(geometry.inliers / 4)


def test_matches_of_one_spot_count_once():
    matches, _ = drawn_matches(np.eye(3), 20, 0, seed=3, noise=0)
    twice = Matches(*(np.concatenate([a, a]) for a in (matches.query, matches.reference, matches.weights)))
    assert estimate(twice, SIZE, SIZE).inliers == estimate(matches, SIZE, SIZE).inliers


@PROPERTY
@given(st.integers(0, 2**32), st.integers(0, 200))
@example(0, 0)
@example(0, LEAST_INLIERS - 1)
def test_wrong_matches_alone_support_little(seed, count):
    matches, _ = drawn_matches(np.eye(3), 0, count, seed)
    geometry = estimate(matches, SIZE, SIZE)
    assert geometry is None or LEAST_INLIERS <= geometry.inliers <= 9


def test_points_on_a_line_keep_the_scale_of_their_keypoints():
    draw = np.random.default_rng(4)
    reference = drawn_keypoints(draw, 12)
    reference[:, 1] = 100
    transform = centred(0.5 * rotation(30))
    matches = Matches(*np.float32([keypoint_map(transform, reference), reference]), np.ones(12))
    geometry = estimate(matches, SIZE, SIZE)
    assert np.abs(project(geometry.transform, corners(SIZE)) - project(transform, corners(SIZE))).max() < 1


@pytest.mark.parametrize(
    "linear",
    [0.03 * np.eye(2), 26 * np.eye(2), np.diag([0.4, 2.0]), np.diag([-1.0, 1.0])],
    ids=["too small", "too large", "too much stretched", "mirrored"],
)
def test_implausible_maps_are_no_match(linear):
    transform = centred(linear)
    draw = np.random.default_rng(5)
    reference = drawn_keypoints(draw, 30)
    query = keypoint_map(transform, reference)
    query[:, 2:] = reference[:, 2:] * [np.sqrt(abs(np.linalg.det(linear))), 1]
    everything = 320 * 30, 240 * 30  # a frame so large that every match supports every other one's hypothesis
    assert estimate(Matches(*np.float32([query, reference]), np.ones(30)), everything, SIZE) is None
    assert estimate(Matches(*np.float32([reference, reference]), np.ones(30)), everything, SIZE).inliers > 20


# ---------------------------------------------------------------- matches


def features_of(descriptors, geometry=None):
    if geometry is None:
        geometry = np.ones((len(descriptors), 4), np.float32)
    return Features(descriptors, geometry, SIZE, SIZE, np.zeros((1, 1), np.uint8), np.zeros((8, 32), np.uint8))


def some_descriptors(draw, count):
    vectors = draw.gamma(0.5, size=(count, 128))
    return np.rint(np.sqrt(vectors / vectors.sum(axis=1, keepdims=True)) * UNIT).clip(0, 255).astype(np.uint8)


def test_matches_are_those_of_brute_force():
    draw = np.random.default_rng(6)
    reference = some_descriptors(draw, 90)
    noise = draw.integers(-25, 26, (70, 128))
    query = np.clip(reference[:70].astype(int) + noise * draw.random((70, 1)), 0, 255).astype(np.uint8)
    query[35:] = mirror_descriptors(query[35:])
    marks = np.arange(70)[:, None] * np.ones(4), np.arange(90)[:, None] * np.ones(4)  # keypoints that name their row
    background = draw.uniform(0, 5e4, (2, 70))
    query_features = features_of(query, marks[0].astype(np.float32))
    found = match(prepare_query(query_features, background), features_of(reference, marks[1].astype(np.float32)))
    for turn, descriptors in enumerate((query, mirror_descriptors(query))):
        squares = np.square(descriptors[:, None].astype(int) - reference).sum(axis=2)
        expected = {}
        for row, distances in enumerate(squares):
            first, second = np.sort(distances)[:2]
            if first < RATIO**2 * second:
                expected[row] = int(distances.argmin()), first / second, max(0, 1 - first / background[turn, row])
        rows = found[turn].query[:, 1].astype(int).tolist()
        assert sorted(rows) == sorted(expected) and 20 < len(rows) < 70
        assert found[turn].reference[:, 0].tolist() == [expected[row][0] for row in rows]
        assert [expected[row][1] for row in rows] == sorted(ratio for _, ratio, _ in expected.values())
        assert np.allclose(found[turn].weights, [expected[row][2] for row in rows], rtol=1e-12)
        assert 0 < np.mean(found[turn].weights == 0) < 1


def test_at_most_so_many_matches():
    descriptors = some_descriptors(np.random.default_rng(7), MOST_MATCHES + 50)
    plain, _ = match(prepare_query(features_of(descriptors), np.full((2, 250), np.inf)), features_of(descriptors))
    assert len(plain.query) == MOST_MATCHES and (plain.weights == 1).all()


def test_one_keypoint_or_none_match_nothing():
    descriptors = some_descriptors(np.random.default_rng(8), 5)
    for query, reference in ((5, 0), (5, 1), (0, 5), (0, 0)):
        prepared = prepare_query(features_of(descriptors[:query]), np.full((2, query), np.inf))
        assert [len(m.query) for m in match(prepared, features_of(descriptors[:reference]))] == [0, 0]
        assert locate(prepared, features_of(descriptors[:reference]), SIZE) is None


# ---------------------------------------------------------------- pictures


def picture(number):
    return scenes.render(scenes.scene(0, "references", number), 320)


def located(query, reference):
    query, reference = (extract(p, FeatureSettings()) for p in (query, reference))
    background = np.full(both_orientations(query).shape[:2], np.inf)
    return locate(prepare_query(query, background), reference, query.size)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_pictures_are_located(number, mirrored):
    reference = picture(number)
    transform = centred(0.8 * rotation(25), (12, -7))
    if mirrored:
        transform = transform @ np.array([[-1, 0, SIZE[0] - 1], [0, 1, 0], [0, 0, 1]])
    query = cv2.warpAffine(reference, transform[:2], SIZE, flags=cv2.INTER_LINEAR)
    geometry = located(query, reference)
    assert geometry.mirrored == mirrored
    assert np.linalg.det(geometry.transform) * (-1 if mirrored else 1) > 0
    assert np.abs(project(geometry.transform, corners(SIZE)) - project(transform, corners(SIZE))).max() < 3
    assert np.abs(project(geometry.transform, geometry.reference_points) - geometry.query_points).max() < 5


def test_other_pictures_are_not_located():
    for number in range(3):
        geometry = located(picture(number), picture(number + 7))
        assert geometry is None or geometry.inliers < 8


# ---------------------------------------------------------------- frames


def test_what_of_a_polygon_lies_in_a_picture():
    inside = clip(np.array([[-10.0, 5], [4, 5], [4, 8], [-10, 8]]), (10, 20))
    assert area(inside) == pytest.approx(4.5 * 3)
    assert area(clip(corners((10, 20)), (10, 20))) == 200
    assert len(clip(corners((4, 4)) + 30, (10, 20))) == 0
    diamond = np.array([[4.5, -20], [24.5, 9.5], [4.5, 39], [-15.5, 9.5]])
    assert area(clip(diamond, (10, 20))) == pytest.approx(200)


@PROPERTY
@given(st.integers(0, 2**32))
def test_clipped_areas_are_those_of_counting(seed):
    draw = np.random.default_rng(seed)
    turn = centred(draw.uniform(0.1, 1.5) * rotation(draw.uniform(0, 360)), draw.uniform(-150, 150, 2))
    polygon = project(turn, corners(SIZE))
    step = 0.5
    grid = np.stack(np.meshgrid(np.arange(-0.25, 319.5, step), np.arange(-0.25, 239.5, step)), axis=-1).reshape(-1, 2)
    back = project(np.linalg.inv(turn), grid)
    counted = ((back > -0.5) & (back < np.array(SIZE) - 0.5)).all(axis=1).sum() * step**2
    assert area(clip(polygon, SIZE)) == pytest.approx(counted, abs=0.01 * SIZE[0] * SIZE[1])


def test_resizing_maps_corners_to_corners():
    assert np.allclose(project(resizing((320, 240), (80, 31)), corners((320, 240))), corners((80, 31)))
