"""What the proxy is told of one task: where it answers, and whether it may get traffic now. The decision is pure."""

import asyncio
from collections.abc import Iterable

from pilothouse import log
from pilothouse.agent.machine import Life, Seen, behind_proxy, drain_seconds
from pilothouse.agent.proxy.interface import Backend, Door, Ingress
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.container import Port
from pilothouse.model.objects import Health, PortBinding, Task
from pilothouse.model.states import TaskState

PATIENCE = 4
"""So often a port may still be taken when the task should start: whoever had it may only just have stopped."""


def door(life: Life, seen: Seen) -> Door:
    """Return whether a task may get traffic: while it runs, its checks say ready, and nobody stops it.

    One that had traffic before may end it: when its checks fail for a moment, and when it is stopped.
    """
    if life.state is not TaskState.RUNNING or seen.phase != "running" or life.drained:
        return Door.CLOSED
    if seen.checks.ready and not life.leaving:
        return Door.OPEN
    return Door.DRAINING if life.opened else Door.CLOSED


def backends(task: Task, address: str, state: Door) -> tuple[Backend, ...]:
    """Return the ports of *task* that the proxy serves; without an *address* nobody can be sent there."""
    return tuple(_backend(task, binding, address, state) for binding in task.ports if binding.ingress)


def handed_over(task: Task, others: Iterable[Task]) -> bool:
    """Whether one of *others* has a port of *task* from the engine: a task of the same service, which must stop first.

    The proxy cannot listen on it before.
    """
    wanted = {(port.protocol, port.host_port) for port in task.ports if port.ingress}
    return any(
        not port.ingress and (port.protocol, port.host_port) in wanted
        for other in others
        if other.service_id == task.service_id and other.id != task.id and not other.state.terminal
        for port in other.ports
    )


class Doors:
    """The doors of one task; tells the proxy only what changed."""

    def __init__(self, ingress: Ingress, task: Task, *, unsure: bool) -> None:
        """Begin with *task*; *unsure* means that an earlier agent may have had its container served."""
        self._ingress = ingress
        self._task_id = task.id
        self._unsure = unsure and behind_proxy(task)
        self._shown: tuple[Backend, ...] = ()

    def show(self, task: Task, life: Life, seen: Seen, address: str) -> None:
        """Tell the proxy what holds now.

        What an earlier agent had served stays so until the checks have an answer, so that no request fails because the
        agent was away.
        """
        if life.state.terminal:
            self.shut()
            return
        if self._unsure and seen.checks.health is Health.STARTING and not life.leaving:
            return
        now = backends(task, address, door(life, seen))
        if now != self._shown or self._unsure:
            self._shown, self._unsure = now, False
            self._ingress.put(task.id, now)

    def shut(self) -> None:
        """Tell the proxy that nothing is left of the task."""
        if self._shown or self._unsure:
            self._shown, self._unsure = (), False
            self._ingress.put(self._task_id, ())

    async def claim(self, task: Task, attempts: int) -> None:
        """Return once the proxy listens for *task*.

        Args:
            task: Its ports were shown before.
            attempts: How often this was tried in vain, of `PATIENCE`.

        Raises:
            PermanentError: Somebody else has a port, or the address is not of this host.
            TemporaryError: Not yet.
        """
        ports = tuple(port for port in task.ports if port.ingress)
        if not ports:
            return
        try:
            await self._ingress.claim(ports, task.service_id)
        except PermanentError as error:
            if attempts < PATIENCE:
                raise TemporaryError(str(error)) from error
            raise

    async def drain(self, life: Life) -> None:
        """Return once the proxy has nothing for the task any more, or the time for that is over."""
        seconds = drain_seconds(life)
        try:
            async with asyncio.timeout(seconds):
                await self._ingress.drained(self._task_id)
        except TimeoutError:
            log.event("info", "task.cut_off", task=self._task_id, after_seconds=seconds)


def _backend(task: Task, binding: PortBinding, address: str, state: Door) -> Backend:
    port = _asked(task, binding)
    return Backend(
        task_id=task.id,
        service_id=task.service_id,
        fingerprint=task.fingerprint,
        port=binding,
        address=address,
        app_protocol=port.app_protocol,
        client_address=port.client_address,
        door=state if address else Door.CLOSED,
    )


def _asked(task: Task, binding: PortBinding) -> Port:
    """Return what the spec says of a port that was given."""
    for port in task.spec.container.ports:
        same = port.ingress and (port.target, port.host_ip) == (binding.target, binding.host_ip)
        if same and port.published in {None, (binding.host_port, binding.host_port)}:
            return port
    return Port(target=binding.target)
