"""A session with an agent in the same process: assignments down, reports up, as over the wire.

Keeps `agent.session.ManagerLink`. The node is named once, when the session is made; what an agent says of tasks on
other nodes is not believed.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pilothouse
from pilothouse.control.images import needed_images
from pilothouse.control.nodes.liveness import Presence
from pilothouse.control.orchestrators.reaping import forget_gone
from pilothouse.governance.secrets.seal import Vault
from pilothouse.log import event
from pilothouse.model.format import FORMAT
from pilothouse.model.node import NodeDescription
from pilothouse.model.patch import essence
from pilothouse.model.states import Writer
from pilothouse.model.wire import Assignment, ResourceReport, TaskReport, TrafficReport
from pilothouse.server.commits import Commits
from pilothouse.server.sessions.attach import assignment_of
from pilothouse.server.sessions.interface import NodeServices
from pilothouse.server.sessions.records import (
    its_own,
    write_description,
    write_reports,
    write_traffic,
    write_version,
)
from pilothouse.server.sessions.registry import Nodes
from pilothouse.server.sessions.takeover import adopting, take_over
from pilothouse.store.interface import Commit, Store, WriteTx


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

    def pressure(self, found: Mapping[str, str]) -> None:
        """Note why the node should get no more work, by kind; all of it each time."""
        self._presence.pressure(self._node_id, found)

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
                found = await self._store.view(lambda tx: assignment_of(tx, self._vault, self._node_id))
                if (now := essence(found)) != last:
                    await self._take_over(found)
                    last = now
                    yield found
        finally:
            self._commits.forget(waiter)

    async def report(self, tasks: tuple[TaskReport, ...], resources: tuple[ResourceReport, ...] = ()) -> None:
        """Write down what the agent saw; what is older than what is known is dropped, what is equal changes nothing."""
        if tasks:
            await self._store.update(Writer.AGENT, lambda tx: write_reports(tx, self._node_id, tasks))
        if resources:
            await self._store.update(Writer.REAPER, lambda tx: self._forget(tx, resources))

    async def traffic(self, reports: tuple[TrafficReport, ...]) -> None:
        """Write down what the node's proxy counted, for each service in place of what was known of this node."""
        if reports:
            await self._store.update(Writer.AGENT, lambda tx: write_traffic(tx, self._node_id, reports))

    async def needed_images(self) -> tuple[str, ...]:
        """Return the ids, digests and references of the images that must stay on the node."""
        return await self._store.view(lambda tx: needed_images(tx, self._node_id))

    async def describe(self, description: NodeDescription) -> None:
        """Write down what the node is; an unknown node is registered."""
        await self._store.update(Writer.AGENT, lambda tx: write_description(tx, self._node_id, description))

    def _register(self, tx: WriteTx, description: NodeDescription | None) -> None:
        write_description(tx, self._node_id, description)
        write_version(tx, self._node_id, pilothouse.__version__, FORMAT)

    def _forget(self, tx: WriteTx, resources: tuple[ResourceReport, ...]) -> None:
        forget_gone(tx, its_own(tx, self._node_id, resources))

    async def _take_over(self, assignment: Assignment) -> None:
        if waiting := adopting(assignment.tasks):
            await self._connected.wait()
            await take_over(waiting, self._nodes.of(self._node_id))


def _calls_for_a_look(commit: Commit) -> bool:
    """Whether a commit can change an assignment: an agent's own reports cannot."""
    return commit.writer is not Writer.AGENT
