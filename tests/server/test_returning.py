"""A node takes work again when its maintenance is over: by the API's door, with a record."""

import pytest
from msgspec.structs import replace

from pilothouse.model.node import Availability, Maintenance, Node, NodeSpec
from pilothouse.model.objects import AuditRecord
from pilothouse.model.states import Writer
from pilothouse.server.returning import activate
from tests.server.harness import NOW, World

DRAIN = NodeSpec(availability=Availability.DRAIN, labels={"zone": "a"})


@pytest.mark.parametrize(
    ("spec", "done"),
    [
        (replace(DRAIN, maintenance=Maintenance(reason="a new kernel", until=NOW)), True),
        (replace(DRAIN, maintenance=Maintenance(until=NOW + 1)), False),
        (replace(DRAIN, maintenance=Maintenance()), False),
        (DRAIN, False),
        (NodeSpec(maintenance=Maintenance(until=NOW)), False),
    ],
)
async def test_only_a_drain_whose_time_has_come_is_ended_and_recorded(spec, done):
    world = World()
    await world.store.update(Writer.AGENT, lambda tx: tx.put(Node(id="node1")))
    await world.store.update(Writer.API, lambda tx: tx.put(replace(tx.get(Node, "node1"), spec=spec)))
    assert await activate(world.context, "node1") is done
    found = await world.store.view(lambda tx: tx.get(Node, "node1").spec)
    assert found == (NodeSpec(labels={"zone": "a"}) if done else spec)
    records = await world.store.view(lambda tx: tx.find(AuditRecord))
    assert [(r.principal, r.action, r.object) for r in records] == [("system", "node.activate", "node/node1")] * done


async def test_a_node_that_is_gone_needs_no_return():
    assert not await activate(World().context, "node9")
