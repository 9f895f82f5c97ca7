"""Fixtures of several test files, and their order."""

import hypothesis
import pytest
from cluster import one_node

hypothesis.settings.register_profile("untimed", deadline=None)  # no test asserts a speed
hypothesis.settings.load_profile("untimed")


#: Files that take a minute or more. They come first: two workers then end at about the same time.
LONGEST = (
    "test_workflow.py",
    "test_restarts.py",
    "test_hostile.py",
    "test_conda.py",
    "test_bill.py",
    "test_distributed.py",
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A SLURM of one node, at work."""
    with one_node(tmp_path_factory.mktemp("cluster")):
        yield
