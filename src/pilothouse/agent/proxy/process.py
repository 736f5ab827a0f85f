"""Envoy as a process of this host: started, found again and ended. It outlives the server, and is no child of it.

What runs is told by a file in the proxy's directory: the pid, when that process began, and what it was made from. A pid
that was given to another program since is not taken for it.
"""

import asyncio
import contextlib
import hashlib
import os
import pathlib
import resource
import signal
import stat
import sys

import msgspec

from pilothouse import log
from pilothouse.agent.proxy import starter
from pilothouse.agent.proxy.bootstrap import CONFIGURATION, bootstrap
from pilothouse.clock import Clock
from pilothouse.errors import TemporaryError
from pilothouse.processes import began

USER = 70737
"""Between the ids of a distribution's users and those of containers' users."""
NOBODY = 65534
DRAIN_SECONDS = 15
MAX_CONNECTIONS = 1_000_000
MAX_LOG_BYTES = 1 << 20


class Running(msgspec.Struct, frozen=True):
    """One process of Envoy.

    Attributes:
        began: Of the process, in the kernel's ticks since the machine started.
        build: What it was made from.
        socket: The path of its admin socket in the proxy's directory.
    """

    pid: int
    began: int
    build: str
    socket: str

    @property
    def alive(self) -> bool:
        """Whether it runs still, and is not another that has its pid now."""
        return began(self.pid) == self.began


def unprivileged_user(uid_map: str) -> int:
    """Return the user that Envoy runs as, of those that exist in this user namespace; *uid_map* is the kernel's."""
    ranges = [tuple(map(int, line.split())) for line in uid_map.splitlines()]
    for uid in (USER, NOBODY):
        if any(inside <= uid < inside + count for inside, _, count in ranges):
            return uid
    return -1


def open_to_all(directory: pathlib.Path) -> bool:
    """Whether any user can reach what is in *directory*, as far as it exists."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in (directory, *directory.parents) if each.exists())


class Process:
    """The Envoy of a directory; two for a while when one takes the place of another.

    Attributes:
        log_file: Where it writes its warnings; cut when it grows past `MAX_LOG_BYTES`.
        user: Whom it runs as; -1 is whoever the server is.
    """

    def __init__(self, directory: pathlib.Path, binary: str, clock: Clock) -> None:
        self.log_file = directory / "envoy.log"
        self._directory = directory
        self._binary = binary
        self._clock = clock
        self._told = directory / "process.json"
        self.user = self._user()

    def prepare(self) -> None:
        """Make the directories: the configuration is readable to Envoy's user, the admin socket's is its own."""
        for name, owner, mode in (("", -1, 0o755), ("config", -1, 0o750), ("admin", self.user, 0o700)):
            path = self._directory / name
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
            if self.user >= 0:
                os.chown(path, owner, self.user if name else -1)

    def _user(self) -> int:
        if os.geteuid() != 0:
            return -1
        # Envoy takes no file whose directories it cannot look through. Root's user can, without root's powers.
        user = unprivileged_user(pathlib.Path("/proc/self/uid_map").read_text())
        return user if open_to_all(self._directory) else 0

    @property
    def build(self) -> str:
        """What a process started now would be made from."""
        seen = os.stat(self._binary)
        what = f"{self._binary} {seen.st_size} {seen.st_mtime_ns} {self._arguments()} {self.user}"
        return hashlib.sha256(what.encode() + self._bootstrap("")).hexdigest()[:16]

    def find(self) -> tuple[Running, ...]:
        """Return the processes that run, whoever started them: those that are being replaced, then the one in use."""
        try:
            known = msgspec.json.decode(self._told.read_bytes(), type=tuple[Running, ...])
        except (OSError, msgspec.MsgspecError):
            return ()
        return tuple(each for each in known if each.alive)

    async def start(self) -> Running:
        """Start a process beside those that run; the files it reads must be there.

        Raises:
            TemporaryError: It could not be started; the message says why.
        """
        others = self.find()
        taken = {each.socket for each in others}
        path = next(path for path in ("admin/0.sock", "admin/1.sock", "admin/2.sock") if path not in taken)
        (self._directory / path).unlink(missing_ok=True)
        self._write(CONFIGURATION, self._bootstrap(path))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", starter.__file__, str(self._directory), str(self.log_file), str(self.user),
            self._binary, *self._arguments(), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, wrong = await child.communicate()
        pid = int(said or 0)
        since = began(pid) if pid else None
        if since is None:
            raise TemporaryError(
                f"Envoy cannot be started: {wrong.decode(errors='replace')[-300:] or self.last_words()}"
            )
        running = Running(pid, since, self.build, path)
        try:
            self._tell((*others, running))
        except OSError as error:
            # Nobody would find it again, and another would be started beside it.
            os.kill(pid, signal.SIGKILL)
            raise TemporaryError(f"Envoy was started and cannot be kept: {error}") from error
        log.event("info", "proxy.started", pid=pid, user=self.user, binary=self._binary)
        return running

    async def end(self, running: Running, grace_seconds: float = 5.0) -> None:
        """End a process: asked first, then killed; returns when it is gone."""
        for what in (signal.SIGTERM, signal.SIGKILL):
            if not running.alive:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.pid, what)
            until = self._clock.monotonic() + grace_seconds
            while running.alive and self._clock.monotonic() < until:
                await self._clock.sleep(0.02)
        self._tell(tuple(each for each in self.find() if each != running))
        log.event("info", "proxy.ended", pid=running.pid)

    def _tell(self, running: tuple[Running, ...]) -> None:
        if running:
            self._write("process.json", msgspec.json.encode(running))
        else:
            self._told.unlink(missing_ok=True)

    def last_words(self) -> str:
        """Return the last warning it wrote, or ""."""
        try:
            with self.log_file.open("rb") as file:
                file.seek(max(0, self.log_file.stat().st_size - 4096))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:600] if lines else ""

    def cut_log(self) -> None:
        """Keep the log's last part only, once it is too long."""
        try:
            size = self.log_file.stat().st_size
        except OSError:
            return
        if size > MAX_LOG_BYTES and stat.S_ISREG(self.log_file.stat().st_mode):
            with self.log_file.open("rb") as file:
                file.seek(size - MAX_LOG_BYTES // 4)
                kept = file.read()
            # Envoy appends, so it goes on at the new end.
            with self.log_file.open("r+b") as file:
                file.truncate(0)
            with self.log_file.open("ab") as file:
                file.write(kept)

    def _arguments(self) -> list[str]:
        return [
            "--config-path", CONFIGURATION,
            "--disable-hot-restart",
            "--log-level", "warning",
            "--drain-time-s", str(DRAIN_SECONDS),
            "--drain-strategy", "immediate",
            "--concurrency", str(min(4, os.cpu_count() or 1)),
        ]  # fmt: skip

    def _bootstrap(self, socket: str) -> bytes:
        # Each call of a caller needs two descriptors, and a few more are needed for everything else.
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return msgspec.json.encode(bootstrap(socket, max(256, min(MAX_CONNECTIONS, (descriptors - 500) // 2))))

    def _write(self, name: str, content: bytes) -> None:
        part = self._directory / f"{name}.part"
        part.write_bytes(content)
        part.chmod(0o640)
        if self.user >= 0:
            os.chown(part, -1, self.user)
        part.rename(self._directory / name)
