"""Collages of several references: each of them is called with the trees that ship, and nothing else is."""

import cv2
import numpy as np
import pandas as pd
import pytest

from copytrace.sample import scenes
from copytrace.verification import background, descriptor_index, features, fusion, matching
from copytrace.verification.descriptor_index import IndexSettings
from copytrace.verification.matches import DEFAULT_FUSION, judge
from copytrace.verification.verify import verify

SIDE, CELL = 240, (200, 150)
SETTINGS = features.FeatureSettings()


def scene(role, number):
    return cv2.resize(scenes.render(scenes.scene(1, role, number), SIDE), CELL, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def references():
    return {f"R{number}": features.extract(scene("references", number), SETTINGS) for number in range(8)}


@pytest.fixture(scope="module")
def unrelated():
    described = [features.extract(scene("training", number), SETTINGS).descriptors for number in range(8)]
    return descriptor_index.build(
        lambda: ((vectors, np.zeros(len(vectors), np.int64)) for vectors in described), IndexSettings("exact")
    )


def measured(pictures, references, unrelated):
    """All pairs of a row of pictures with the references."""
    query = features.extract(np.hstack(pictures), SETTINGS)
    prepared = matching.prepare_query(query, background.squared_distances(unrelated, query))
    rows = [{"query_id": "Q", "reference_id": name} | verify(prepared, query, one) for name, one in references.items()]
    return pd.DataFrame(rows).assign(global_score=np.nan)


def called(pairs):
    trees = fusion.read_fusion(DEFAULT_FUSION)
    matches = judge(pairs, trees, trees.decision)
    return set(matches.reference_id[matches.decision])


@pytest.mark.parametrize("shown", [(), (0,), (1, 2), (3, 4), (5, 6), (0, 7), (0, 3, 6), (1, 4, 7)])
@pytest.mark.parametrize("foreign", [1, 2])
def test_each_reference_of_a_collage_is_called_and_no_other(references, unrelated, shown, foreign):
    pictures = [scene("references", number) for number in shown] + [scene("queries", n) for n in range(foreign)]
    assert called(measured(pictures, references, unrelated)) == {f"R{number}" for number in shown}


@pytest.mark.parametrize("shown", [(0, 1), (1, 2), (3, 4), (5, 6), (0, 3, 6), (1, 4, 7)])
def test_references_that_are_cut_to_their_cells_are_called(references, unrelated, shown):
    """Their frames reach over the neighbours, of which each covers a third or more."""
    pictures = [scene("references", number)[:, 40:160] for number in shown]
    pairs = measured(pictures, references, unrelated)
    boxes = pairs.set_index("reference_id").loc[[f"R{number}" for number in shown], ["query_x0", "query_x1"]]
    assert (boxes.query_x1[:-1].to_numpy() > boxes.query_x0[1:].to_numpy() + 30).all()
    assert called(pairs) == {f"R{number}" for number in shown}


@pytest.mark.parametrize("shown", [(1, 2), (0, 3, 6)])
def test_of_candidates_without_regions_one_is_called_at_most(references, unrelated, shown):
    """The control of the test above: it is the regions that make several sources of them."""
    pairs = measured([scene("references", number) for number in shown], references, unrelated)
    assert called(pairs) == {f"R{number}" for number in shown}
    assert len(called(pairs.assign(query_points=[[]] * len(pairs)))) <= 1
