"""A session with an agent in the same process: assignments down, reports up, as over the wire.

Keeps `agent.session.ManagerLink`. The node is named once, when the session is made; what an agent says of tasks on
other nodes is not believed.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from pilothouse.control.assignments import NodeNeeds, needs
from pilothouse.control.nodes.liveness import Presence
from pilothouse.control.orchestrators.reaping import forget_gone
from pilothouse.governance.secrets.seal import Vault
from pilothouse.log import event
from pilothouse.model.objects import Node, NodeDescription, Service, Task, TaskStatus
from pilothouse.model.release import Traffic
from pilothouse.model.states import TRANSITIONS, TaskState, Writer
from pilothouse.model.wire import Assignment, FileContent, ResourceReport, TaskReport, TrafficReport
from pilothouse.server.commits import Commits
from pilothouse.server.sessions.contents import stored_content
from pilothouse.server.sessions.interface import NodeServices
from pilothouse.server.sessions.registry import Nodes
from pilothouse.store.interface import Commit, ReadTx, Store, WriteTx


class LocalSession:
    """One agent's session."""

    def __init__(
        self, *, node_id: str, store: Store, vault: Vault, commits: Commits, nodes: Nodes, presence: Presence
    ) -> None:
        self._node_id = node_id
        self._store = store
        self._vault = vault
        self._commits = commits
        self._nodes = nodes
        self._presence = presence
        self._connected = asyncio.Event()

    async def open(self, services: NodeServices, description: NodeDescription | None = None) -> None:
        """Register the node and let *services* answer for it; the node is ready from now on.

        Without a *description* the one that is known stays, also if the agent gave it a moment ago.
        """
        await self._store.update(Writer.AGENT, lambda tx: self._register(tx, description))
        self._nodes.connect(self._node_id, services)
        self._presence.arrive(self._node_id, local=True)
        self._connected.set()
        event("info", "session.opened", node=self._node_id)

    def close(self) -> None:
        """End the session: the node is not ready until its agent comes again; what runs there goes on."""
        self._connected.clear()
        self._nodes.disconnect(self._node_id)
        self._presence.leave(self._node_id)
        event("info", "session.closed", node=self._node_id)

    async def assignments(self) -> AsyncIterator[Assignment]:
        """Yield what the node must have now, then again whenever that changed; a slow reader gets the newest only."""
        waiter = self._commits.waiter(_calls_for_a_look)
        last: Assignment | None = None  # in essence
        # What is being given to others at this moment must not be handed out as the node's own.
        await self._presence.quiet(self._node_id)
        try:
            while True:
                await waiter.changed()
                found = await self._store.view(self._assignment)
                if (essence := _essence(found)) != last:
                    await self._take_over(found)
                    last = essence
                    yield found
        finally:
            self._commits.forget(waiter)

    async def report(self, tasks: tuple[TaskReport, ...], resources: tuple[ResourceReport, ...] = ()) -> None:
        """Write down what the agent saw; what is older than what is known is dropped, what is equal changes nothing."""
        if tasks:
            await self._store.update(Writer.AGENT, lambda tx: self._write(tx, tasks))
        if resources:
            await self._store.update(Writer.REAPER, lambda tx: forget_gone(tx, resources))

    async def traffic(self, reports: tuple[TrafficReport, ...]) -> None:
        """Write down what the node's proxy counted, for each service in place of what was known of this node."""
        if reports:
            await self._store.update(Writer.AGENT, lambda tx: self._count(tx, reports))

    async def describe(self, description: NodeDescription) -> None:
        """Write down what the node is; an unknown node is registered."""

        await self._store.update(Writer.AGENT, lambda tx: self._register(tx, description))

    def _count(self, tx: WriteTx, reports: tuple[TrafficReport, ...]) -> None:
        for report in reports:
            if tx.get(Service, f"{report.app}/{report.service}") is None:
                event("debug", "traffic.dropped", app=report.app, service=report.service, reason="no such service")
                continue
            key = f"{report.app}/{report.service}/{self._node_id}"
            known = tx.get(Traffic, key) or Traffic(
                id=key, app=report.app, service=report.service, node_id=self._node_id, fingerprint=report.fingerprint
            )
            tx.put(
                msgspec.structs.replace(
                    known,
                    fingerprint=report.fingerprint,
                    measured_from=report.measured_from,
                    measured_at=report.measured_at,
                    old=report.old,
                    new=report.new,
                )
            )

    def _register(self, tx: WriteTx, description: NodeDescription | None) -> None:
        node = tx.get(Node, self._node_id) or Node(id=self._node_id)
        tx.put(msgspec.structs.replace(node, description=description or node.description))

    async def _take_over(self, assignment: Assignment) -> None:
        """Give containers the names of the tasks that adopt them, before the agent hears of these tasks.

        Whatever crashes in between: the task is stored first and the container's name tells whether this was done, so
        the agent never makes a second container, and never takes an adopted one for an orphan.
        """
        waiting = {t.adopts: t for t in assignment.tasks if t.adopts and t.state is TaskState.ASSIGNED}
        if not waiting:
            return
        await self._connected.wait()
        node = self._nodes.of(self._node_id)
        for found in await node.list_foreign():
            task = waiting.get(found.id)
            if task is not None:
                await node.adopt(found.id, task)
                event("info", "container.adopted", task=task.id, container=found.name)

    def _assignment(self, tx: ReadTx) -> Assignment:
        found: NodeNeeds = needs(tx, self._node_id)
        return msgspec.structs.replace(
            found.assignment,
            secrets=tuple(
                self._opened(s) for at in found.secrets if (s := stored_content(tx, "secret", *at)) is not None
            ),
            configs=tuple(c for at in found.configs if (c := stored_content(tx, "config", *at)) is not None),
        )

    def _opened(self, sealed: FileContent) -> FileContent:
        app, _, key = sealed.id.partition("/")
        content = self._vault.open(app, key, sealed.version, sealed.content)
        return msgspec.structs.replace(sealed, content=content)

    def _write(self, tx: WriteTx, reports: tuple[TaskReport, ...]) -> None:
        for report in reports:
            task = tx.get(Task, report.task_id)
            if task is None or task.node_id != self._node_id:
                event("debug", "report.dropped", task=report.task_id, reason="no such task on this node")
            elif not _follows(task, report):
                event("debug", "report.dropped", task=task.id, reason=f"{report.state.name} after {task.state.name}")
            else:
                tx.put(msgspec.structs.replace(task, state=report.state, status=report.status))


def _follows(task: Task, report: TaskReport) -> bool:
    """Whether a report tells something that can have happened after what is known."""
    return report.state == task.state or (task.state, report.state) in TRANSITIONS[Writer.AGENT]


def _essence(assignment: Assignment) -> Assignment:
    """Return *assignment* without what only echoes the agent's own reports."""
    tasks = (
        msgspec.structs.replace(
            task,
            version=0,
            status=TaskStatus(),
            state=task.state if task.state is TaskState.ORPHANED else TaskState.ASSIGNED,
        )
        for task in assignment.tasks
    )
    return msgspec.structs.replace(assignment, revision=0, tasks=tuple(tasks))


def _calls_for_a_look(commit: Commit) -> bool:
    """Whether a commit can change an assignment: an agent's own reports cannot."""
    return commit.writer is not Writer.AGENT
