"""A proxy in memory: it serves nobody, and says whom it would serve.

It is not a mock: `check_ingress` holds for it as for the real one. The proxy (`FakeProxy`) outlives the agent, so an
agent that was killed is followed by another with a new FakeIngress on the same proxy.
"""

import asyncio
from collections.abc import Iterable, Mapping

from pilothouse.agent.proxy.interface import Backend, Door
from pilothouse.agent.proxy.shares import Served, find, served, shares
from pilothouse.agent.proxy.table import Table, Wanted
from pilothouse.clock import Clock
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.objects import PortBinding
from pilothouse.model.rollout import Golden
from pilothouse.model.wire import Split, TrafficReport


class FakeProxy:
    """The proxy process of a host.

    Attributes:
        wanted: What it was last told to serve; `history` has everything it was ever told, in order.
        foreign: Host ports that other programs have, and what these are called.
        counts: What it would report of a split, by fingerprint: (old, new).
        since: When the measurement of a fingerprint began.
    """

    def __init__(self) -> None:
        self.wanted = Wanted()
        self.history: list[Wanted] = []
        self.foreign: dict[int, str] = {}
        self._down = False
        self.counts: dict[str, tuple[Golden, Golden]] = {}
        self.since: dict[str, float] = {}
        self._busy: dict[str, int] = {}
        self._changed: dict[asyncio.Event, None] = {}

    @property
    def down(self) -> bool:
        """Whether it does not run, and cannot be started."""
        return self._down

    @down.setter
    def down(self, down: bool) -> None:
        self._down = down
        self._wake()

    def _wake(self) -> None:
        for event in tuple(self._changed):
            event.set()

    @property
    def running(self) -> bool:
        """Whether there is anything to serve, and the proxy can."""
        return not self.down and bool(self.wanted.backends)

    @property
    def ports(self) -> tuple[Served, ...]:
        """What is listened on: nothing while it is down, and no port that another program has."""
        return tuple(each for each in served(self.wanted) if not self.down and each.host_port not in self.foreign)

    def listening(self, host_port: int, host_ip: str = "") -> bool:
        """Whether connections to that port are accepted."""
        return find(self.ports, host_port, host_ip) is not None

    def shares(self, host_port: int, host_ip: str = "") -> Mapping[str, float]:
        """Return the part of a port's traffic that each task gets; empty if there is none, or nobody listens."""
        port = find(self.ports, host_port, host_ip)
        return shares(port) if port else {}

    def doors(self, task_id: str) -> tuple[Door, ...]:
        """Return the doors of one task's ports, in the order they were put."""
        return tuple(each.door for each in self.wanted.backends if each.task_id == task_id)

    def begin(self, task_id: str) -> None:
        """Have the task be busy with one request more."""
        self._busy[task_id] = self._busy.get(task_id, 0) + 1

    def end(self, task_id: str) -> None:
        """Have one request of the task end."""
        self._busy[task_id] -= 1
        self._wake()

    async def idle(self, task_id: str) -> None:
        """Return once the task has no request."""
        event = asyncio.Event()
        self._changed[event] = None
        try:
            while self._busy.get(task_id, 0) and not self.down:
                event.clear()
                await event.wait()
        finally:
            self._changed.pop(event, None)

    def serve(self, wanted: Wanted) -> None:
        """Take over what is to be served."""
        if wanted != self.wanted:
            self.wanted = wanted
            self.history.append(wanted)


class FakeIngress:
    """One agent's driver of a FakeProxy; what it is told reaches the proxy at once, and only while `run` runs.

    Attributes:
        proxy: Shared with the agents before and after this one.
    """

    def __init__(self, clock: Clock, proxy: FakeProxy | None = None) -> None:
        self.proxy = proxy or FakeProxy()
        self._clock = clock
        self._table = Table(self.proxy.wanted)
        self._runs = False

    async def run(self) -> None:
        self._runs = True
        try:
            self._apply()
            await asyncio.Event().wait()
        finally:
            self._runs = False

    def put(self, task_id: str, backends: Iterable[Backend]) -> None:
        self._table.put(task_id, backends)
        self._apply()

    def settle(self, task_ids: Iterable[str]) -> None:
        self._table.settle(task_ids)
        self._apply()

    def divide(self, splits: Iterable[Split]) -> None:
        self._table.divide(splits)
        self._apply()

    async def claim(self, ports: Iterable[PortBinding], service_id: str) -> None:
        if self.proxy.down or not self._runs:
            raise TemporaryError("the proxy does not run")
        for each in ports:
            if each.host_port in self.proxy.foreign:
                program = self.proxy.foreign[each.host_port]
                raise PermanentError(f"host port {each.host_port} is in use by {program}; stop it or publish another")
            port = find(self.proxy.ports, each.host_port, each.host_ip)
            if port is None or port.service_id != service_id:
                holder = port.service_id if port else "nobody"
                raise TemporaryError(f"host port {each.host_port} is served for {holder} still")

    async def drained(self, task_id: str) -> None:
        if self._table.of(task_id) and self._runs:
            await self.proxy.idle(task_id)

    def measured(self) -> tuple[TrafficReport, ...]:
        now = self._clock.now()
        return tuple(
            TrafficReport(
                app=split.app,
                service=split.service,
                fingerprint=split.fingerprint,
                measured_from=self.proxy.since.setdefault(split.fingerprint, now),
                measured_at=now,
                old=old,
                new=new,
            )
            for split in self._table.wanted.splits
            for old, new in [self.proxy.counts.get(split.fingerprint, (Golden(), Golden()))]
        )

    def warnings(self) -> tuple[str, ...]:
        return ("the proxy does not run",) if self.proxy.down else ()

    def _apply(self) -> None:
        if self._runs:
            self.proxy.serve(self._table.wanted)
