"""Reports to the manager: the newest of each task, many in one call, kept until the manager has them.

A manager that is slow or gone delays reports and nothing else. While one call is under way the next batch gathers.
"""

import asyncio
from collections.abc import Iterable

from pilothouse import log
from pilothouse.agent.session import ManagerLink
from pilothouse.backoff import delay_seconds
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.ids import Ids
from pilothouse.model.wire import ResourceReport, TaskReport

GATHER_SECONDS = 0.02
RETRY_CAP_SECONDS = 5.0


class Reports:
    """What the manager has not been told yet."""

    def __init__(self, link: ManagerLink, clock: Clock, ids: Ids) -> None:
        self._link = link
        self._clock = clock
        self._ids = ids
        self._tasks: dict[str, TaskReport] = {}
        self._resources: dict[str, ResourceReport] = {}
        self._some = asyncio.Event()
        self._urgent = asyncio.Event()
        self._handed: dict[str, TaskReport] = {}
        self._answered = asyncio.Event()

    def add(self, report: TaskReport, *, urgent: bool) -> None:
        """Let *report* replace what was not told yet of its task; an *urgent* one does not wait for others."""
        self._tasks[report.task_id] = report
        self._some.set()
        if urgent:
            self._urgent.set()

    def gone(self, report: ResourceReport) -> None:
        """Tell the manager that something is gone from the node."""
        self._resources[f"{report.kind}/{report.id}"] = report
        self._some.set()

    def forget(self, task_ids: Iterable[str]) -> None:
        """Drop what was not told of tasks the manager no longer knows."""
        for task_id in task_ids:
            self._tasks.pop(task_id, None)
        self._answer()

    def _answer(self) -> None:
        """Wake everybody who waits for the manager."""
        self._answered.set()
        self._answered = asyncio.Event()

    async def delivered(self, task_id: str) -> None:
        """Return once the manager has made the newest report of the task durable."""
        while task_id in self._tasks or task_id in self._handed:
            await self._answered.wait()

    async def run(self) -> None:
        """Hand reports over until cancelled."""
        failures = 0
        while True:
            await self._some.wait()
            await self._gather()
            tasks, resources = self._tasks, self._resources
            self._tasks, self._resources = {}, {}
            self._some.clear()
            self._urgent.clear()
            if not tasks and not resources:
                continue
            self._handed = tasks
            try:
                await self._link.report(tuple(tasks.values()), tuple(resources.values()))
                failures = 0
                self._handed = {}
                self._answer()
            except PilothouseError as error:
                log.event(
                    "warning" if error.retryable else "error", "report.failed", tasks=len(tasks), error=str(error)
                )
                # Kept whatever the reason was: the manager may be replaced by one that takes them.
                self._tasks = {**tasks, **self._tasks}
                self._handed = {}
                self._resources = {**resources, **self._resources}
                self._some.set()
                failures += 1
                fraction = self._ids.fraction()
                wait = delay_seconds(failures + 1, fraction=fraction, first=0.1, cap=RETRY_CAP_SECONDS)
                await self._clock.sleep(wait)

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(GATHER_SECONDS):
                await self._urgent.wait()
        except TimeoutError:
            return
