"""Fixtures of several test files."""

import pytest
from cluster import one_node


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A SLURM of one node, at work."""
    with one_node(tmp_path_factory.mktemp("cluster")):
        yield
