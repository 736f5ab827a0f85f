"""Published ports served by Envoy: what should be served becomes files, and is so once Envoy says that it is.

Envoy is a process of its own, which goes on with its last good configuration while nobody drives it. It is started when
something is to be served and ended when nothing is. The order in which files are swapped is such that no request is
ever sent to a side that has nobody.
"""

import asyncio
import pathlib
from collections.abc import Iterable

import msgspec

from pilothouse import log
from pilothouse.agent.proxy.admin import exactly
from pilothouse.agent.proxy.binary import MISSING
from pilothouse.agent.proxy.clusters import BYTES, cluster_names
from pilothouse.agent.proxy.document import port_name
from pilothouse.agent.proxy.envoy import Envoy
from pilothouse.agent.proxy.interface import Backend
from pilothouse.agent.proxy.meter import Counted, Meter, Numbers, sides
from pilothouse.agent.proxy.shares import Served, find, served
from pilothouse.agent.proxy.table import Table, Wanted
from pilothouse.backoff import delay_seconds
from pilothouse.clock import Clock
from pilothouse.errors import InvalidRequestError, PermanentError, PilothouseError, TemporaryError
from pilothouse.ids import Ids
from pilothouse.model.objects import PortBinding
from pilothouse.model.skew import Codec
from pilothouse.model.wire import Split, TrafficReport

DEBOUNCE_SECONDS = 0.004
LOOK_SECONDS = 1.0
CLAIM_SECONDS = 10.0
DRAIN_POLL_SECONDS = 0.05
RETRY_CAP_SECONDS = 5.0


CLOSED_OFF = (
    "the proxy runs as root's user, though without its powers, because other users cannot reach the run directory: let "
    "them pass with chmod o+x on it and the directories above it, and restart the server"
)


class Remembered(msgspec.Struct):
    """What a later agent has to know: what was to be served, and what was counted."""

    wanted: Wanted = Wanted()
    counted: dict[str, Counted] = {}


_REMEMBERED = Codec(Remembered, json=True)


class Course:
    """How far the driver has come with what it was asked.

    Attributes:
        asked, done: The number of the newest demand, and of the newest that is fulfilled.
        settled: Whether it is known which tasks there are.
        nonce: Counted up to have Envoy try again what it refused.
        runs: Whether the driver runs.
        trouble: What went wrong last, "" since it went well.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.done = 0
        self.settled = False
        self.nonce = 0
        self.runs = False
        self.trouble = ""
        self._failures = 0
        self._reached = asyncio.Event()

    def failed(self, why: str) -> int:
        """Take that it did not go well; return how often in a row."""
        self.trouble = why
        self._failures += 1
        self._wake_all()
        return self._failures

    def reached(self, number: int) -> None:
        """Take that everything up to demand *number* is fulfilled, and wake who waits for it."""
        self.done, self.trouble, self._failures = number, "", 0
        self._wake_all()

    def _wake_all(self) -> None:
        reached, self._reached = self._reached, asyncio.Event()
        reached.set()

    async def until(self, number: int) -> None:
        """Return once demand *number* is fulfilled, cannot be for now, or the driver does not run any more."""
        while self.done < number and self.runs and not self.trouble:
            await self._reached.wait()


class EnvoyIngress:
    """The driver of the one Envoy in *directory* (`Ingress`).

    Args:
        directory: Its own place under the run directory; what is in it may vanish with a reboot.
        binary: Envoy's program, or "" if there is none.
        clock, ids: Time and chance.
    """

    def __init__(self, directory: pathlib.Path, binary: str, clock: Clock, ids: Ids) -> None:
        self._clock = clock
        self._ids = ids
        self._binary = binary
        self._memory = directory / "wanted.json"
        self._wake = asyncio.Event()
        self._envoy = Envoy(directory, binary, clock, self._wake.set)
        remembered = self._recall()
        self._table = Table(remembered.wanted)
        self._meter = Meter(remembered.counted)
        self._course = Course()
        self._kept = b""
        self._served: tuple[Wanted, int] | None = None

    async def run(self) -> None:
        course = self._course
        try:
            course.runs = True
            while True:
                self._wake.clear()
                asked = course.asked
                error = await self._attempt()
                if error is None:
                    course.reached(asked)
                    await self._rest()
                else:
                    delay = delay_seconds(course.failed(error), fraction=self._ids.fraction(), cap=RETRY_CAP_SECONDS)
                    log.event("warning", "proxy.waits", error=error, delay_seconds=round(delay, 1))
                    await self._clock.sleep(delay)
        finally:
            course.runs = False
            course.reached(course.done)
            if not self._table.wanted.backends and course.settled:
                await self._envoy.end()
            await self._envoy.detach()

    def put(self, task_id: str, backends: Iterable[Backend]) -> None:
        if self._table.put(task_id, backends):
            self._ask()

    def settle(self, task_ids: Iterable[str]) -> None:
        first, self._course.settled = not self._course.settled, True
        if self._table.settle(task_ids) or first:
            self._ask()

    def divide(self, splits: Iterable[Split]) -> None:
        if self._table.divide(splits):
            self._ask()

    async def claim(self, ports: Iterable[PortBinding], service_id: str) -> None:
        if not self._binary:
            raise PermanentError(MISSING)
        course = self._course
        wanted = tuple(ports)
        if any(port_name(port) in self._envoy.refused for port in self._ports(wanted)):
            # Whoever had it may have let go of it since it was last looked at.
            course.nonce += 1
        asked = self._ask()
        try:
            async with asyncio.timeout(CLAIM_SECONDS):
                await course.until(asked)
        except TimeoutError:
            raise TemporaryError("the proxy has not taken the ports over yet") from None
        if course.done < asked:
            raise TemporaryError(f"the proxy does not take the ports over: {course.trouble or 'it does not run'}")
        for each in wanted:
            self._judge(each, service_id)

    async def drained(self, task_id: str) -> None:
        asked = self._ask()
        await self._course.until(asked)
        idle = 0
        # Twice in a row: a worker of Envoy's may have chosen the task just before it was told not to.
        while idle < 2 and self._course.runs and (backends := self._table.of(task_id)):
            try:
                idle = 0 if await self._busy(task_id, backends) else idle + 1
            except TemporaryError:
                return
            await self._clock.sleep(DRAIN_POLL_SECONDS if idle != 1 else DRAIN_POLL_SECONDS / 5)

    def measured(self) -> tuple[TrafficReport, ...]:
        return self._meter.reports(self._table.wanted.splits)

    def warnings(self) -> tuple[str, ...]:
        if not self._binary:
            return (MISSING,)
        return (CLOSED_OFF,) if self._envoy.process.user == 0 else ()

    def _ask(self) -> int:
        self._course.asked += 1
        self._wake.set()
        return self._course.asked

    def _ports(self, bindings: tuple[PortBinding, ...]) -> tuple[Served, ...]:
        ports = served(self._table.wanted)
        found = (find(ports, each.host_port, each.host_ip) for each in bindings)
        return tuple(port for port in found if port is not None)

    def _judge(self, binding: PortBinding, service_id: str) -> None:
        """Return if the port is listened on for the service; raise why not."""
        port = find(served(self._table.wanted), binding.host_port, binding.host_ip)
        if port is None or port.service_id != service_id:
            holder = port.service_id if port else "nobody"
            raise TemporaryError(f"host port {binding.host_port} is served for {holder} still")
        why = self._envoy.refused.get(port_name(port), "")
        if why:
            raise PermanentError(why)
        if port_name(port) not in self._envoy.active:
            trouble = self._course.trouble or "Envoy does not say why"
            raise TemporaryError(f"the proxy does not listen on host port {binding.host_port} yet: {trouble}")

    async def _attempt(self) -> str | None:
        """Look once; return what went wrong, or None."""
        try:
            await self._look()
        except (PilothouseError, OSError) as error:
            return str(error) or repr(error)
        except Exception as error:  # noqa: BLE001 - a bug here must not take the node's tasks with it
            log.event("error", "proxy.bug", error=repr(error))
            return f"an error inside Pilothouse: {error!r}"
        return None

    async def _look(self) -> None:
        """Have Envoy be as it should."""
        wanted = self._table.wanted
        ports = served(wanted)
        if ports and self._binary:
            if (wanted, self._course.nonce) != self._served or not self._envoy.steady:
                self._served = None
                self._envoy.process.prepare()
                self._keep()
                nonce = self._course.nonce
                await self._envoy.serve(ports, nonce)
                self._served = (wanted, nonce)
            await self._measure(ports)
            self._envoy.process.cut_log()
        elif not ports and self._course.settled:
            await self._envoy.finish(still=lambda: not self._table.wanted.backends)
            self._memory.unlink(missing_ok=True)

    async def _rest(self) -> None:
        """Wait for something to do, or for a while; what comes together is done together."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        await self._clock.sleep(DEBOUNCE_SECONDS)

    async def _busy(self, task_id: str, backends: tuple[Backend, ...]) -> int:
        """Return how many requests and connections a task has."""
        if self._envoy.admin is None:
            return 0
        ports = [port for port in served(self._table.wanted) if any(each.task_id == task_id for each in port.backends)]
        names = {name: part for port in ports for part, name in cluster_names(port).items()}
        places = {(each.address, each.port.target) for each in backends}
        seen = await self._envoy.admin.clusters(exactly(tuple(names)))
        return sum(
            counts.get("cx_active" if names[cluster] == BYTES else "rq_active", 0)
            for cluster, hosts in seen.items()
            for place, counts in hosts.items()
            if place in places and cluster in names
        )

    async def _measure(self, ports: tuple[Served, ...]) -> None:
        splits = self._table.wanted.splits
        now, admin = self._clock.now(), self._envoy.admin
        if admin is None or not (splits or self._meter.kept):
            return
        divided = [port for port in ports if port.split is not None]
        names = exactly(tuple(name for port in divided for name in cluster_names(port).values()))
        numbers, latencies = await admin.counts(r"^cluster\.p[^.]*\.upstream_(rq_completed|rq_5xx|rq_time)$")
        hosts = await admin.clusters(names) if divided else {}
        seen: dict[str, dict[str, Numbers]] = {}
        for port in divided:
            seen.setdefault(port.service_id, {}).update(sides(port, numbers, latencies, hosts))
        self._meter.read(splits, seen, now)
        self._keep()

    def _recall(self) -> Remembered:
        """Return what the agent before this one left, if the Envoy of that time runs still."""
        if not self._envoy.process.find():
            return Remembered()
        try:
            return _REMEMBERED.decode(self._memory.read_bytes())
        except (OSError, InvalidRequestError) as error:
            log.event("warning", "proxy.forgot", error=str(error))
            return Remembered()

    def _keep(self) -> None:
        content = msgspec.json.encode(Remembered(wanted=self._table.wanted, counted=self._meter.kept))
        if content != self._kept:
            part = self._memory.with_suffix(".part")
            part.write_bytes(content)
            part.chmod(0o600)
            part.rename(self._memory)
            self._kept = content
