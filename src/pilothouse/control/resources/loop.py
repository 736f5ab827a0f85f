"""The resources loop's shell: tasks that are NEW get what they need and become PENDING."""

import functools
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from pilothouse.control.resources.ports import Ledger
from pilothouse.model.objects import Service, Task
from pilothouse.model.spec import UpdateOrder
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.interface import Commit, ReadTx, Store, WriteTx

BATCH = 250
"""Tasks written in one transaction: bounds how long everybody else waits for it."""


class Resources:
    """The tasks that are NEW, as far as is known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new: set[str] = set()

    def survey(self, tx: ReadTx) -> None:
        self._new.update(task.id for task in tx.find(Task, state=TaskState.NEW))

    def note(self, commit: Commit) -> bool:
        freed = False
        for change in commit.changes:
            if isinstance(change.object, Task):
                task = change.object
                freed = freed or (bool(task.ports) and (change.after is None or task.state.terminal))
                if task.state is TaskState.NEW and change.before is None:
                    self._new.add(task.id)
                    freed = True
        return freed and bool(self._new)

    async def act(self) -> float | None:
        """Give ports to every task that waits for them; those that cannot have them stay, with the reason."""
        asked = set(self._new)
        waiting = await self._store.view(lambda tx: in_order(tx, asked))
        self._new -= asked - set(waiting)
        for start in range(0, len(waiting), BATCH):
            some = waiting[start : start + BATCH]
            left = await self._store.update(Writer.RESOURCES, functools.partial(_provide, some))
            self._new.difference_update(set(some) - left)
        return None


def in_order(tx: ReadTx, task_ids: Iterable[str]) -> list[str]:
    """Return those of the tasks that are NEW, the oldest first."""
    new = [task for key in task_ids if (task := tx.get(Task, key)) is not None and task.state is TaskState.NEW]
    return [task.id for task in sorted(new, key=lambda task: (task.created_at, task.slot, task.id))]


def _provide(task_ids: Sequence[str], tx: WriteTx) -> set[str]:
    return provide(tx, task_ids)


def provide(tx: WriteTx, task_ids: Sequence[str]) -> set[str]:
    """Move NEW tasks to PENDING with their host ports; return those that must wait."""
    new = [task for key in task_ids if (task := tx.get(Task, key)) is not None and task.state is TaskState.NEW]
    ledger = Ledger(tx.find(Task) if any(task.spec.container.ports for task in new) else ())
    left: set[str] = set()
    for task in sorted(new, key=lambda task: (task.created_at, task.slot, task.id)):
        given = ledger.give(task, beside=_beside(tx, task))
        if given.reason:
            left.add(task.id)
            tx.put(replace(task, resource_message=given.reason))
        else:
            tx.put(replace(task, ports=given.ports, resource_message="", state=TaskState.PENDING))
    return left


def _beside(tx: ReadTx, task: Task) -> bool:
    """Whether *task* will run together with the one it replaces: only where the manifest says so and it can work."""
    service = tx.get(Service, task.service_id)
    written = service is not None and service.spec.update.order is UpdateOrder.START_FIRST
    return written and all(port.ingress or not port.fixed for port in task.spec.container.ports)
