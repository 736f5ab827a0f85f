"""Which host port a task gets, as a pure function of who holds which. No socket is opened here.

An engine port belongs to one task until that task is dead, so a task that is stopping still holds its own. A task that
waits for the one it replaces to stop is given that one's ports in advance. An ingress port, which the proxy serves,
belongs to a service: all its tasks share it, those of an older spec included, and nobody else.

A fixed engine port is one of its node: several tasks may be given it, and the scheduler keeps them on different nodes.
All other ports are given once in the whole cluster.
"""

import zlib
from collections.abc import Iterable, Iterator

from pilothouse.model.base import Value
from pilothouse.model.container import Port
from pilothouse.model.names import display_name
from pilothouse.model.objects import PortBinding, Task
from pilothouse.model.ports import overlap
from pilothouse.model.states import TaskState

FIRST_CHOSEN, LAST_CHOSEN = 32768, 60999
_Entry = tuple[str, int, str]
"""A published port of a service that the platform chooses the number of: service, target and host address."""


class Given(Value, frozen=True, kw_only=True):
    """The host ports a task gets, or why it cannot have them yet (*reason*)."""

    ports: tuple[PortBinding, ...] = ()
    reason: str = ""


class Ledger:
    """Who holds which host port at one moment."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._held: dict[tuple[str, int], list[tuple[PortBinding, Task]]] = {}
        self._chosen: dict[_Entry, int] = {}
        # The dead come first and the newest last, so that a living task's number stands, then the newest dead one's.
        for task in sorted(tasks, key=lambda task: (not task.state.terminal, task.created_at, task.id)):
            self._remember(task, task.ports)
            if not task.state.terminal:
                self._enter(task, task.ports)

    def give(self, task: Task, *, beside: bool = False) -> Given:
        """Return the ports *task* gets, and write them down; or the reason why one of them is not free.

        Args:
            task: Who needs them.
            beside: The task it replaces runs on until this one is ready, so they cannot have the same engine port.
        """
        if task.step >= 0:
            return Given()
        found: list[PortBinding] = []
        for port in task.spec.container.ports:
            binding, reason = self._choose(task, port, found, beside=beside)
            if binding is None:
                return Given(reason=reason)
            found.append(binding)
        self._remember(task, tuple(found))
        self._enter(task, tuple(found))
        return Given(ports=tuple(found))

    def _enter(self, task: Task, ports: tuple[PortBinding, ...]) -> None:
        for port in ports:
            self._held.setdefault((port.protocol, port.host_port), []).append((port, task))

    def _remember(self, task: Task, ports: tuple[PortBinding, ...]) -> None:
        for port in ports:
            if port.ingress:
                self._chosen[task.service_id, port.target, port.host_ip] = port.host_port

    def _choose(
        self, task: Task, port: Port, mine: list[PortBinding], *, beside: bool
    ) -> tuple[PortBinding | None, str]:
        blocked: tuple[PortBinding, Task] | None = None
        for number in self._candidates(task, port):
            binding = PortBinding(
                target=port.target,
                host_port=number,
                protocol=port.protocol,
                host_ip=port.host_ip,
                # A container that is taken over publishes its ports through the engine until it is replaced.
                ingress=port.ingress and not task.adopts,
            )
            if any(_same(binding, other) for other in mine):
                continue
            taken = self._holder(task, port, binding, beside=beside)
            if taken is None:
                return binding, ""
            blocked = blocked or taken
        return None, _refusal(task, port, blocked)

    def _candidates(self, task: Task, port: Port) -> Iterator[int]:
        if port.published is not None:
            yield from range(port.published[0], port.published[1] + 1)
            return
        name = f"{task.service_id}.{task.slot}.{task.node_id}.{port.target}/{port.protocol}"
        if port.ingress:
            name = f"{task.service_id}.{port.target}/{port.protocol}@{port.host_ip}"
            known = self._chosen.get((task.service_id, port.target, port.host_ip))
            if known is not None:
                yield known
        # The same slot or service begins at the same port each time, so that its address changes as seldom as can be.
        count = LAST_CHOSEN - FIRST_CHOSEN + 1
        start = zlib.crc32(name.encode()) % count
        yield from (FIRST_CHOSEN + (start + step) % count for step in range(count))

    def _holder(self, task: Task, port: Port, binding: PortBinding, *, beside: bool) -> tuple[PortBinding, Task] | None:
        for held, other in self._held.get((binding.protocol, binding.host_port), ()):
            if not overlap(held.host_ip, binding.host_ip) or _shares(held, other, binding, task, port):
                continue
            if _elsewhere(held, other, binding, task, port):
                continue
            if beside or not _hands_over(other, task):
                return held, other
        return None


def _shares(held: PortBinding, other: Task, binding: PortBinding, task: Task, port: Port) -> bool:
    """Whether *task* may have *binding* beside *other*, which has *held*: both are reached through the proxy.

    A number that was written is that of the service, whatever port of the container it leads to; one that the platform
    chooses leads to one port of the container.
    """
    if not (held.ingress and binding.ingress and other.service_id == task.service_id):
        return False
    return port.published is not None or (held.target, held.host_ip) == (binding.target, binding.host_ip)


def _elsewhere(held: PortBinding, other: Task, binding: PortBinding, task: Task, port: Port) -> bool:
    """Whether *task* may have *binding* although *other* has *held*, because they need not be on one node."""
    if held.ingress or binding.ingress or not port.fixed:
        return False
    return not task.node_id or task.node_id != other.node_id


def _hands_over(holder: Task, task: Task) -> bool:
    """Whether *holder* will be dead before *task* starts: *task* takes its place and waits for that."""
    same_slot = (holder.service_id, holder.slot) == (task.service_id, task.slot)
    return same_slot and task.desired_state is TaskState.READY and holder.id != task.id


def _same(one: PortBinding, other: PortBinding) -> bool:
    same = (one.protocol, one.host_port) == (other.protocol, other.host_port)
    return same and overlap(one.host_ip, other.host_ip)


def _refusal(task: Task, port: Port, blocked: tuple[PortBinding, Task] | None) -> str:
    first, last = port.published or (FIRST_CHOSEN, LAST_CHOSEN)
    which = f"host port {first}/{port.protocol}" if first == last else f"each of the host ports {first} to {last}"
    if blocked is None:
        return f"{which} is asked for twice by the task itself; publish another one"
    held, holder = blocked
    if held.ingress:
        return (
            f"{which} is held by the service {holder.service} of {holder.app}, for all its tasks; it becomes free when "
            "the last of them has stopped, or publish another port"
        )
    stopping = ", which is stopping" if holder.desired_state is TaskState.SHUTDOWN else ""
    what = f"{which} is held by {display_name(holder)} of {holder.app} ({holder.id}{stopping})"
    if port.ingress and holder.service_id == task.service_id and not stopping:
        return (
            f"{what}, whose container publishes it through the engine; the proxy serves it for all tasks once that "
            f"task is replaced: `pilothouse restart {holder.app} {holder.service}`"
        )
    return f"{what}; it becomes free when that task has stopped, or publish another port"
