"""What the manager may ask of this node beside assignments; keeps `server.sessions.interface.NodeServices`."""

from collections.abc import AsyncIterator, Callable

from pilothouse.agent.equipment import Equipment
from pilothouse.agent.images.collector import Collector
from pilothouse.agent.worker import Worker
from pilothouse.model.images import NodeImages, Reclaimed
from pilothouse.model.names import container_name
from pilothouse.model.objects import Task
from pilothouse.model.wire import ForeignContainer, ImageProgress, LogLine, LogQuery, TaskUsage


class Services:
    """Answers questions to this node; changes nothing but images, and a name when a container is adopted.

    Attributes:
        adopting: Until when (monotonic) containers of these tasks are no orphans although nobody assigned them yet.
    """

    ADOPTION_SECONDS = 60.0

    def __init__(self, kit: Equipment, worker: Callable[[str], Worker | None], collector: Collector) -> None:
        self._kit = kit
        self._collector = collector
        self._worker = worker
        collector.over = self._is_over
        self.adopting: dict[str, float] = {}

    async def ensure_image(self, ref: str, policy: str, platform: str = "") -> AsyncIterator[ImageProgress]:
        """Make an image present; the last item is "resolved" or "failed"."""
        ledger, pulled = self._collector.ledger, False
        with ledger.asking(ref):
            await self._collector.wait()
            async for step in self._kit.engine.ensure_image(ref, policy, platform):
                pulled = pulled or step.phase == "pulling"
                if step.id:
                    ledger.used((step.id,)) if pulled else ledger.touched(step.id)
                yield step

    async def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield a task's lines, oldest first: from its container while there is one, then from the archive."""
        worker = self._worker(query.task_id)
        if worker is not None and query.follow:
            await worker.began.wait()
        if worker is not None and not worker.over and not self._kit.archive.has(query.task_id):
            async for line in self._kit.engine.logs(worker.name, query):
                yield line
            return
        for line in self._kit.archive.read(query):
            yield line

    async def stats(self) -> tuple[TaskUsage, ...]:
        """Return one reading for each running task."""
        return await self._kit.engine.stats()

    def _is_over(self, task_id: str) -> bool:
        worker = self._worker(task_id)
        return worker is not None and worker.over

    async def list_images(self) -> NodeImages:
        """Return the node's images, those that may be removed first."""
        return await self._collector.inventory()

    async def prune_images(self) -> Reclaimed:
        """Remove every image that nobody needs, whether room is scarce or not."""
        return await self._collector.collect("a person asked for it", lambda: False, logs=False)

    async def list_foreign(self) -> tuple[ForeignContainer, ...]:
        """Return the containers that are not managed."""
        return await self._kit.engine.list_foreign()

    async def adopt(self, container_id: str, task: Task) -> None:
        """Give a running container the name of *task*; the task must be assigned within ADOPTION_SECONDS."""
        self.adopting[task.id] = self._kit.clock.monotonic() + self.ADOPTION_SECONDS
        await self._kit.engine.rename(container_id, container_name(task))
        worker = self._worker(task.id)
        if worker is not None:
            worker.look()

    def protected(self) -> frozenset[str]:
        """Return the ids of tasks that are being adopted."""
        now = self._kit.clock.monotonic()
        self.adopting = {task_id: until for task_id, until in self.adopting.items() if until > now}
        return frozenset(self.adopting)
