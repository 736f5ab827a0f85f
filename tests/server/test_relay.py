"""A manager that does not lead asks nodes through the one that does, in its own agent's session."""

import contextlib

import msgspec
import pytest

from pilothouse.errors import InvalidRequestError, NodeUnavailableError, PilothouseError, UnauthorizedError
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.session import Method, Relayed
from pilothouse.model.states import Writer
from pilothouse.model.wire import LogQuery
from pilothouse.server.sessions.registry import Nodes
from tests.server.agents import Office, until
from tests.server.harness import SimulatedNode, line, reading


def relayed(node_id, method, body=b""):
    return msgspec.msgpack.encode(Relayed(node_id=node_id, method=method, body=body))


async def raised(work):
    with pytest.raises(PilothouseError) as found:
        await work
    return found.value


@contextlib.asynccontextmanager
async def followed(office, **options):
    """Have a manager whose own agent has a session, and the registry that its API asks."""
    async with office.agent("m2", **options) as link:
        await until(lambda: link.connected)
        nodes = Nodes()
        nodes.ask_through(link, lambda: office.reception.present)
        yield nodes


async def test_a_manager_that_follows_asks_any_node_as_the_leader_does():
    node = SimulatedNode()
    node.usage = (reading("t1"),)
    node.lines = {"t1": [line("t1", 1.0, "first"), line("t1", 2.0, "second")]}
    async with (
        Office(managers=("m2",)).running() as office,
        office.raw("n1", services=node),
        followed(office) as nodes,
    ):
        assert nodes.connected == ("m2", "n1")
        asked = nodes.of("n1")
        assert await asked.stats() == node.usage
        assert [each.text async for each in asked.logs(LogQuery(task_id="t1"))] == ["first", "second"]
        steps = [step async for step in asked.ensure_image("web:1", "missing")]
        assert steps[-1].phase == "resolved"
        missing = [step async for step in asked.ensure_image("nothing:1", "never")]
        assert missing[-1].phase == "failed"


async def test_a_node_without_a_session_cannot_be_asked_there_either():
    async with Office(managers=("m2",)).running() as office, followed(office) as nodes:
        error = await raised(nodes.of("n1").stats())
        assert isinstance(error, NodeUnavailableError)
        assert "n1" in str(error)


async def test_a_manager_that_leads_asks_only_the_nodes_that_came_to_it():
    async with Office(managers=("m2",)).running() as office, office.raw("n1"), followed(office) as nodes:
        nodes.lead()
        assert nodes.connected == ()
        with pytest.raises(NodeUnavailableError):
            nodes.of("n1")
        nodes.follow()
        assert await nodes.of("n1").stats() == ()


async def test_no_agent_has_another_node_asked():
    async with Office(managers=("m2",)).running() as office, office.raw("n1"), office.raw("n2") as rogue:
        question = relayed("n1", Method.STATS.value)
        assert isinstance(await raised(rogue.ask(Method.RELAY.value, question)), UnauthorizedError)
        logs = relayed("n1", Method.LOGS.value, msgspec.msgpack.encode(LogQuery(task_id="t1")))
        assert isinstance(await raised(anext(rogue.stream(Method.RELAY_STREAM.value, logs))), UnauthorizedError)


async def test_a_machine_that_is_no_manager_any_more_is_shown_out():
    async with Office(managers=("m2",)).running() as office, office.raw("m2") as link:

        def dismiss(tx):
            tx.delete(tx.get(ManagerMember, "m2"))

        await office.world.store.update(Writer.API, dismiss)
        await until(lambda: office.reception.present == ())
        assert isinstance(
            await raised(link.ask(Method.RELAY.value, relayed("n1", Method.STATS.value))), PilothouseError
        )


@pytest.mark.parametrize("method", ["assignments", "renew", "relay", "hello", ""])
async def test_only_what_the_api_asks_of_nodes_is_relayed(method):
    async with Office(managers=("m2",)).running() as office, office.raw("n1"), office.raw("m2") as link:
        assert isinstance(await raised(link.ask(Method.RELAY.value, relayed("n1", method))), InvalidRequestError)
