"""While two versions of Pilothouse run: who runs which is known, said, and nobody is let in who is too far away."""

import pytest

import pilothouse
from pilothouse.errors import SkewError
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.cluster_api import FormatView, RunningVersion
from pilothouse.model.format import FORMAT, FORMAT_ID, Format
from pilothouse.model.node import Node, NodeDescription
from pilothouse.model.session import PROTOCOL, check_protocol
from pilothouse.model.states import Writer
from pilothouse.server.cluster.introducing import Introducing
from pilothouse.server.upgrading import finding
from tests.server.agents import Office, say_hello
from tests.server.harness import World
from tests.server.test_remote_sessions import raised


async def put(world, *objects):
    await world.store.update(Writer.API, lambda tx: [tx.put(each) for each in objects])


async def test_everybody_can_see_which_version_runs_where():
    world = World()
    about = NodeDescription(version="0.1.0", format=1)
    await put(world, Node(id="web1", description=about), Node(id="never-came"))
    await put(world, ManagerMember(id="m1", api="h:1", sessions="h:2", release="0.2.0", format=2))
    view = (await world.get("/v1/format")).json
    assert (view["number"], view["newest"]) == (1, FORMAT)
    assert view["managers"] == [{"name": "m1", "version": "0.2.0", "format": 2}]
    assert view["agents"] == [{"name": "web1", "version": "0.1.0"}]
    found = (await world.get("/v1/doctor")).json["items"]
    assert [each["level"] for each in found if each["subject"] == "upgrade"] == ["ok"]


async def test_there_is_nothing_to_raise_where_everybody_knows_the_newest():
    world = World()
    await put(world, Node(id="web1", description=NodeDescription(version="0.1.0", format=1)))
    assert (await world.call("POST", "/v1/format/raise")).json["number"] == 1
    assert await world.store.view(lambda tx: tx.find(Format)) == []


@pytest.mark.parametrize(
    ("fields", "level", "said"),
    [
        ({"number": 2}, "ok", "format 2; versions 0.1.0, 0.2.0"),
        ({"number": 1}, "warning", "the format is raised to 2 within 10 minutes"),
        ({"number": 1, "held_back_by": ("web1 is old",)}, "warning", "the format is not raised: web1 is old"),
    ],
)
def test_doctor_says_how_far_an_upgrade_is(fields, level, said):
    agents = (RunningVersion(name="web1", version="0.1.0"),)
    found = finding(FormatView(newest=2, version="0.2.0", agents=agents, **fields))
    assert found.level == level
    assert said in found.message
    assert bool(found.advice) == (level == "warning")


async def test_a_manager_writes_down_what_it_is_once():
    world = World()
    await put(world, ManagerMember(id="m1", api="h:1", sessions="h:2", approved_at=1.0, release="0.0.9", format=1))
    introducing = Introducing(world.store, "m1")
    await introducing.act()
    revision = await world.store.view(lambda tx: tx.revision)
    (member,) = await world.store.view(lambda tx: tx.find(ManagerMember))
    assert (member.release, member.format) == (pilothouse.__version__, FORMAT)
    await introducing.act()
    assert await world.store.view(lambda tx: tx.revision) == revision


async def test_what_an_agent_is_stands_at_its_node_as_soon_as_it_says_hello():
    async with Office().running() as office, office.raw(hello=False) as link:
        await say_hello(link, "i1", format=2)
        (node,) = [each for each in await office.world.store.view(lambda tx: tx.find(Node)) if each.id == "n1"]
        assert (node.description.version, node.description.format) == ("1", 2)


async def test_an_agent_that_does_not_know_the_format_is_given_no_session():
    async with Office().running() as office, office.raw(hello=False) as link:
        await office.world.store.update(Writer.NODES, lambda tx: tx.put(Format(id=FORMAT_ID, number=FORMAT + 1)))
        error = await raised(say_hello(link, "i1"))
        assert isinstance(error, SkewError)
        assert "knows format 1, and the platform has 2 already: upgrade the agent" in str(error)
        assert "n1" not in office.reception.present


@pytest.mark.parametrize("away", [-2, 2, 5])
def test_protocols_more_than_one_apart_are_refused_by_either_end(away):
    with pytest.raises(SkewError, match="upgrade it" if away < 0 else "upgrade this one"):
        check_protocol(PROTOCOL + away, "the manager")


@pytest.mark.parametrize("away", [-1, 0, 1])
def test_protocols_one_apart_are_spoken(away):
    check_protocol(PROTOCOL + away, "the manager")
