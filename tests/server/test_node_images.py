"""A person sees the images of a machine, and has those removed that nobody needs, on record."""

from pilothouse.errors import NodeUnavailableError
from pilothouse.model.node import Node
from pilothouse.model.objects import AuditRecord
from pilothouse.model.states import Writer
from tests.server.harness import World


async def manager():
    """Return a manager with one node, n1."""
    world = World()
    await world.store.update(Writer.AGENT, lambda tx: tx.put(Node(id="n1")))
    return world


async def audit(world):
    return [(r.action, r.object) for r in await world.store.view(lambda tx: tx.find(AuditRecord))]


async def test_the_images_of_a_machine_are_shown_and_pruned_on_record():
    world = await manager()
    node = world.node
    shown = await world.call("GET", "/v1/nodes/n1/images")
    assert shown.status == 200, shown
    assert [each["names"] for each in shown.json["images"]] == [["old:1"]]
    done = await world.call("POST", "/v1/nodes/n1/prune")
    assert (done.status, done.json["images"], node.pruned) == (200, ["old:1"], 1)
    assert await audit(world) == [("node.prune", "node/n1")]


async def test_a_machine_that_is_unknown_or_away_is_not_asked_and_nothing_is_on_record():
    world = await manager()
    assert (await world.call("POST", "/v1/nodes/n9/prune")).status == 404
    assert (await world.call("GET", "/v1/nodes/n9/images")).status == 404
    world.context.nodes.disconnect("n1")
    assert (await world.call("POST", "/v1/nodes/n1/prune")).status == NodeUnavailableError.status
    assert await audit(world) == []
