"""What should be served on this node, as the agent last said, and what an earlier agent said as long as it counts.

It knows nothing of any proxy; what follows from it is decided in `agent.proxy.shares` and `agent.proxy.plan`.
"""

from collections.abc import Iterable

from pilothouse.agent.proxy.interface import Backend
from pilothouse.model.base import Value
from pilothouse.model.wire import Split


class Wanted(Value, frozen=True, kw_only=True):
    """All that should be served at one time; backends in the order in which their tasks were first put."""

    backends: tuple[Backend, ...] = ()
    splits: tuple[Split, ...] = ()


class Table:
    """The backends of each task, and the splits.

    Tasks keep the place of their first `put`, so that of two services that want one port the earlier has it.
    """

    def __init__(self, remembered: Wanted = Wanted()) -> None:  # noqa: B008 - a frozen value
        self._tasks: dict[str, tuple[Backend, ...]] = {}
        for backend in remembered.backends:
            self._tasks[backend.task_id] = (*self._tasks.get(backend.task_id, ()), backend)
        self._remembered = set(self._tasks)
        self._splits = remembered.splits

    @property
    def wanted(self) -> Wanted:
        """All that should be served now."""
        return Wanted(backends=tuple(each for of in self._tasks.values() for each in of), splits=self._splits)

    def put(self, task_id: str, backends: Iterable[Backend]) -> bool:
        """Take what is to be of one task; return whether that changes anything."""
        self._remembered.discard(task_id)
        found = tuple(each for each in backends if each.port.ingress)
        before = self._tasks.get(task_id, ())
        if found:
            self._tasks[task_id] = found
        else:
            self._tasks.pop(task_id, None)
        return found != before

    def divide(self, splits: Iterable[Split]) -> bool:
        """Take the splits, whole; return whether that changes anything."""
        found = tuple(sorted(splits, key=lambda split: (split.app, split.service)))
        before, self._splits = self._splits, found
        return found != before

    def settle(self, task_ids: Iterable[str]) -> bool:
        """Forget what was remembered of tasks that are not among *task_ids*; return whether that changes anything."""
        gone = self._remembered - set(task_ids)
        self._remembered -= gone
        for task_id in gone:
            del self._tasks[task_id]
        return bool(gone)

    def of(self, task_id: str) -> tuple[Backend, ...]:
        """Return the backends of one task; () if it is not known."""
        return self._tasks.get(task_id, ())
