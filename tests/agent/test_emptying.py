"""A machine that is in no cluster any more: what ran there ends, data and what is somebody else's stays."""

import pytest

from pilothouse.agent.emptying import empty
from pilothouse.agent.runtime.fake import FakeEngine
from pilothouse.clock import SystemClock
from pilothouse.errors import RuntimeUnavailableError, TemporaryError
from pilothouse.model.names import container_name
from pilothouse.model.states import TaskState
from tests.agent.manager import Manager, Node
from tests.agent.world import make_network, make_task, make_volume

S = TaskState


def emptied(node, engine=None):
    home = node.directory
    return empty(engine or FakeEngine(node.host), home / "data", home / "run", SystemClock())


async def ran(node, *tasks, **places):
    """Have an agent run tasks there, and end without touching them."""
    manager = Manager(*tasks, **places)
    async with node.agent(manager):
        for task in tasks:
            await manager.reaches(task, S.RUNNING)


async def test_everything_ends_but_named_volumes_and_a_second_time_there_is_nothing_to_do(tmp_path):
    node = Node(tmp_path)
    await ran(node, make_task(1), make_task(2, service="api"), volumes=[make_volume()])
    node.host.volumes["shop_data"] = "shop"
    done = await emptied(node)
    assert (done.containers, done.networks, done.volumes, done.left) == (2, 1, ("shop_data",), ())
    assert node.host.leftovers() == ("volume shop_data",)
    assert not (tmp_path / "run" / "proxy").exists()
    assert not (tmp_path / "run" / "guard").exists()
    assert (await emptied(node)).containers == 0


async def test_where_no_agent_ever_ran_nothing_is_asked_of_the_engine(tmp_path):
    node = Node(tmp_path)
    node.host.outage()
    assert (await emptied(node)).containers == 0


async def test_what_another_installation_runs_on_the_engine_stays(tmp_path):
    one = Node(tmp_path / "one", seed=1)
    two = Node(tmp_path / "two", host=one.host, seed=2)
    mine, theirs = make_task(1), make_task(2, service="api")
    await ran(one, mine)
    await ran(two, theirs, networks=[make_network(), make_network("back")])
    adopted = make_task(3, service="old")
    one.host.containers[container_name(adopted)] = one.host.containers.pop(container_name(mine))
    container = one.host.containers[container_name(adopted)]
    container.change(name=container_name(adopted), task_id=adopted.id, installation="")
    done = await emptied(one)
    assert done.containers == 0
    assert container_name(adopted) in done.left[0], "whose it is cannot be told while another installation is there"
    assert set(one.host.containers) == {container_name(theirs), container_name(adopted)}


async def test_an_adopted_container_is_ours_where_nobody_else_is(tmp_path):
    node, task = Node(tmp_path), make_task()
    await ran(node, task)
    node.host.containers[container_name(task)].change(installation="")
    assert (await emptied(node)).containers == 1
    assert node.host.leftovers() == ()


async def test_what_cannot_be_removed_is_said_and_everything_else_is_gone(tmp_path):
    node = Node(tmp_path)
    await ran(node, make_task(1), make_task(2, service="api"))
    (tmp_path / "run" / "guard").mkdir(parents=True, exist_ok=True)
    engine = FakeEngine(node.host)
    engine.fail_at(2, TemporaryError("the engine is busy"))
    with pytest.raises(RuntimeUnavailableError, match="1 container could not be removed: the engine is busy"):
        await emptied(node, engine)
    assert len(node.host.containers) == 1
    assert (tmp_path / "run" / "guard").exists(), "the guard stays as long as something runs"
    await emptied(node)
    assert node.host.leftovers() == ()
