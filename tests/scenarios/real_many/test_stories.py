"""The stories that are told on the simulated cluster, told on real hosts."""

import asyncio

import pytest

from tests.scenarios.cluster import stories
from tests.scenarios.cluster.real import RealCluster

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STORIES = (
    stories.a_node_is_drained_with_nothing_missing_meanwhile,
    stories.a_maintenance_ends_by_itself,
    stories.a_drain_is_taken_back_half_way,
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_real_cluster_keeps_what_is_promised_when(ground, cluster, story):
    asyncio.run(story(RealCluster(ground, cluster)))
