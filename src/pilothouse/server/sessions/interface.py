"""What the manager may ask of a connected node, as the manager needs it.

On one host the composition root hands over the agent's own services; over the network a stub will keep this Protocol.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from pilothouse.model.images import NodeImages, Reclaimed
from pilothouse.model.objects import Task
from pilothouse.model.wire import ForeignContainer, ImageProgress, LogLine, LogQuery, TaskUsage


class NodeServices(Protocol):
    """Questions to one node; none of them changes desired state."""

    def ensure_image(self, ref: str, policy: str, platform: str = "") -> AsyncIterator[ImageProgress]:
        """Make an image present; the last item is "resolved" or "failed" (`agent.runtime.interface.Images`)."""
        ...

    def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield a task's lines, oldest first; also of a dead task, while the node keeps them."""
        ...

    async def stats(self) -> tuple[TaskUsage, ...]:
        """Return one reading for each running task."""
        ...

    async def list_foreign(self) -> tuple[ForeignContainer, ...]:
        """Return the containers that are not managed."""
        ...

    async def list_images(self) -> NodeImages:
        """Return the node's images, those that may be removed first, and why the others stay."""
        ...

    async def prune_images(self) -> Reclaimed:
        """Remove every image that nobody needs, and return what went."""
        ...

    async def adopt(self, container_id: str, task: Task) -> None:
        """Give a running container the name of *task*, so that the agent finds it as that task's container."""
        ...
