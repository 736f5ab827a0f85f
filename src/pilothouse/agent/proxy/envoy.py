"""One Envoy kept as it should be: its process, its files, and what it says of them.

Files are swapped in an order in which no request meets a side that has nobody: endpoints that come before the routes
that lead to them, endpoints that go after. Every step is confirmed by Envoy before the next.
"""

import asyncio
import pathlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing

from pilothouse import log
from pilothouse.agent.proxy import occupied, watches
from pilothouse.agent.proxy.admin import Admin, exactly
from pilothouse.agent.proxy.document import CLUSTERS, LISTENERS, Json, port_name, version_statistic
from pilothouse.agent.proxy.files import Files
from pilothouse.agent.proxy.listeners import addresses
from pilothouse.agent.proxy.plan import Plan, plan
from pilothouse.agent.proxy.process import DRAIN_SECONDS, Process, Running
from pilothouse.agent.proxy.pulse import Pulse
from pilothouse.agent.proxy.shares import Served
from pilothouse.clock import Clock
from pilothouse.errors import TemporaryError

CONFIRM_SECONDS = 5.0
START_SECONDS = 10.0
_POLLS = (0.003, 0.003, 0.005, 0.01, 0.02)


class Envoy:
    """The Envoy of one directory.

    Attributes:
        process: Its process.
        admin: Its admin socket, while it runs.
        active: The names of the ports it listens on.
        refused: Why it does not listen on others, by name of the port.
    """

    def __init__(self, directory: pathlib.Path, binary: str, clock: Clock, died: Callable[[], None]) -> None:
        self.process = Process(directory, binary, clock)
        self.admin: Admin | None = None
        self.active: frozenset[str] = frozenset()
        self.refused: dict[str, str] = {}
        self._directory = directory
        self._clock = clock
        self._pulse = Pulse(clock, died)
        self._files = Files(directory, self.process.user)
        self._running: Running | None = None
        self._rejections: dict[str, int] = {}
        self._usable: frozenset[str] = frozenset()
        self._routed: frozenset[str] = frozenset()

    @property
    def steady(self) -> bool:
        """Whether the process that was served with runs still, alone, and listens on everything."""
        return self._running is not None and not self.refused and self.process.find() == (self._running,)

    async def serve(self, ports: Sequence[Served], nonce: int = 0) -> None:
        """Have exactly *ports* served; `active` and `refused` tell which are.

        Args:
            ports: What is to be served.
            nonce: Another one than last time has ports tried again that Envoy itself refused.

        Raises:
            TemporaryError: Envoy does not run, or did not take everything over; what it had it goes on with.
        """
        await self._attach()
        blocked = await asyncio.to_thread(self._blocked, ports)
        wanted = plan((port for port in ports if port_name(port) not in blocked), ipv6=occupied.has_ipv6())
        if self._running is None:
            self._files.write(wanted.files, nonce)
            self._files.keep(set(wanted.files))
            delay = self._pulse.delay_seconds()
            if self._pulse.deaths:
                log.event("error", "proxy.died", deaths=self._pulse.deaths, reason=self.process.last_words())
            await self._clock.sleep(delay)
            await self._use(await self.process.start())
        elif self._running.build != self.process.build:
            await self._swap(wanted, nonce)
            await self._replace(beside=2 * sum(map(watches.needed, ports)) <= watches.allowed())
        else:
            await self._swap(wanted, nonce)
        self._usable = wanted.usable
        await self._see_listeners(wanted, blocked)

    async def finish(self, *, still: Callable[[], bool]) -> None:
        """Listen on nothing, wait for callers to leave while *still* nothing is to be served, and end."""
        await self._attach()
        if self._running is not None and self.admin is not None:
            await self._confirm(self._files.write({LISTENERS: []}))
            self.active = frozenset()
            until = self._clock.monotonic() + DRAIN_SECONDS
            while self._clock.monotonic() < until and still() and await self._callers(self.admin):
                await self._clock.sleep(0.1)
            if not still():
                return
        await self.end()

    async def end(self) -> None:
        """End every process now."""
        for each in self.process.find():
            await self.process.end(each)
        await self.detach()
        self._running, self.active, self._usable = None, frozenset(), frozenset()
        self._pulse.rest()
        self._files.keep(set())

    async def detach(self) -> None:
        """Let go of the process; it goes on."""
        self._pulse.let_go()
        if self.admin is not None:
            await self.admin.aclose()
            self.admin = None

    async def _attach(self) -> None:
        """Find the process that runs, and end those it has replaced once they have no callers."""
        found = self.process.find()
        for each in found[:-1]:
            async with aclosing(Admin(str(self._directory / each.socket))) as admin:
                if not await self._callers(admin):
                    await self.process.end(each)
        current = found[-1] if found else None
        if current == self._running:
            return
        self._running, self.active = None, frozenset()
        await self.detach()
        if current is not None:
            await self._use(current)
            log.event("info", "proxy.adopted", pid=current.pid)

    async def _use(self, running: Running) -> None:
        """Talk to *running* from now on, as soon as it is live."""
        self._files.forget()
        self._pulse.let_go()
        async with AsyncExitStack() as unless_used:
            admin = await unless_used.enter_async_context(aclosing(Admin(str(self._directory / running.socket))))
            until = self._clock.monotonic() + START_SECONDS
            while not await admin.live():
                if not running.alive or self._clock.monotonic() > until:
                    await self.process.end(running)
                    raise TemporaryError(f"Envoy does not start: {self.process.last_words() or 'it wrote no reason'}")
                await self._clock.sleep(0.01)
            self._rejections = await admin.rejections()
            self.active, self._routed = await admin.listening(), frozenset()
            unless_used.pop_all()
        if self.admin is not None:
            await self.admin.aclose()
        self.admin, self._running = admin, running
        self._pulse.watch(running.pid)

    async def _replace(self, *, beside: bool) -> None:
        """Start what takes the place of the process in use.

        Both listen for a while, then the old one drains; unless the host has no room for two: then it ends first.
        """
        old, admin = self._running, self.admin
        if old is None or admin is None:
            return
        had = self.active
        async with aclosing(admin):
            self.admin = None
            if not beside:
                await self.process.end(old)
            await self._use(await self.process.start())
            if had - self.active or not beside:
                log.event("warning", "proxy.replaced-hard", pid=old.pid)
                await self.process.end(old)
                self._running = None
            else:
                await admin.drain()
                log.event("info", "proxy.replaced", pid=old.pid)

    def _blocked(self, ports: Sequence[Served]) -> dict[str, str]:
        """Return why a port that is not listened on yet cannot be, by name."""
        own = frozenset(each.pid for each in self.process.find())
        # What is served already goes first.
        limit = watches.allowed()
        found = {
            port_name(
                port
            ): f"host port {port.host_port} would be one too many for this host's limit of watched files: "
            f"raise it with sysctl fs.inotify.max_user_instances={watches.WANTED}"
            for port in watches.too_many(
                tuple(sorted(ports, key=lambda port: port_name(port) not in self.active)), limit
            )
        }
        for port in ports:
            if port_name(port) not in self.active | found.keys():
                for address in addresses(port, ipv6=occupied.has_ipv6()):
                    why = occupied.problem(address, port.host_port, own)
                    if why:
                        found[port_name(port)] = why
        return found

    async def _swap(self, wanted: Plan, nonce: int) -> None:
        losing = {path for path in self._usable - wanted.usable if path in wanted.endpoints}
        later = {path: [resource] for path, resource in wanted.endpoints.items() if path in losing}
        first = {path: [resource] for path, resource in wanted.endpoints.items() if path not in losing}
        names = {each["name"] for each in wanted.clusters}
        going: list[Json] = [each for each in self._files.resources(CLUSTERS) if each["name"] not in names]
        await self._confirm(self._files.write({**first, CLUSTERS: [*wanted.clusters, *going]}))
        # A listener that is new reads its routes when it comes, and comes only if they are there.
        routes = self._files.write({path: [resource] for path, resource in wanted.routes.items()})
        await self._confirm({path: version for path, version in routes.items() if path in self._routed})
        await self._confirm(self._files.write({LISTENERS: list(wanted.listeners.values())}, nonce))
        await self._confirm(self._files.write({**later, CLUSTERS: wanted.clusters}))
        self._files.keep(set(wanted.files))

    async def _confirm(self, versions: dict[str, str]) -> None:
        """Return once Envoy has taken over these versions of files, or refused them."""
        if self.admin is None:
            raise TemporaryError("Envoy does not run")
        waiting = {version_statistic(path): version for path, version in versions.items()}
        until, polls = self._clock.monotonic() + CONFIRM_SECONDS, 0
        while waiting:
            seen = await self.admin.versions(exactly(tuple(waiting)))
            waiting = {name: version for name, version in waiting.items() if seen.get(name) != version}
            if waiting:
                waiting = await self._without_refused(self.admin, waiting)
            if waiting and self._clock.monotonic() > until:
                raise TemporaryError(f"Envoy did not take over {', '.join(sorted(waiting))} in {CONFIRM_SECONDS:g} s")
            if waiting:
                await self._clock.sleep(_POLLS[min(polls, len(_POLLS) - 1)])
                polls += 1

    async def _without_refused(self, admin: Admin, waiting: dict[str, str]) -> dict[str, str]:
        """Tell of the files that Envoy refused, and return the others."""
        now = await admin.rejections()
        before, self._rejections = self._rejections, now
        refused = {name for name in waiting if now.get(_of(name), 0) > before.get(_of(name), 0)}
        for name in refused:
            log.event("error", "proxy.rejected", file=_of(name), reason=self.process.last_words())
        return {name: version for name, version in waiting.items() if name not in refused}

    async def _see_listeners(self, wanted: Plan, blocked: dict[str, str]) -> None:
        """Look which ports are listened on, and why the others are not."""
        if self.admin is None:
            return
        until, reasons = self._clock.monotonic() + CONFIRM_SECONDS, dict[str, str]()
        while True:
            self.active = await self.admin.listening()
            missing = set(wanted.listeners) - self.active
            reasons = await self.admin.refused_listeners() if missing else {}
            # One that is neither listened on nor refused waits for its routes.
            if missing <= reasons.keys() or self._clock.monotonic() > until:
                break
            await self._clock.sleep(_POLLS[0])
        self._routed = frozenset(path for name, path in wanted.routed.items() if name in self.active)
        self.refused = blocked | {name: reasons[name] for name in missing if reasons.get(name)}

    async def _callers(self, admin: Admin) -> int:
        """Return how many connections callers have; 0 if nobody can be asked."""
        try:
            numbers, _ = await admin.counts(r"^listener\..*downstream_cx_active$")
        except TemporaryError:
            return 0
        return sum(numbers.values())


def _of(statistic: str) -> str:
    return statistic.removesuffix(".version_text")
