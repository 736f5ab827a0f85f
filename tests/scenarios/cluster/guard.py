"""The guard of a simulated machine: decides by the guard's own rules over its own files, and kills by the engine."""

import asyncio
import contextlib
import os

from pilothouse.agent.guard.guard import due, parse_entry, parse_lease
from pilothouse.agent.guard.register import BOOT_ID

LOOK_SECONDS = 1.0
_SECOND = 1_000_000_000


class SimKeeper:
    """Stands for the keeper of the guard's process, which nothing ends here but the machine's own end."""

    warning = ""
    watching = True

    async def run(self, needed):
        await asyncio.Event().wait()


class SimGuard:
    """The guard process of one machine; it outlives every agent.

    Attributes:
        killed: How many containers it killed.
    """

    def __init__(self, directory, engine):
        self._directory = directory
        self._engine = engine
        self._boot = BOOT_ID.read_text().strip()
        self.killed = 0

    async def run(self):
        while True:
            self._turn()
            await asyncio.sleep(LOOK_SECONDS)

    def _turn(self):
        tasks = self._directory / "tasks"
        names = sorted(os.listdir(tasks)) if tasks.exists() else []
        if not names:
            return
        lease = parse_lease((self._directory / "lease").read_bytes(), self._boot)
        now = int(asyncio.get_running_loop().time() * _SECOND)
        entries = [found for name in names if (found := _entry(tasks / name)) is not None]
        for entry in due(entries, lease, now):
            mine = [
                name for name, each in self._engine.containers.items() if each.id == entry.container and each.running
            ]
            for name in mine:
                self._engine.kill(name)
                self.killed += 1
            done = self._directory / "done" / entry.task
            if mine or not done.exists():
                done.write_text(f"{entry.container} {entry.term} {len(mine)} {lease.until} {now} {now} 0.0\n")


def _entry(path):
    with contextlib.suppress(FileNotFoundError):
        return None if path.suffix else parse_entry(path.name, path.read_text())
