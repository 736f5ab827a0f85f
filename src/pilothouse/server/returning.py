"""Has a node take work again when its maintenance is over, as the platform, through the same door as a person."""

from msgspec.structs import replace

from pilothouse.governance.audit.record import Entry, changes_of, record
from pilothouse.governance.identity.principal import SYSTEM
from pilothouse.model.node import Availability, Node
from pilothouse.model.states import Writer
from pilothouse.server.api.context import Context
from pilothouse.store.interface import WriteTx


async def activate(context: Context, node_id: str) -> bool:
    """End the drain of *node_id* if its time has come; return whether it did.

    Whatever a person wrote meanwhile stays: a drain without an end, or with a later one, is not touched.
    """
    now = context.clock.now()

    def write(tx: WriteTx) -> bool:
        node = tx.get(Node, node_id)
        if node is None or node.spec.availability is not Availability.DRAIN or node.spec.maintenance is None:
            return False
        until = node.spec.maintenance.until
        if until is None or until > now:
            return False
        tx.put(replace(node, spec=replace(node.spec, availability=Availability.ACTIVE, maintenance=None)))
        entry = Entry(
            at=now,
            principal=str(SYSTEM),
            action="node.activate",
            object=f"node/{node_id}",
            summary=f"the maintenance of {node_id} is over",
            changes=changes_of(
                {"spec.availability": node.spec.availability.value}, {"spec.availability": Availability.ACTIVE.value}
            ),
        )
        record(tx, entry)
        return True

    return await context.store.update(Writer.API, write)
