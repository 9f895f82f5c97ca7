"""Candidates by votes of local features, and the background, against brute force; the index and its file."""

import faiss
import numpy as np
import pandas as pd
import pytest

from copytrace.errors import InputError
from copytrace.sample import scenes
from copytrace.verification import descriptor_index
from copytrace.verification.background import squared_distances
from copytrace.verification.candidates import VoteSettings, find_candidates, votes
from copytrace.verification.descriptor_index import IndexSettings, build, read_index, search, write_index
from copytrace.verification.features import UNIT, Features, FeatureSettings, extract, mirror_descriptors

EVERYTHING = 10**6  # lists searched
KINDS = {
    "exact": IndexSettings("exact"),
    "ivf_sq8": IndexSettings("ivf_sq8", lists=16, probes=EVERYTHING),
}


def some_descriptors(draw, count):
    vectors = draw.gamma(0.5, size=(count, 128))
    return np.rint(np.sqrt(vectors / vectors.sum(axis=1, keepdims=True)) * UNIT).clip(0, 255).astype(np.uint8)


def collection(seed=0, references=25, each=60):
    """Descriptors [references, each, 128] that come in families, as those of pictures of one kind do."""
    draw = np.random.default_rng(seed)
    centres = some_descriptors(draw, 40)
    noise = draw.integers(-20, 21, (references, each, 128))
    return np.clip(centres[draw.integers(40, size=(references, each))].astype(int) + noise, 0, 255).astype(np.uint8)


def pieces(descriptors, cuts=3):
    flat, owner = descriptors.reshape(-1, 128), np.repeat(np.arange(len(descriptors)), descriptors.shape[1])
    return lambda: zip(np.array_split(flat, cuts), np.array_split(owner, cuts))


def query_of(descriptors):
    geometry = np.ones((len(descriptors), 4), np.float32)
    return Features(descriptors, geometry, (9, 9), (9, 9), np.zeros((1, 1), np.uint8), np.zeros((8, 32), np.uint8))


def brute_force(descriptors, query, neighbours):
    """Votes of one orientation, by the words of the fact sheet."""
    totals = dict.fromkeys(range(len(descriptors)), 0.0)
    for descriptor in query.astype(int):
        squared = np.square(descriptors.astype(int) - descriptor).sum(axis=2)
        last = np.sort(squared, axis=None)[neighbours - 1]
        for reference, nearest in enumerate(squared.min(axis=1)):
            totals[reference] += max(0, last - nearest) / UNIT**2
    return totals


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_votes_are_those_of_brute_force(kind, mirrored):
    descriptors = collection()
    draw = np.random.default_rng(1)
    query = np.clip(descriptors[7, :30].astype(int) + draw.integers(-9, 10, (30, 128)), 0, 255).astype(np.uint8)
    query = np.concatenate([query, collection(2, 1, 20)[0]])
    found = find_candidates(
        build(pieces(descriptors), KINDS[kind]),
        query_of(mirror_descriptors(query) if mirrored else query),
        VoteSettings(keypoints=40, neighbours=15, candidates=8),
    )
    plain, turned = (brute_force(descriptors, q[:40], 15) for q in (query, mirror_descriptors(query)))
    better = {reference: max(plain[reference], turned[reference]) for reference in plain}
    expected = sorted(better, key=lambda reference: (-better[reference], reference))[:8]
    assert found.reference.tolist() == expected and expected[0] == 7
    assert np.allclose(found.votes, [better[reference] for reference in expected], rtol=1e-12)
    assert found.mirrored.tolist() == [mirrored ^ (turned[r] > plain[r]) for r in expected]


def test_approximate_votes_find_the_same_reference():
    descriptors = collection(3, 50, 200)
    index = build(pieces(descriptors), IndexSettings("ivf_pq", lists=16, probes=8, code_bytes=16))
    draw = np.random.default_rng(4)
    for reference in range(0, 50, 7):
        chosen = descriptors[reference, :60].astype(int)
        query = np.clip(chosen + draw.integers(-5, 6, chosen.shape), 0, 255).astype(np.uint8)
        assert find_candidates(index, query_of(query), VoteSettings()).reference[0] == reference


def test_missing_neighbours_do_not_vote():
    squared = np.array([[1.0, 4, 9], [2, 3, np.inf], [np.inf] * 3]) * UNIT**2
    references = np.array([[5, 5, 6], [6, 5, -1], [-1] * 3])
    expected = pd.DataFrame({"reference": [5, 6], "votes": [8.0, 1.0]})
    pd.testing.assert_frame_equal(votes(squared, references), expected)


def test_fewer_descriptors_than_neighbours():
    descriptors = collection(references=2, each=3)
    index = build(pieces(descriptors), IndexSettings("exact"))
    found = find_candidates(index, query_of(descriptors[1]), VoteSettings(neighbours=50))
    assert found.reference[0] == 1 and set(found.reference) <= {0, 1}


def test_a_query_without_keypoints_has_no_candidates():
    index = build(pieces(collection()), KINDS["ivf_sq8"])
    flat = extract(np.full((40, 60, 3), 9, np.uint8), FeatureSettings())
    found = find_candidates(index, flat, VoteSettings())
    assert found.empty and list(found.columns) == ["reference", "votes", "mirrored"]
    assert squared_distances(index, flat).shape == (2, 0)


def test_nothing_to_index():
    with pytest.raises(InputError, match="no local features"):
        build(lambda: [(np.empty((0, 128), np.uint8), np.empty(0, np.int64))], IndexSettings("exact"))


def test_too_little_for_product_quantisation():
    with pytest.raises(InputError, match="ivf_pq needs 9,984 local features, and there are 1,500: choose ivf_sq8"):
        build(pieces(collection()), IndexSettings("ivf_pq"))


@pytest.mark.parametrize("kind", ["exact", "ivf_sq8", "ivf_pq"])
def test_pieces_and_threads_change_no_byte(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(descriptor_index, "FLAT_LISTS", 16)  # so that the graph is built, too
    monkeypatch.setattr(descriptor_index, "CODE_TRAINING", 1000)
    descriptors = collection(5, 50, 60)
    settings = IndexSettings(kind, lists=32, probes=4, code_bytes=8)
    threads = faiss.omp_get_max_threads()
    try:
        for name, cuts, number in (("a", 1, 1), ("b", 7, 1), ("c", 3, 4)):
            faiss.omp_set_num_threads(number)
            write_index(tmp_path / name, build(pieces(descriptors, cuts), settings))
            assert faiss.omp_get_max_threads() == number
    finally:
        faiss.omp_set_num_threads(threads)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("kind", ["exact", "ivf_sq8", "ivf_pq"])
def test_a_stored_index_finds_the_same(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(descriptor_index, "FLAT_LISTS", 8)
    monkeypatch.setattr(descriptor_index, "CODE_TRAINING", 1000)
    descriptors = collection(6)
    index = build(pieces(descriptors), IndexSettings(kind, lists=16, probes=3, code_bytes=8))
    write_index(tmp_path / "index", index)
    query = collection(7, 1, 30)[0]
    for ours, theirs in zip(search(index, query, 10), search(read_index(tmp_path / "index"), query, 10)):
        assert (ours == theirs).all()


def test_an_index_that_is_cut_off_is_named(tmp_path):
    path = tmp_path / "references.index"
    write_index(path, build(pieces(collection()), KINDS["ivf_sq8"]))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"references\.index can't be read"):
        read_index(path)


@pytest.mark.parametrize("kind", KINDS)
def test_distances_to_the_background_are_exact(kind):
    background, query = collection(8, 12, 20), collection(9, 1, 15)[0]
    found = squared_distances(build(pieces(background), KINDS[kind]), query_of(query))
    for turn, descriptors in enumerate((query, mirror_descriptors(query))):
        squares = np.square(descriptors[:, None].astype(int) - background.reshape(-1, 128)).sum(axis=2)
        assert (found[turn] == squares.min(axis=1)).all()


def test_copies_of_scenes_are_found_among_others():
    settings = FeatureSettings()
    references = [scenes.render(scenes.scene(0, "references", i), 240) for i in range(20)]
    features = [extract(picture, settings) for picture in references]
    shards = [(f.descriptors[:200], np.full(len(f.descriptors[:200]), i)) for i, f in enumerate(features)]
    index = build(lambda: shards, IndexSettings("ivf_sq8", lists=32))
    for number in (2, 11):
        for mirrored in (False, True):
            cut = references[number][30:150, 40:200]
            query = extract(np.ascontiguousarray(cut[:, ::-1] if mirrored else cut), settings)
            first = find_candidates(index, query, VoteSettings()).iloc[0]
            assert (first.reference, first.mirrored) == (number, mirrored)
