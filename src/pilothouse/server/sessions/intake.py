"""The reports of all agents, written in few transactions: whatever waits when one is done goes into the next."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pilothouse.clock import Clock
from pilothouse.control.orchestrators.reaping import forget_gone
from pilothouse.errors import PilothouseError, StoreUnavailableError, UnavailableError
from pilothouse.model.states import Writer
from pilothouse.model.wire import ResourceReport, TaskReport
from pilothouse.server.sessions.records import its_own, write_reports
from pilothouse.store.interface import Store, WriteTx

MOST_REPORTS = 256
"""So many task reports go into one transaction, about; more would keep everything else waiting."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    node_id: str
    tasks: tuple[TaskReport, ...]
    resources: tuple[ResourceReport, ...]
    done: asyncio.Future[None]


class Intake:
    """Reports that wait to be written."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._some = asyncio.Event()

    async def report(self, node_id: str, tasks: tuple[TaskReport, ...], resources: tuple[ResourceReport, ...]) -> None:
        """Return once the reports are durable; see `records` for what is dropped.

        Raises:
            StoreUnavailableError, StoreFullError, TermOverError: They are not written, as far as is known.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(node_id, tasks, resources, done))
        self._some.set()
        await done

    async def run(self) -> None:
        """Write reports until cancelled; those that wait then are refused."""
        batch: list[_Waiting] = []
        try:
            while True:
                await self._some.wait()
                batch = self._next()
                await self._write(batch)
        finally:
            _settle([*batch, *self._waiting], StoreUnavailableError("this manager stops; report to the next one"))

    def _next(self) -> list[_Waiting]:
        count, size = 0, 0
        while count < len(self._waiting) and size < MOST_REPORTS:
            size += len(self._waiting[count].tasks)
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._some.clear()
        return batch

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        try:
            if any(each.tasks for each in batch):
                await self._store.update(Writer.AGENT, _all_of(batch, self._tasks))
            if any(each.resources for each in batch):
                await self._store.update(Writer.REAPER, _all_of(batch, _resources))
        except PilothouseError as error:
            # What one agent sent may be at fault; then the others' is written without it.
            if len(batch) == 1 or isinstance(error, UnavailableError):
                _settle(batch, error)
                return
            for each in batch:
                await self._write([each])
        else:
            _settle(batch, None)

    def _tasks(self, tx: WriteTx, each: _Waiting) -> None:
        write_reports(tx, each.node_id, each.tasks, self._clock.now())


def _all_of(batch: Sequence[_Waiting], one: Callable[[WriteTx, _Waiting], None]) -> Callable[[WriteTx], None]:
    def write(tx: WriteTx) -> None:
        for each in batch:
            one(tx, each)

    return write


def _resources(tx: WriteTx, each: _Waiting) -> None:
    forget_gone(tx, its_own(tx, each.node_id, each.resources))


def _settle(batch: Sequence[_Waiting], error: PilothouseError | None) -> None:
    for each in batch:
        if each.done.done():
            continue
        if error is None:
            each.done.set_result(None)
        else:
            each.done.set_exception(type(error)(str(error)))
