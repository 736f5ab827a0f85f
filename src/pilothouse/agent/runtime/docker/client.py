"""HTTP to the engine over its Unix socket: one call, one typed answer or one of our errors. Knows no verbs.

A connection per call in flight, kept for the next one; long answers (events, logs, waits) have no time limit of their
own, everything else has `TIMEOUT_SECONDS`.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
import msgspec

from pilothouse.agent.runtime.docker.answers import Problem, decode
from pilothouse.agent.runtime.docker.dialect import Dialect, dialect_of
from pilothouse.agent.runtime.docker.failures import refusal
from pilothouse.errors import RuntimeUnavailableError, TemporaryError

T = TypeVar("T")
TIMEOUT_SECONDS = 120.0
MAX_LINE_BYTES = 8 << 20
_UNREACHABLE = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)
Params = Mapping[str, str]


class Client:
    """The engine at one socket. Opens no connection before the first call; `close` ends them all."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self._session: aiohttp.ClientSession | None = None
        self._dialect: Dialect | None = None

    async def close(self) -> None:
        """End every connection; the client can be used again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def dialect(self) -> Dialect:
        """Return what the engine understands, asked once."""
        if self._dialect is None:
            async with self._send("GET", "/version", "ask for the version") as answer:
                self._dialect = dialect_of(decode(await answer.read(), dict[str, object]))
        return self._dialect

    def forget(self) -> None:
        """Ask for the engine's version anew at the next call: it may have been upgraded."""
        self._dialect = None

    async def call(
        self,
        method: str,
        path: str,
        what: str,
        kind: type[T],
        *,
        params: Params | None = None,
        body: object = None,
        timeout_seconds: float | None = TIMEOUT_SECONDS,
    ) -> T:
        """Send one request and return its answer as *kind*.

        Args:
            method, path: Of the engine's API, without the version.
            what: The attempt in words, for errors: "start the container …".
            kind: What the answer is decoded as; `None.__class__` for none.
            params: The query.
            body: Encoded as JSON unless None.
            timeout_seconds: None waits for ever.

        Raises:
            PermanentError, TemporaryError: The engine refused.
            RuntimeUnavailableError: It did not answer.
        """
        async with self.stream(method, path, what, params=params, body=body, timeout_seconds=timeout_seconds) as answer:
            data = await self._read(answer, what)
        return decode(data if kind is not type(None) else b"null", kind)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        what: str,
        *,
        params: Params | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request and hand out the answer to be read piece by piece.

        Raises:
            PermanentError, TemporaryError: The engine refused.
            RuntimeUnavailableError: It did not answer.
        """
        dialect = await self.dialect()
        path = dialect.prefix + path
        async with self._send(
            method, path, what, params=params, body=body, headers=headers, timeout_seconds=timeout_seconds
        ) as answer:
            yield answer

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        what: str,
        *,
        params: Params | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float | None = TIMEOUT_SECONDS,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            # Containers that are waited for hold a connection each, so their number has no limit.
            connector = aiohttp.UnixConnector(self.socket, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        data = None if body is None else msgspec.json.encode(body)
        wanted = {**({"Content-Type": "application/json"} if data is not None else {}), **(headers or {})}
        timeout = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=10.0)
        try:
            async with self._session.request(
                method, f"http://engine{path}", params=params, data=data, headers=wanted, timeout=timeout
            ) as answer:
                if answer.status >= 400:
                    raise refusal(what, answer.status, _message(await self._read(answer, what)))
                yield answer
        except TimeoutError as error:
            raise self._unavailable(what, f"no answer in {timeout_seconds or 10.0:g} s") from error
        except _UNREACHABLE as error:
            self.forget()
            raise self._unavailable(what, str(error) or type(error).__name__) from error

    async def _read(self, answer: aiohttp.ClientResponse, what: str) -> bytes:
        try:
            return await answer.read()
        except _UNREACHABLE as error:
            raise self._unavailable(what, str(error) or type(error).__name__) from error

    def _unavailable(self, what: str, why: str) -> RuntimeUnavailableError:
        engine = f"the container engine at {self.socket}"
        return RuntimeUnavailableError(f"cannot {what}: {engine} does not answer ({why}): start it, or read its log")


async def lines_of(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the lines of a streamed answer, without line ends and empty ones.

    Raises:
        TemporaryError: A line is longer than `MAX_LINE_BYTES`.
    """
    held = bytearray()
    async for chunk in answer.content.iter_any():
        held += chunk
        *lines, rest = bytes(held).split(b"\n") if b"\n" in chunk else (bytes(held),)
        for line in lines:
            if line.strip():
                yield line
        held = bytearray(rest)
        if len(held) > MAX_LINE_BYTES:
            raise TemporaryError(f"the engine sent a line of more than {MAX_LINE_BYTES} bytes")
    if held.strip():
        yield bytes(held)


def _message(data: bytes) -> str:
    try:
        problem = msgspec.json.decode(data, type=Problem)
    except msgspec.DecodeError:
        return data[:500].decode(errors="replace")
    return problem.message or problem.cause
