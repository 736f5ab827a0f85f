"""Which host port a task gets, as a pure function of who holds which. No socket is opened here.

A port belongs to a task until the task is dead, so a task that is stopping still holds its own. A task that waits for
the one it replaces to stop is given that one's ports in advance.
"""

import zlib
from collections.abc import Iterable, Iterator

from pilothouse.model.base import Value
from pilothouse.model.container import Port
from pilothouse.model.names import display_name
from pilothouse.model.objects import PortBinding, Task
from pilothouse.model.states import TaskState

FIRST_CHOSEN, LAST_CHOSEN = 32768, 60999
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - addresses a user may have written


class Given(Value, frozen=True, kw_only=True):
    """The host ports a task gets, or why it cannot have them yet (*reason*)."""

    ports: tuple[PortBinding, ...] = ()
    reason: str = ""


class Ledger:
    """Who holds which host port at one moment."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._held: dict[tuple[str, int], list[tuple[str, Task]]] = {}
        for task in tasks:
            if not task.state.terminal:
                self._enter(task, task.ports)

    def give(self, task: Task, *, beside: bool = False) -> Given:
        """Return the ports *task* gets, and write them down; or the reason why one of them is not free.

        Args:
            task: Who needs them.
            beside: The task it replaces runs on until this one is ready, so they cannot have the same port.
        """
        found: list[PortBinding] = []
        for port in task.spec.container.ports:
            binding, reason = self._choose(task, port, found, beside=beside)
            if binding is None:
                return Given(reason=reason)
            found.append(binding)
        self._enter(task, tuple(found))
        return Given(ports=tuple(found))

    def _enter(self, task: Task, ports: tuple[PortBinding, ...]) -> None:
        for port in ports:
            self._held.setdefault((port.protocol, port.host_port), []).append((port.host_ip, task))

    def _choose(
        self, task: Task, port: Port, mine: list[PortBinding], *, beside: bool
    ) -> tuple[PortBinding | None, str]:
        holder: Task | None = None
        for number in _candidates(task, port):
            binding = PortBinding(target=port.target, host_port=number, protocol=port.protocol, host_ip=port.host_ip)
            if any(_same(binding, other) for other in mine):
                continue
            taken = self._holder(task, binding, beside=beside)
            if taken is None:
                return binding, ""
            holder = holder or taken
        return None, _refusal(port, holder)

    def _holder(self, task: Task, binding: PortBinding, *, beside: bool) -> Task | None:
        for host_ip, other in self._held.get((binding.protocol, binding.host_port), ()):
            if _overlap(host_ip, binding.host_ip) and (beside or not _hands_over(other, task)):
                return other
        return None


def _candidates(task: Task, port: Port) -> Iterator[int]:
    if port.published is not None:
        yield from range(port.published[0], port.published[1] + 1)
        return
    # The same slot begins at the same port each time, so that its address changes as seldom as can be.
    count = LAST_CHOSEN - FIRST_CHOSEN + 1
    name = f"{task.service_id}.{task.slot}.{task.node_id}.{port.target}/{port.protocol}"
    start = zlib.crc32(name.encode()) % count
    yield from (FIRST_CHOSEN + (start + step) % count for step in range(count))


def _hands_over(holder: Task, task: Task) -> bool:
    """Whether *holder* will be dead before *task* starts: *task* takes its place and waits for that."""
    same_slot = (holder.service_id, holder.slot) == (task.service_id, task.slot)
    return same_slot and task.desired_state is TaskState.READY and holder.id != task.id


def _same(one: PortBinding, other: PortBinding) -> bool:
    same = (one.protocol, one.host_port) == (other.protocol, other.host_port)
    return same and _overlap(one.host_ip, other.host_ip)


def _overlap(one: str, other: str) -> bool:
    return one == other or one in _EVERYWHERE or other in _EVERYWHERE


def _refusal(port: Port, holder: Task | None) -> str:
    first, last = port.published or (FIRST_CHOSEN, LAST_CHOSEN)
    which = f"host port {first}/{port.protocol}" if first == last else f"each of the host ports {first} to {last}"
    if holder is None:
        return f"{which} is asked for twice by the task itself; publish another one"
    stopping = ", which is stopping" if holder.desired_state is TaskState.SHUTDOWN else ""
    return (
        f"{which} is held by {display_name(holder)} of {holder.app} ({holder.id}{stopping}); it becomes free when that "
        f"task has stopped, or publish another port"
    )
