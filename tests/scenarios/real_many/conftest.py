"""What the scenarios on several real hosts share: one ground, one cluster, and nothing left after each."""

import pytest

from tests.bed import bed
from tests.bed.cluster import Cluster
from tests.bed.traces import nothing_left


@pytest.fixture(scope="session")
def ground():
    """Three hosts, with images, on one cable."""
    with bed(3) as made:
        yield made


@pytest.fixture(scope="session")
def joined(ground):
    """A cluster of the three: the first its manager, the others its agents."""
    made = Cluster(ground.hosts)
    made.begin()
    return made


@pytest.fixture
def cluster(ground, joined):
    """The cluster with every node ready; after the test every fault is gone, every app too, and nothing is left."""
    for host in joined.hosts:
        joined.wait_ready(host, 90.0)
    with nothing_left(joined.hosts):
        yield joined
        ground.faults.heal()
        for app in joined.apps():
            joined.down(app)
