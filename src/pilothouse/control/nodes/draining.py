"""The shell around `drain`: notes which nodes to look at, writes the requests, and has a node's drain end in time.

Whether a node is drained is its spec, which only the API writes; so the end of a maintenance goes through its door.
"""

from collections.abc import Awaitable, Callable, Mapping

from pilothouse.clock import Clock
from pilothouse.control.nodes.drain import empties, requests, returns_at
from pilothouse.log import event
from pilothouse.model.cluster import Disruption
from pilothouse.model.node import Node
from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.pulse import pulse
from pilothouse.store.interface import Change, Commit, ReadTx, Store, WriteTx
from pilothouse.supervise import Loop

Activate = Callable[[str], Awaitable[bool]]
"""The API's door: has a node take work again whose maintenance is over, and tells whether it did."""


class Draining:
    """The nodes that are to lose tasks, and those to look at."""

    def __init__(self, store: Store, clock: Clock, activate: Activate) -> None:
        self._store = store
        self._clock = clock
        self._activate = activate
        self._dirty: set[str] = set()
        self._emptying: set[str] = set()
        self._returns: dict[str, float] = {}

    def survey(self, tx: ReadTx) -> None:
        nodes = tx.find(Node)
        self._dirty.update(node.id for node in nodes)
        self._dirty.update(task.node_id for each in tx.find(Disruption) if (task := tx.get(Task, each.id)) is not None)

    def note(self, commit: Commit) -> bool:
        for change in commit.changes:
            self._note(change)
        return bool(self._dirty)

    def _note(self, change: Change) -> None:
        obj = change.object
        if isinstance(obj, Node):
            before, after = change.before, change.after
            same = isinstance(before, Node) and isinstance(after, Node) and before.spec == after.spec
            self._dirty.update(() if same else (obj.id,))
        elif isinstance(obj, Task) and obj.node_id in self._emptying:
            self._dirty.add(obj.node_id)

    async def act(self) -> float | None:
        """Write what is missing for every node that was noted; return when the next maintenance ends."""
        now = self._clock.now()
        for node_id in [node_id for node_id, at in self._returns.items() if at <= now]:
            if await self._activate(node_id):
                event("info", "node.returned", node=node_id)
            self._dirty.add(node_id)
        dirty, self._dirty = sorted(self._dirty), set()
        changing = await self._store.view(lambda tx: [key for key in dirty if self._look(tx, key, now)])
        if changing:
            for request in await self._store.update(Writer.NODES, lambda tx: _write(tx, changing, now)):
                event("info", "task.move_requested", task=request.id, service=request.service, reason=request.reason)
        return min(self._returns.values(), default=None)

    def _look(self, tx: ReadTx, node_id: str, now: float) -> bool:
        """Note what a node is, and tell whether requests must change."""
        node = tx.get(Node, node_id)
        (self._emptying.add if node is not None and empties(node) else self._emptying.discard)(node_id)
        self._returns.pop(node_id, None)
        if node is not None and (at := returns_at(node)) is not None:
            self._returns[node_id] = at
        withdrawn, made = _changes(tx, node_id, now)
        return bool(withdrawn or made)


def drain_loops(store: Store, clock: Clock, activate: Activate) -> Mapping[str, Loop]:
    """Return the loop, for `supervise.run_term`."""
    return {"draining": lambda: pulse("draining", store, clock, Draining(store, clock, activate))}


def _changes(tx: ReadTx, node_id: str, now: float) -> tuple[tuple[Disruption, ...], tuple[Disruption, ...]]:
    tasks = [task for task in tx.find(Task, node_id=node_id) if not task.state.terminal]
    known = [request for task in tasks if (request := tx.get(Disruption, task.id)) is not None]
    found = requests(tx.get(Node, node_id), tasks, known, now)
    return found.withdrawn, found.made


def _write(tx: WriteTx, node_ids: list[str], now: float) -> list[Disruption]:
    """Return the requests that were made."""
    every = []
    for node_id in node_ids:
        withdrawn, made = _changes(tx, node_id, now)
        for request in withdrawn:
            tx.delete(request)
        every += [tx.put(request) for request in made]
    return every
