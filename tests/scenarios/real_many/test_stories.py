"""The stories that are told on the simulated cluster, told on real hosts."""

import asyncio

import pytest

from tests.bed.witness import Witness
from tests.scenarios.cluster.real import RealCluster
from tests.scenarios.cluster.stories import STORIES

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture
def told(ground, cluster):
    """The hosts, watched; afterwards every fault is mended and every node takes work again at once."""
    made = RealCluster(ground, cluster)
    with Witness(cluster.hosts) as witness:
        yield made
    ground.faults.heal()
    for node_id in made.nodes:
        asyncio.run(made.activate(node_id))
    assert witness.overlap("one/main") <= 0, "two of what must not run twice"


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_real_cluster_keeps_what_is_promised_when(told, story):
    asyncio.run(story(told))
