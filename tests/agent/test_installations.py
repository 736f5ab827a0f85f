"""Two installations on one engine, and what each may remove there."""

import json

import pytest

from pilothouse.agent.installation import installation_id
from pilothouse.agent.plan import hook_name
from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.ids import SeededIds
from pilothouse.model.container import Mount, MountKind
from pilothouse.model.names import INSTALLATION_LABEL, container_name
from pilothouse.model.spec import Hook
from pilothouse.model.states import TaskState
from tests.agent.manager import Manager, Node, eventually
from tests.agent.world import make_network, make_task, make_volume

S = TaskState


@pytest.fixture
def pair(tmp_path):
    """Two nodes of two installations with the same engine."""
    one = Node(tmp_path / "one", seed=1)
    return one, Node(tmp_path / "two", host=one.host, seed=2)


def events(capsys, name):
    """Return the names in all events called *name* so far."""
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    return [line.get("name", "") for line in lines if line["event"] == name]


def sweep(agent):
    """Make the agent compare now what is there with what should be."""
    agent._sweep_now.set()


async def test_neither_of_two_installations_removes_what_the_other_made(pair):
    one, two = pair
    mine, theirs = make_task(1), make_task(2, service="api")
    first = Manager(mine, volumes=[make_volume()])
    second = Manager(theirs, networks=[make_network(), make_network("back")], volumes=[make_volume("files")])
    async with one.agent(first) as agent, two.agent(second) as other:
        await first.reaches(mine, S.RUNNING)
        await second.reaches(theirs, S.RUNNING)
        one.host.networks["shop_back"] = "shop"
        one.host.makers["network shop_back"] = two.installation
        for each, node in ((agent, one), (other, two)):
            asked = len(node.engine.calls)
            sweep(each)
            await eventually(lambda node=node, asked=asked: verbs(node, asked) >= {"status", "list_volumes"})
        assert one.host.running() == tuple(sorted((container_name(mine), container_name(theirs))))
        assert set(one.host.networks) == {"shop_default", "shop_back"}
    async with one.agent(Manager()), two.agent(second):
        # The first starts anew and nothing is assigned to it any more.
        await one.until(lambda: container_name(mine) not in one.host.containers, "its own container is gone")
        await eventually(lambda: "list_volumes" in verbs(one, 0))
        assert one.host.running() == (container_name(theirs),)
        assert "shop_back" in one.host.networks


async def test_a_volume_or_network_that_another_installation_made_is_forgotten_and_stays(pair):
    one, _ = pair
    one.host.networks["shop_default"] = one.host.volumes["shop_data"] = "shop"
    one.host.makers.update({"network shop_default": "another", "volume shop_data": "another"})
    manager = Manager(networks=[make_network(removing=True)], volumes=[make_volume(removing=True)])
    async with one.agent(manager):
        await manager.until(lambda: {("network", "shop/default"), ("volume", "shop/data")} <= set(manager.gone))
    assert one.host.leftovers() == ("network shop_default", "volume shop_data")


async def test_everything_that_is_made_carries_the_id_of_its_installation(pair):
    one, _ = pair
    one.host.images["tool:1"] = FakeImage(ref="tool:1", exit_after_seconds=0.02)
    mount = Mount(kind=MountKind.VOLUME, source="data", target="/data")
    task = make_task(
        container={"mounts": (mount,), "labels": {"io.example": "x"}},
        spec={"pre_start": (Hook(command=("migrate",), image="tool:1", per_replica=True),)},
    )
    manager = Manager(task, volumes=[make_volume()])
    async with one.agent(manager):
        await manager.reaches(task, S.RUNNING)
    assert one.host.makers == dict.fromkeys(("network shop_default", "volume shop_data"), one.installation)
    assert set(one.host.containers) == {container_name(task), hook_name(task, 0)}
    assert {c.plan.labels[INSTALLATION_LABEL] for c in one.host.containers.values()} == {one.installation}


async def test_an_app_that_goes_leaves_no_word_of_orphans(pair, capsys):
    one, _ = pair
    task = make_task()
    manager = Manager(task)
    async with one.agent(manager):
        await manager.reaches(task, S.RUNNING)
        manager.want(S.SHUTDOWN)
        await manager.until(lambda: manager.state(task).terminal)
        manager.networks = [make_network(removing=True)]
        manager.drop(task.id)
        await one.until(lambda: not one.host.leftovers(), "everything is gone")
    assert events(capsys, "container.orphaned") == []


async def test_a_container_whose_running_task_is_forgotten_is_called_an_orphan_once(pair, capsys):
    one, _ = pair
    task = make_task()
    manager = Manager(task)
    async with one.agent(manager):
        await manager.reaches(task, S.RUNNING)
        manager.networks = [make_network(removing=True)]
        manager.drop(task.id)
        await one.until(lambda: not one.host.leftovers(), "everything is gone")
    assert events(capsys, "container.orphaned") == [container_name(task)]


def test_an_installation_keeps_its_id(tmp_path):
    made = installation_id(tmp_path / "data", SeededIds(1))
    assert installation_id(tmp_path / "data", SeededIds(2)) == made
    assert installation_id(tmp_path / "other", SeededIds(2)) != made


def verbs(node, since):
    """Return what an agent asked its engine after its call number *since*."""
    return {call.verb for call in node.engine.calls[since:]}
