"""The ways to join two ends that every check of a link runs on."""

import asyncio
import contextlib

from pilothouse.clock import SystemClock
from pilothouse.errors import SessionLostError
from pilothouse.link.memory import pair
from pilothouse.link.sockets import Listener, connection_over, dial
from pilothouse.link.tls import client_context, server_context
from pilothouse.model.cluster import Role
from pilothouse.model.identity import SERVER_NAME
from tests.pki import Pki


async def serve(connection):
    """Serve until the connection ends."""
    with contextlib.suppress(SessionLostError):
        await connection.serve()


@contextlib.asynccontextmanager
async def serving(*connections):
    """Serve connections meanwhile."""
    async with asyncio.TaskGroup() as group:
        for each in connections:
            group.create_task(serve(each))
        try:
            yield
        finally:
            for each in connections:
                each.close("the test is over")


def memory(_directory):
    @contextlib.asynccontextmanager
    async def join(dialling, called):
        links = pair(dialling, called, SystemClock())
        async with serving(*links):
            yield links

    return join


def unix(directory):
    return _sockets(str(directory / "link.sock"), None, None)


def tls(directory):
    now = SystemClock().now()
    pki = Pki(now)
    server = pki.credentials(directory / "m1", "m1", now, Role.MANAGER)
    client = pki.credentials(directory / "n1", "n1", now)
    return _sockets("", server_context(server), client_context(client))


def _sockets(path, server_context, client_context):
    @contextlib.asynccontextmanager
    async def join(dialling, called):
        arrived = asyncio.get_running_loop().create_future()

        async def accept(socket):
            connection = connection_over(socket, called, SystemClock(), dialled=False)
            arrived.set_result(connection)
            await connection.serve()

        listener = Listener(accept, server_context)
        address = path
        if path:
            await listener.open_unix(path)
        else:
            address = f"127.0.0.1:{await listener.open_tcp('127.0.0.1', 0)}"
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listener.run())
            name = SERVER_NAME if client_context else ""
            first = await dial(address, dialling, SystemClock(), context=client_context, server_name=name)
            async with serving(first):
                yield first, await arrived
            listening.cancel()

    return join


JOINS = (memory, unix, tls)
