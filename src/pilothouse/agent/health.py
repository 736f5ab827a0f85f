"""How this node does: asks the engine for something that goes through all of it, and measures disk and memory.

What it finds goes to the manager with the next beat, so a node whose engine hangs gets no new work within ten seconds.
"""

import asyncio
import os
import pathlib
from collections.abc import Callable, Mapping

from pilothouse import log
from pilothouse.agent.clockwatch import ClockWatch
from pilothouse.agent.pressure import ENGINE_SECONDS, Engine, Room, disk, engine, memory, parse_memory
from pilothouse.agent.runtime.interface import Housed, Probed
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError

LOOK_SECONDS = 2.0
# As long as a healthy engine on a busy machine may take.
PROBE_SECONDS = 5.0
# The loop's clock and the boot clock do not tick together.
SLACK_SECONDS = 0.1
_PRECISE = frozenset({"engine", "clock"})
"""Kinds whose sentence changes only when there is something new to say."""
MEMINFO = pathlib.Path("/proc/meminfo")


class Health:
    """What keeps new work away from this node.

    Attributes:
        pressure: Sentences by kind: "engine", "disk", "memory", "clock", "guard".
        clocks: How far this node's clock and the manager's are apart.
        changed: Called with all of them after each change.
    """

    def __init__(self, runtime: object, clock: Clock, guard: Callable[[], str] = lambda: "") -> None:
        """Look at *runtime* through the powers it has; *guard* says what is wrong with the node's guard."""
        self.pressure: Mapping[str, str] = {}
        self.changed: Callable[[Mapping[str, str]], None] = lambda _: None
        self.clocks = ClockWatch(clock)
        self._runtime = runtime
        self._guard = guard
        self._clock = clock
        self._data = ""
        self._worked_at = clock.boottime()

    async def run(self) -> None:
        """Look for ever; one thing that hangs keeps none of the others from being looked at."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_engine(), name="engine")
            group.create_task(self._watch_room(), name="room")

    async def _watch_engine(self) -> None:
        while True:
            self._say("engine", engine(await self.ask_engine()))
            await self._clock.sleep(LOOK_SECONDS)

    async def ask_engine(self) -> Engine:
        """Have the engine do something, and return how it went."""
        problem = ""
        # What hangs is told by the first probe that hung, not by one more after it.
        within = max(PROBE_SECONDS, ENGINE_SECONDS - self._failing_seconds() + SLACK_SECONDS)
        try:
            if isinstance(self._runtime, Probed):
                async with asyncio.timeout(within):
                    await self._runtime.probe()
            self._worked_at = self._clock.boottime()
        except TimeoutError:
            problem = f"it did not answer within {within:.0f} s"
        except PilothouseError as error:
            problem = str(error)
        return Engine(failing_seconds=self._failing_seconds(), problem=problem)

    def _failing_seconds(self) -> float:
        return self._clock.boottime() - self._worked_at

    async def _watch_room(self) -> None:
        while True:
            try:
                await self._measure()
            except OSError as error:
                log.event("warning", "node.unmeasured", error=str(error))
            await self._clock.sleep(LOOK_SECONDS)

    async def _measure(self) -> None:
        self._say("guard", self._guard())
        self._say("clock", self.clocks.trouble())
        text = await asyncio.to_thread(MEMINFO.read_text)
        self._say("memory", memory(parse_memory(text), before="memory" in self.pressure))
        if path := await self._place():
            self._say("disk", disk(await asyncio.to_thread(_room, path), before="disk" in self.pressure))

    async def _place(self) -> str:
        """Return where the engine keeps its data, "" while it has not said so; it names its socket first."""
        if not self._data and isinstance(self._runtime, Housed) and "engine" not in self.pressure:
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    places = await self._runtime.places()
            except (PilothouseError, TimeoutError):
                return ""
            self._data = next((place for place in places[1:]), "")
        return self._data

    def _say(self, kind: str, sentence: str) -> None:
        if self.pressure.get(kind, "") == sentence:
            return
        # Numbers change with every look; only that it begins or ends is news.
        news = (kind in self.pressure) is not bool(sentence)
        rest = {key: text for key, text in self.pressure.items() if key != kind}
        if news or kind in _PRECISE:
            self.pressure = {**rest, kind: sentence} if sentence else rest
            log.event("warning" if sentence else "info", "node.pressure", kind=kind, why=sentence or "over")
            self.changed(self.pressure)


def _room(path: str) -> Room:
    seen = os.statvfs(path)
    return Room(
        path=path,
        total_bytes=seen.f_frsize * (seen.f_blocks - seen.f_bfree + seen.f_bavail),
        free_bytes=seen.f_frsize * seen.f_bavail,
        total_files=seen.f_files,
        free_files=seen.f_favail,
    )
