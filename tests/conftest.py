"""Fixtures of several test files."""

import hypothesis
import pytest
from cluster import one_node

hypothesis.settings.register_profile("untimed", deadline=None)  # no test asserts a speed
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A SLURM of one node, at work."""
    with one_node(tmp_path_factory.mktemp("cluster")):
        yield
