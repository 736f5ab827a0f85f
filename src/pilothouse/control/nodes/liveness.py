"""The detector's shell: looks twice a second at what was heard of the nodes, and writes down what `decide` says.

Which tasks of a lost node are given up is decided and written in one transaction, and while it is under way no beat of
the node is answered: an agent that comes back in the middle learns of it before anything of it may run on.
"""

from msgspec.structs import replace

from pilothouse import log
from pilothouse.clock import Clock
from pilothouse.control.nodes.decide import Decision, Memory, Moment, Stage, begin, decide
from pilothouse.control.nodes.eviction import orphans
from pilothouse.control.nodes.presence import Presence as Presence
from pilothouse.control.nodes.timers import LOOK_SECONDS, REMOVED_SECONDS
from pilothouse.model.cluster import CLUSTER_ID, Cluster
from pilothouse.model.node import Node, NodeState
from pilothouse.model.objects import Service, Task
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.interface import Commit, ReadTx, Store, WriteTx


class Liveness:
    """The detector of one term."""

    def __init__(self, store: Store, clock: Clock, presence: Presence) -> None:
        self._store = store
        self._clock = clock
        self._presence = presence
        self._nodes: dict[str, Node] = {}
        self._cluster: Cluster | None = None
        self._memory: Memory | None = None
        self._emptied: dict[str, Stage] = {}
        self._due: dict[str, Stage] = {}
        self._gone: dict[str, float] = {}

    def survey(self, tx: ReadTx) -> None:
        self._nodes = {node.id: node for node in tx.find(Node)}
        self._cluster = tx.get(Cluster, CLUSTER_ID)
        self._emptied.clear()
        left = {task.node_id for task in tx.find(Task) if _is_there(task) and task.node_id not in self._nodes}
        self._gone = {node_id: self._gone.get(node_id, self._clock.monotonic()) for node_id in left}

    def note(self, commit: Commit) -> bool:
        """Keep the copy of the nodes up to date; it is compared with the store before anything is written."""
        matters = False
        for change in commit.changes:
            obj, gone = change.object, change.after is None
            if isinstance(obj, Node):
                known = self._nodes.get(obj.id)
                if gone:
                    self._nodes.pop(obj.id, None)
                    self._presence.forget(obj.id)
                    self._gone[obj.id] = self._clock.monotonic()
                elif known is None or obj.version > known.version:
                    # What this loop wrote itself it knows before the watch brings what came before it.
                    self._nodes[obj.id] = obj
                matters = matters or commit.writer is not Writer.NODES
            elif isinstance(obj, Cluster):
                self._cluster = None if gone else obj
                matters = matters or commit.writer is not Writer.NODES
            elif isinstance(obj, Task) and obj.node_id in self._emptied:
                del self._emptied[obj.node_id]
        return matters

    async def act(self) -> float | None:
        """Look at every node and write what changed; return when to look again."""
        decision = self._decide()
        # Before anything else happens: no beat comes between what was seen and what follows from it. What could not
        # be written last time is finished whatever was heard since, because nothing of it was answered.
        stages = {**decision.stages, **self._removed()}
        self._due |= {node: stage for node, stage in stages.items() if self._emptied.get(node) is not stage}
        if self._due:
            self._presence.give_up(self._due)
        if decision.nodes or decision.cluster is not None:
            for node in await self._store.update(Writer.NODES, lambda tx: _write(tx, decision)):
                _tell(self._nodes.get(node.id), node)
                self._nodes[node.id] = node
            self._cluster = decision.cluster or self._cluster
        self._memory = decision.memory
        await self._evict(stages)
        return None if self._at_rest else self._clock.now() + LOOK_SECONDS

    @property
    def _at_rest(self) -> bool:
        """Whether all there is is this machine, of which nothing has to be heard."""
        heard = self._presence.heard()
        local = all((found := heard.get(node_id)) is not None and found.local for node_id in self._nodes)
        return local and not self._gone and not any(node.held_until for node in self._nodes.values())

    def _removed(self) -> dict[str, Stage]:
        """Return the nodes that were removed so long ago that nothing of them can run any more."""
        now = self._clock.monotonic()
        self._gone = {node_id: since for node_id, since in self._gone.items() if node_id not in self._nodes}
        return {node_id: Stage.ALL for node_id, since in self._gone.items() if now - since >= REMOVED_SECONDS}

    def _decide(self) -> Decision:
        moment = Moment(wall=self._clock.now(), steady=self._clock.monotonic())
        nodes = list(self._nodes.values())
        if self._memory is None:
            # What an earlier term of this process began is in the store, or was refused.
            self._presence.given_up()
            self._memory = begin(nodes, self._cluster, moment)
        return decide(nodes, self._presence.heard(), self._cluster, self._memory, moment)

    async def _evict(self, stages: dict[str, Stage]) -> None:
        """Give up the tasks of lost nodes, each node's once for each stage."""
        self._emptied = {node_id: stage for node_id, stage in self._emptied.items() if node_id in stages}
        if not self._due:
            return
        due = dict(self._due)
        if await self._store.view(lambda tx: _lost(tx, due)):
            given_up = await self._store.update(Writer.NODES, lambda tx: _orphan(tx, due))
            log.event("warning", "tasks.orphaned", nodes=sorted(due), tasks=given_up)
        self._presence.given_up()
        self._due = {}
        self._emptied |= due
        for node_id in due:
            self._gone.pop(node_id, None)


def _is_there(task: Task) -> bool:
    return TaskState.ASSIGNED <= task.state <= TaskState.RUNNING


def _tell(before: Node | None, node: Node) -> None:
    if before is None or (before.state, before.ready) != (node.state, node.ready):
        gone = node.state in {NodeState.SUSPECT, NodeState.DOWN}
        said = {"node": node.id, "state": node.state.value, "ready": node.ready, "why": node.message}
        log.event("warning" if gone else "info", "node.judged", **said)


def _write(tx: WriteTx, decision: Decision) -> list[Node]:
    """Write what was decided, each in its own fields, and return the nodes as they are stored."""
    written = []
    for node in decision.nodes:
        stored = tx.get(Node, node.id)
        if stored is not None:
            judged = replace(
                stored,
                ready=node.ready,
                state=node.state,
                message=node.message,
                since=node.since,
                losses=node.losses,
                held_until=node.held_until,
                pressure=node.pressure,
            )
            written.append(tx.put(judged))
    cluster = decision.cluster and tx.get(Cluster, CLUSTER_ID)
    if cluster and decision.cluster:
        since, message = decision.cluster.evictions_paused_since, decision.cluster.evictions_message
        tx.put(replace(cluster, evictions_paused_since=since, evictions_message=message))
    return written


def _lost(tx: ReadTx, due: dict[str, Stage]) -> list[Task]:
    found: list[Task] = []
    for node_id, stage in sorted(due.items()):
        tasks = tx.find(Task, node_id=node_id)
        ids = {task.service_id for task in tasks}
        services = {key: service for key in ids if (service := tx.get(Service, key)) is not None}
        found.extend(orphans(tasks, services, stage))
    return found


def _orphan(tx: WriteTx, due: dict[str, Stage]) -> int:
    found = _lost(tx, due)
    for task in found:
        tx.put(task)
    return len(found)
