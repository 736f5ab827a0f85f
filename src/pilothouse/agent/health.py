"""How this node does: asks the engine for something that goes through all of it, and measures disk and memory.

What it finds goes to the manager with the next beat, so a node whose engine hangs gets no new work within ten seconds.
"""

import asyncio
import pathlib
from collections.abc import Callable, Mapping

from pilothouse import log
from pilothouse.agent.clockwatch import ClockWatch
from pilothouse.agent.pressure import ENGINE_SECONDS, Engine, Room, disk, engine, memory, parse_memory
from pilothouse.agent.room import room_of
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
        relief: Says what is or cannot be done about a full disk, "" if there is nothing to say.
    """

    def __init__(self, runtime: object, clock: Clock, guard: Callable[[], str] = lambda: "") -> None:
        """Look at *runtime* through the powers it has; *guard* says what is wrong with the node's guard."""
        self.pressure: Mapping[str, str] = {}
        self.changed: Callable[[Mapping[str, str]], None] = lambda _: None
        self.relief: Callable[[], str] = lambda: ""
        self.clocks = ClockWatch(clock)
        self._about: dict[str, str] = {}
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
        await self._place()
        room = await asyncio.to_thread(self.room)
        if room is not None:
            full, relief = disk(room, before="disk" in self.pressure), self.relief()
            self._say("disk", f"{full}; {relief}" if full and relief else full, about=relief)

    def room(self) -> Room | None:
        """Return how full the engine's disk is, None while nobody knows where it is."""
        return room_of(self._data) if self._data else None

    async def _place(self) -> None:
        """Find out where the engine keeps its data, once it says so; it names its socket first."""
        if not self._data and isinstance(self._runtime, Housed) and "engine" not in self.pressure:
            try:
                async with asyncio.timeout(PROBE_SECONDS):
                    places = await self._runtime.places()
            except (PilothouseError, TimeoutError):
                return
            self._data = next((place for place in places[1:]), "")

    def _say(self, kind: str, sentence: str, about: str = "") -> None:
        """Say *sentence* if it is news; numbers in it change with every look, and *about* tells when more does."""
        if self.pressure.get(kind, "") == sentence:
            return
        news = (kind in self.pressure) is not bool(sentence) or self._about.get(kind, "") != about
        rest = {key: text for key, text in self.pressure.items() if key != kind}
        if news or kind in _PRECISE:
            self._about[kind] = about
            self.pressure = {**rest, kind: sentence} if sentence else rest
            log.event("warning" if sentence else "info", "node.pressure", kind=kind, why=sentence or "over")
            self.changed(self.pressure)
