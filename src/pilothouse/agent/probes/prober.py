"""Ask a running task's probes at their times, and say when what they mean together changed.

Each probe is a loop that sleeps until its next question; between questions nothing runs.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable

import msgspec

from pilothouse import log
from pilothouse.agent.machine import Checks
from pilothouse.agent.probes.ask import ask
from pilothouse.agent.probes.verdict import Answers, answered, combine, early_check, forgiving, settled, wait_seconds
from pilothouse.agent.runtime.interface import Exec
from pilothouse.clock import Clock
from pilothouse.model.objects import Task
from pilothouse.model.spec import Probe, Probes

_NOTE_LENGTH = 300


class Prober:
    """The probes of one task while its container runs.

    Attributes:
        engine_health: What the engine's own check says; the owner keeps it up to date.
    """

    def __init__(self, task: Task, name: str, clock: Clock, engine: Exec, gate: asyncio.Semaphore) -> None:
        self._probes: Probes = task.spec.probes
        self._early = early_check(task.spec.container.healthcheck)
        self._name = name
        self._clock = clock
        self._engine = engine
        self._gate = gate
        self._answers: dict[str, Answers] = settled(task.status.ready, task.status.health)
        self._bugs: dict[str, str] = {}
        self.engine_health = "none"

    @property
    def checks(self) -> Checks:
        """What all checks say together now."""
        found = combine(self._probes, self._answers, self.engine_health)
        note = "; ".join(f"{name}: {what}" for name, what in sorted(self._bugs.items()))
        return msgspec.structs.replace(found, note=note)

    @property
    def needed(self) -> bool:
        """Whether there is anything to ask."""
        return self._probes != Probes() or self._asks_early()

    async def run(self, address: Callable[[], str], changed: Callable[[], None]) -> None:
        """Ask until cancelled; *changed* is called after every answer that changed the checks.

        A bug fails the question it happened in; one that happened between questions ends the asking. Either way the
        checks' note says so.
        """
        try:
            await self._ask_all(address, changed)
        except Exception as error:  # noqa: BLE001 - as in `once`
            self._bug("probes", error)
            changed()

    def _bug(self, name: str, error: Exception) -> str:
        """Log an error that nobody foresaw, keep it for the note, and return it as an answer."""
        log.event("error", "probe.bug", name=self._name, probe=name, error="".join(traceback.format_exception(error)))
        self._bugs[name] = f"an error inside Pilothouse: {error!r}"[:_NOTE_LENGTH]
        return self._bugs[name]

    async def _ask_all(self, address: Callable[[], str], changed: Callable[[], None]) -> None:

        async def once(name: str, probe: Probe) -> None:
            before = self.checks
            try:
                message = await ask(probe, address(), self._run)
                self._bugs.pop(name, None)
            except Exception as error:  # noqa: BLE001 - a bug must fail this probe and not take down the whole node
                message = self._bug(name, error)
            self._answers[name] = answered(probe, self._of(name), message)
            if self.checks != before:
                changed()

        async with asyncio.TaskGroup() as group:
            if self._early is not None:
                group.create_task(self._ask_early(self._early, once))
            if self._probes.startup is not None:
                startup = forgiving(self._probes.startup)
                while not self._of("startup").passing:
                    await self._clock.sleep(wait_seconds(startup, self._of("startup"), eager=True))
                    await once("startup", startup)
            if self._probes.live is not None:
                group.create_task(self._for_ever("live", self._probes.live, once))
            if self._probes.ready is not None:
                group.create_task(self._for_ever("ready", self._probes.ready, once))

    async def _for_ever(self, name: str, probe: Probe, once: Callable[[str, Probe], Awaitable[None]]) -> None:
        while True:
            # Until a task was ready for the first time it is only not ready yet, and asked often.
            first = name == "ready" and self._of(name).passing is None
            await self._clock.sleep(wait_seconds(probe, self._of(name), eager=first))
            await once(name, forgiving(probe) if first else probe)

    async def _ask_early(self, probe: Probe, once: Callable[[str, Probe], Awaitable[None]]) -> None:
        """Ask a Compose health check until it passed once or the engine has an answer of its own."""
        early = forgiving(probe)
        while self._asks_early():
            await self._clock.sleep(wait_seconds(early, self._of("check"), eager=True))
            if not self._asks_early():
                return
            # A command in a container costs the engine as much as a start: a few at a time.
            async with self._gate:
                await once("check", early)

    def _asks_early(self) -> bool:
        return self._early is not None and self.engine_health == "starting" and not self._of("check").passing

    async def _run(self, command: tuple[str, ...], timeout_seconds: float) -> tuple[int, str]:
        return await self._engine.exec(self._name, command, timeout_seconds=timeout_seconds)

    def _of(self, name: str) -> Answers:
        return self._answers.get(name, Answers())
