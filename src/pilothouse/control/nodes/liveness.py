"""Whether nodes are there: a node is ready while its agent has a session. One that went away loses no task by it.

Sessions say who came and who left (`Presence`); the loop alone writes it down, so it is right again after any restart.
"""

from msgspec.structs import replace

from pilothouse.clock import Clock
from pilothouse.control.nodes.presence import Presence as Presence
from pilothouse.model.objects import Node
from pilothouse.model.states import Writer
from pilothouse.store.interface import Commit, ReadTx, Store, WriteTx


def judge(node: Node, *, here: bool, now: float) -> Node:
    """Return *node* as it should be written, given whether its agent is *here*; itself if nothing changed."""
    message = "its agent is connected" if here else "its agent is not connected; tasks on it are left as they are"
    if (node.ready, node.message) == (here, message):
        return node
    return replace(node, ready=here, message=message, since=now)


class Liveness:
    """Writes down which nodes are ready."""

    def __init__(self, store: Store, clock: Clock, presence: Presence) -> None:
        self._store = store
        self._clock = clock
        self._presence = presence

    def survey(self, tx: ReadTx) -> None:
        """Nothing to note: there are few nodes, and every pass looks at all of them."""

    def note(self, commit: Commit) -> bool:
        return any(isinstance(change.object, Node) for change in commit.changes)

    async def act(self) -> float | None:
        """Mark every node that changed."""
        now = self._clock.now()
        if await self._store.view(lambda tx: self._changed(tx, now)):
            await self._store.update(Writer.NODES, lambda tx: self._mark(tx, now))
        return None

    def _changed(self, tx: ReadTx, now: float) -> list[Node]:
        nodes = tx.find(Node)
        return [new for old in nodes if (new := judge(old, here=old.id in self._presence, now=now)) != old]

    def _mark(self, tx: WriteTx, now: float) -> None:
        for node in self._changed(tx, now):
            tx.put(node)
