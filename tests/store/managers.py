"""Real servers that share one state: each with a data directory and a member of its own, all on the loopback device."""

import asyncio
import os
import pathlib
import signal
import subprocess
import sys

import msgspec

from pilothouse.cli.backend import MEMBER
from tests.platform import exchange
from tests.store.cluster import CLOCK, Cluster

ROOT = pathlib.Path(__file__).parents[2]


class Server:
    """One `pilothouse server run`; it has no engine, and needs none to be a manager."""

    def __init__(self, directory, name):
        self.name = name
        self.directory = directory
        self.socket = directory / "run" / "api.sock"
        self.process = None

    def start(self):
        """Start it; it answers when `answers` says so."""
        environment = {
            **{key: os.environ[key] for key in ("PATH", "LANG", "PYTHONPYCACHEPREFIX") if key in os.environ},
            "PYTHONPATH": str(ROOT / "src"),
            "PILOTHOUSE_DATA": str(self.directory / "data"),
            "PILOTHOUSE_RUN": str(self.directory / "run"),
            "PILOTHOUSE_ENGINE": f"unix://{self.directory}/no-engine.sock",
        }
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pilothouse", "server", "run"], env=environment, stdout=log, stderr=log
            )

    async def call(self, method, path, body=None, seconds=30.0):
        """Return status, headers and answer of one call."""
        return await asyncio.to_thread(exchange, self.socket, method, path, body, seconds)

    async def status(self):
        """Return `GET /v1/store`, or None if nobody answers."""
        try:
            status, _, found = await self.call("GET", "/v1/store")
        except OSError:
            return None
        return found if status == 200 else None

    def kill(self):
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def log(self):
        """Return the end of what it said."""
        return (self.directory / "log").read_text()[-3000:]


class Managers:
    """Three servers on three members.

    Attributes:
        cluster: The members; they are those in the servers' data directories.
        servers: By number.
    """

    def __init__(self):
        self.cluster = Cluster(3)
        self.servers = []
        for number, member in enumerate(self.cluster.members):
            directory = self.cluster.directory / f"server{number}"
            (directory / "data").mkdir(parents=True)
            (directory / "data" / "secrets.key").write_bytes(b"k" * 32)
            (directory / "data" / "secrets.key").chmod(0o600)
            (directory / "data" / "node-id").write_text(f"m{number}\n")
            others = tuple(f"http://{each}" for each in self.cluster.clients if each != member.settings.client)
            settings = msgspec.structs.replace(member.settings, others=others)
            member.directory = directory / "data" / MEMBER
            member.log_file = member.directory / "etcd.log"
            member.configure(settings)
            self.servers.append(Server(directory, f"m{number}"))

    async def start(self):
        """Start everything and wait until all servers answer and one leads."""
        await self.cluster.start()
        for server in self.servers:
            server.start()
        for server in self.servers:
            await self.until(lambda server=server: _leader(server), 40)

    async def until(self, found, seconds):
        """Return what the coroutine of *found* returns once that is true."""
        end = CLOCK.monotonic() + seconds
        while True:
            if answer := await found():
                return answer
            assert CLOCK.monotonic() < end, "\n".join(server.log() for server in self.servers)
            await CLOCK.sleep(0.05)

    async def leading(self, *, asked=0):
        """Return the server that leads, as another says."""
        name = await self.until(lambda: _leader(self.servers[asked]), 20)
        return next(server for server in self.servers if server.name == name)

    async def close(self):
        """End everything."""
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.kill()
        await self.cluster.close()


async def _leader(server):
    found = await server.status()
    return found and found.get("leader")
