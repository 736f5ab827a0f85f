"""Keeps the guard running: starts it, finds it again after a restart of the agent, starts it anew when it died.

A guard that an agent of another version started is adopted like any other, because what is in the files never changes
its meaning; then it is followed by the one of this version, which begins before the old one ends.
"""

import asyncio
import contextlib
import hashlib
import os
import pathlib
import signal
import sys

import msgspec

from pilothouse import log
from pilothouse.agent.guard import guard
from pilothouse.agent.guard.register import Register
from pilothouse.clock import Clock
from pilothouse.errors import TemporaryError

SILENT_SECONDS = 3.0
"""A guard that has not looked for so long does not guard."""

START_SECONDS = 5.0
CHECK_SECONDS = 1.0


class Process(msgspec.Struct, frozen=True):
    """The guard's process.

    Attributes:
        began: When, in the kernel's ticks.
        program: Which program it is, as a hash.
    """

    pid: int
    began: int
    program: str = ""


class Keeper:
    """The guard of one directory."""

    def __init__(self, register: Register, clock: Clock) -> None:
        self._register = register
        self._clock = clock
        self._told = register.directory / "process.json"
        self._lock = asyncio.Lock()
        self._program = hashlib.sha256(pathlib.Path(guard.__file__).read_bytes()).hexdigest()[:16]
        self.warning = ""

    def find(self) -> Process | None:
        """Return the guard that runs, whoever started it."""
        try:
            known = msgspec.json.decode(self._told.read_bytes(), type=Process)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if guard.began(known.pid) == known.began else None

    @property
    def watching(self) -> bool:
        """Whether a guard runs and has looked a moment ago."""
        return self._clock.boottime() - self._register.seen < SILENT_SECONDS and self.find() is not None

    async def ensure(self) -> None:
        """Return once a guard of this version runs.

        Raises:
            TemporaryError: It cannot be started.
        """
        async with self._lock:
            older = self.find()
            if older is not None and older.program == self._program:
                return
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", guard.__file__, str(self._register.directory),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            said, wrong = await child.communicate()
            pid = int(said or 0)
            began = guard.began(pid) if pid else 0
            if not began:
                self.warning = f"the guard cannot be started: {wrong.decode(errors='replace')[-300:]}"
                raise TemporaryError(self.warning)
            made = Process(pid, began, self._program)
            try:
                self._write(made)
            except OSError as error:
                # Nobody would find it again, and another would be started beside it.
                _end(made)
                self.warning = f"the guard was started and cannot be kept: {error}"
                raise TemporaryError(self.warning) from error
            self.warning = ""
            log.event("info", "guard.started", pid=pid)
            since = 0.0
            if older is not None:
                since = self._clock.boottime()
                _end(older)
                log.event("info", "guard.replaced", pid=older.pid)
            await self._first_look(since)

    async def _first_look(self, since: float) -> None:
        until = self._clock.monotonic() + START_SECONDS
        while not (self.watching and self._register.seen > since) and self._clock.monotonic() < until:
            await self._clock.sleep(0.02)

    async def run(self, needed: asyncio.Event) -> None:
        """Once it is *needed*, start a guard again whenever there is none."""
        await needed.wait()
        while True:
            try:
                await self.ensure()
            except (TemporaryError, OSError) as error:
                log.event("error", "guard.missing", error=str(error))
            await self._clock.sleep(CHECK_SECONDS)

    def _write(self, process: Process) -> None:
        part: pathlib.Path = self._told.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(process))
        part.rename(self._told)


def _end(process: Process) -> None:
    if guard.began(process.pid) == process.began:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
