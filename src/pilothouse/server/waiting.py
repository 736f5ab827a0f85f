"""What a manager answers while it has no state yet, because most of the store's members cannot be reached.

Every request gets the same answer at once: why, and when to come again. Nothing is read, and nobody's identity matters.
"""

import asyncio
import pathlib

from pilothouse.clock import Clock
from pilothouse.errors import InvalidRequestError, PilothouseError
from pilothouse.ids import Ids
from pilothouse.link.credentials import Credentials
from pilothouse.link.tls import server_context
from pilothouse.model.addresses import split_address
from pilothouse.server.api import problems
from pilothouse.server.api.dispatch import RETRY_AFTER_SECONDS, Receive, Scope, Send
from pilothouse.server.cluster.allow_list import AllowList
from pilothouse.server.listen import Listener, local_host

_GRACE_SECONDS = 0.5


class Refusing:
    """An ASGI application that knows one answer.

    Attributes:
        error: What it is.
    """

    def __init__(self, error: PilothouseError, ids: Ids) -> None:
        self.error = error
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse one request; its body is not read."""
        if scope["type"] != "http":
            raise InvalidRequestError(f"the API speaks HTTP only, not {scope['type']}")
        problem = problems.problem_of(self.error, self._ids.new())
        content = problems.encode(problem)
        headers = [
            (b"content-type", problems.MEDIA_TYPE.encode()),
            (b"content-length", str(len(content)).encode()),
            (b"x-request-id", problem.instance.encode()),
            (b"cache-control", b"no-store"),
            (b"retry-after", RETRY_AFTER_SECONDS),
        ]
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": content, "more_body": False})


class Waiting:
    """The doors of a manager that has no state: opened at the first `refuse`, closed before the real ones open."""

    def __init__(self, socket: pathlib.Path, clock: Clock, ids: Ids) -> None:
        self._socket = socket
        self._clock = clock
        self._ids = ids
        self._answer: Refusing | None = None
        self._listener: Listener | None = None

    async def refuse(self, error: PilothouseError, data: pathlib.Path, advertise: str) -> None:
        """Answer every request with *error* from now on; on the network too if this machine is in a cluster.

        Args:
            error: Why.
            data: Holds this machine's certificate.
            advertise: "HOST:PORT" of its API, or "".

        Raises:
            InvalidRequestError, ConflictError: A place to listen is taken.
        """
        if self._answer is not None:
            self._answer.error = error
            return
        self._answer = Refusing(error, self._ids)
        self._listener = Listener(self._answer, asyncio.Event())
        await self._listener.open_unix(self._socket)
        if advertise:
            host, port = split_address(advertise)
            context = server_context(Credentials(data), anonymous=True)
            await self._listener.open_cluster(local_host(host), port, context, AllowList(self._clock))

    async def close(self) -> None:
        """Open no more doors, and close those that are open."""
        if self._listener is not None:
            await self._listener.close(_GRACE_SECONDS)
            self._listener = None
