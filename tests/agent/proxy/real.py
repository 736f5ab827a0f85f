"""A real Envoy with programs behind it and callers before it, all on loopback."""

import asyncio
import contextlib
import itertools
import os
import pathlib
import shutil
import socket
import tempfile

from pilothouse.agent.proxy.binary import find_binary
from pilothouse.agent.proxy.conformance import NOBODY, Place
from pilothouse.agent.proxy.driver import EnvoyIngress
from pilothouse.agent.proxy.process import Process
from pilothouse.clock import SystemClock
from pilothouse.ids import SystemIds

BINARY = find_binary(os.environ)
COMMAND = pathlib.Path("/proc/self/comm").read_text().strip()
_ports = itertools.count(21000 + os.getpid() % 900 * 12)


def free_port(host="127.0.0.1"):
    """Return a port nobody has; tests that run at once take theirs from different places."""
    while True:
        port = next(_ports)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind((host, port))
            return port


async def read_request(reader):
    """Return one request's head and body, or None at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head, await reader.readexactly(size)


async def read_answer(reader):
    """Return one answer's status, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    size = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return int(head.split()[1]), head, await reader.readexactly(size)


class Real:
    """`Surroundings` with an Envoy in a directory of its own."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ph-envoy-"))
        self.directory.chmod(0o755)
        self.binary = BINARY
        self.heads = []
        self._servers = []
        self._held = {}

    @property
    def process(self):
        return Process(self.directory, BINARY, SystemClock())

    async def close(self):
        process = self.process
        for running in process.find():
            await process.end(running)
        for server in self._servers:
            server.close()
        shutil.rmtree(self.directory)

    def driver(self):
        return EnvoyIngress(self.directory, self.binary, SystemClock(), SystemIds())

    def free_port(self):
        return free_port()

    async def serve(self, handle):
        """Have *handle* serve connections; returns where."""

        async def guarded(reader, writer):
            try:
                with contextlib.suppress(ConnectionError):
                    await handle(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(guarded, "127.0.0.1", 0)
        self._servers.append(server)
        return Place("127.0.0.1", server.sockets[0].getsockname()[1])

    async def program(self, name):
        async def handle(reader, writer):
            while (request := await read_request(reader)) is not None:
                self.heads.append(request[0].decode())
                if b"x-hold" in request[0].lower():
                    began, release = self._held[name]
                    began.set()
                    await release.wait()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nX-Case: Kept\r\nContent-Length: %d\r\n\r\n%s" % (len(name), name.encode())
                )
                await writer.drain()

        return await self.serve(handle)

    async def get(self, port, *headers, path="/"):
        """Send a request on a connection of its own; returns status, head and body."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            lines = (f"GET {path} HTTP/1.1", "Host: check", "Connection: close", *headers)
            writer.write("\r\n".join((*lines, "", "")).encode())
            return await read_answer(reader)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("closed before the answer") from error
        finally:
            writer.close()

    async def ask(self, port):
        status, _, body = await self.get(port)
        if status == 503 and body.startswith(b"No task of"):
            return NOBODY
        assert status == 200, (status, body)
        return body.decode()

    @contextlib.asynccontextmanager
    async def busy(self, port, name):
        began, release = self._held[name] = asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(self.get(port, "X-Hold: 1"))
            await began.wait()
            yield
            release.set()
            assert (await answer)[2].decode() == name

    @contextlib.asynccontextmanager
    async def taken(self, port):
        server = await asyncio.start_server(lambda *_: None, "0.0.0.0", port)
        try:
            yield f"{COMMAND} (pid {os.getpid()})"
        finally:
            server.close()
            await server.wait_closed()


@contextlib.asynccontextmanager
async def real():
    around = Real()
    try:
        yield around
    finally:
        await around.close()
