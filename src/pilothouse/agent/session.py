"""The agent's end of the conversation with the manager, as the agent needs it.

On one host the manager hands the agent an object that keeps this Protocol; over the network a client will.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from pilothouse.model.node import NodeDescription
from pilothouse.model.wire import Assignment, ResourceReport, TaskReport, TrafficReport


class ManagerLink(Protocol):
    """Assignments down, reports up."""

    def assignments(self) -> AsyncIterator[Assignment]:
        """Yield the node's assignment now, then again after it changed; a slow reader gets only the newest."""
        ...

    async def report(self, tasks: tuple[TaskReport, ...], resources: tuple[ResourceReport, ...] = ()) -> None:
        """Hand over what was seen; returns once the manager has made it durable, so it may be repeated safely."""
        ...

    async def describe(self, description: NodeDescription) -> None:
        """Say what this node is; called at start and when it changes."""
        ...

    async def needed_images(self) -> tuple[str, ...]:
        """Return the ids, digests and references of the images that must stay on this node (`control.images`)."""
        ...

    async def traffic(self, reports: tuple[TrafficReport, ...]) -> None:
        """Hand over what the proxy counted of services whose releases are judged; the newest of each counts."""
        ...
