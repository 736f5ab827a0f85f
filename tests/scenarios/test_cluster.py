"""The simulated cluster: stories told on it, and random scripts in which every promise is checked at every step."""

import pytest

from pilothouse.errors import TermOverError
from pilothouse.model.node import Node
from pilothouse.model.states import Writer
from tests.scenarios.cluster import apps
from tests.scenarios.cluster.loop import simulate
from tests.scenarios.cluster.play import log_muted, play
from tests.scenarios.cluster.regressions import REGRESSIONS
from tests.scenarios.cluster.stories import STORIES
from tests.scenarios.cluster.world import SimCluster

FAST, ALL = 3, 60
SEEDS = [*range(FAST), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(FAST, ALL))]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_the_simulated_cluster_keeps_what_is_promised_when(story, tmp_path):
    async def told():
        cluster = SimCluster(tmp_path, nodes=3, images=apps.IMAGES)
        async with cluster.started():
            await story(cluster)

    with log_muted():
        simulate(told())


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_no_promise_is_broken_and_in_the_end_all_is_as_people_asked(seed):
    assert play(seed).commits > 50


@pytest.mark.parametrize("name", REGRESSIONS)
def test_what_broke_a_promise_once_does_not_again(name):
    play(0, events=REGRESSIONS[name])


def test_of_two_managers_that_believe_to_lead_only_the_newer_one_writes(tmp_path):
    async def told():
        cluster = SimCluster(tmp_path, nodes=3, images=apps.IMAGES)
        async with cluster.started():
            old = cluster.leader
            old.process.stop()
            await cluster.until(lambda seen: cluster.leader not in {None, old}, 20)
            assert old in cluster.believers()
            with pytest.raises(TermOverError):
                await old.leadership.store.update(Writer.NODES, lambda tx: tx.put(tx.find(Node)[0]))
            old.process.go_on()
            await cluster.until(lambda seen: cluster.believers() == [cluster.leader], 20)

    with log_muted():
        simulate(told())


def test_the_same_seed_plays_the_same_run():
    assert play(3) == play(3)


@pytest.mark.slow
def test_a_cluster_of_many_nodes_is_played_too():
    assert play(1, nodes=100).starts >= 100
