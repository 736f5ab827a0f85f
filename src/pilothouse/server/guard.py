"""Stands before the HTTP parser: one reading of every request, bounded in size and time, or none at all.

A request that a proxy and this server could read differently is refused and its connection closed: no second Host, no
length beside a transfer coding, no underscore in a name, no line folding, no other form of the target than a path.
Who calls is noted per connection (Unix socket) or per request (token); no header about that is ever believed.
"""

import asyncio
import functools
import http
import re
from collections.abc import Callable
from typing import Any

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from pilothouse.errors import UnauthorizedError
from pilothouse.governance.identity.principal import Principal
from pilothouse.log import event
from pilothouse.model.api import Problem

MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
HEAD_SECONDS = 10.0
STALL_SECONDS = 60.0
_PROBLEM = b"application/problem+json"
_NAME = re.compile(rb"[!#$%&'*+\-.^`|~0-9A-Za-z]+\Z")  # RFC 9110's token without the underscore
_HOST = re.compile(rb"[A-Za-z0-9.\-\[\]:]{1,255}\Z")
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*\Z")

Identify = Callable[[asyncio.BaseTransport, list[tuple[bytes, bytes]]], Principal | None]


class Verdict(Exception):  # noqa: N818 - not an error of ours but of the caller's request
    """Why a request is refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def judge(method: bytes, target: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> None:
    """Accept the head of a request that can be read in one way only; *headers* have lower-case names.

    Raises:
        Verdict: It cannot.
    """
    if version not in {"1.0", "1.1"}:
        raise Verdict(505, "speak HTTP/1.1")
    if not _TARGET.match(target) or method == b"CONNECT":
        raise Verdict(400, "the request target must be a path, beginning with '/' and without '#'")
    for name, _ in headers:
        if not _NAME.match(name):
            raise Verdict(400, "a header's name has a character that it cannot have; '_' is one of them")
    hosts = _values(headers, b"host")
    if len(hosts) != 1 or not _HOST.match(hosts[0]):
        raise Verdict(400, "exactly one Host header is needed, with a name or address")
    if _values(headers, b"upgrade"):
        raise Verdict(400, "no other protocol is spoken here; leave Upgrade out")
    _judge_framing(version, _values(headers, b"content-length"), _values(headers, b"transfer-encoding"))


def _judge_framing(version: str, lengths: list[bytes], codings: list[bytes]) -> None:
    """Accept one way, at most, to tell where the body ends."""
    if lengths and codings:
        raise Verdict(400, "Content-Length and Transfer-Encoding exclude each other")
    if len(lengths) > 1 or (lengths and not (lengths[0].isdigit() and len(lengths[0]) < 16)):
        raise Verdict(400, "Content-Length must be there at most once, as digits")
    if len(codings) > 1 or (codings and (codings[0].lower() != b"chunked" or version == "1.0")):
        raise Verdict(400, "the only Transfer-Encoding understood is 'chunked', in HTTP/1.1")


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value.strip() for key, value in headers if key == name]


def _whole(status: int, message: str) -> bytes:
    """Return a complete answer that ends the connection."""
    title = http.HTTPStatus(status).phrase
    problem = Problem(type="reference/errors/PH105", title=title, status=status, detail=message, code="PH105")
    body = msgspec.json.encode(problem)
    head = [
        f"HTTP/1.1 {status} {title}".encode(),
        b"content-type: " + _PROBLEM,
        f"content-length: {len(body)}".encode(),
        b"connection: close",
    ]
    return b"\r\n".join([*head, b"", body])


def _push(cycle: RequestResponseCycle, chunk: bytes) -> bool:
    """Send a part of an answer and return True, if it has begun and its reader took everything so far."""
    if cycle.flow.write_paused or cycle.disconnected or cycle.response_complete or not cycle.chunked_encoding:
        return False
    cycle.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    return True


class GuardedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol with the guard before it."""

    identify: Identify = staticmethod(lambda _transport, _headers: None)
    for_good = False  # whether who calls stays the same as long as the connection is open

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._verdict: Verdict | None = None
        self._caller: Principal | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        super().connection_made(transport)
        if transport.get_extra_info("sslcontext") is None:
            # Whatever the kernel does not take at once pauses the writer, so that no unread byte goes unnoticed. With
            # TLS a writer paused by so little is not always woken again; there a buffer has to fill up first.
            transport.set_write_buffer_limits(high=0)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stall_timer is None:
            self._watch_reader()

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._verdict is not None or self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._expect_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and self._verdict is None:
            self._refuse(431, f"the head of a request has at most {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._head_timer is None:
            self._expect_head()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_HEAD_BYTES:
            self._stop(Verdict(414, "the request target is too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._stop(Verdict(431, f"a request has at most {MAX_HEADERS} headers"))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        try:
            if size > MAX_HEAD_BYTES:
                raise Verdict(431, f"the head of a request has at most {MAX_HEAD_BYTES} bytes")
            judge(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        except Verdict as verdict:
            self._stop(verdict)
        self.scope["state"]["principal"] = self._principal()
        super().on_headers_complete()
        # The answer to this request is made later, and this is still its scope.
        self.scope["state"]["push"] = functools.partial(_push, self.cycle)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser could not read, or what was refused, and close."""
        verdict = self._verdict or Verdict(400, "the request is not HTTP as it is understood here")
        self._verdict = verdict
        event("info", "request.refused", status=verdict.status, reason=str(verdict))
        if not self.transport.is_closing():
            self.transport.write(_whole(verdict.status, str(verdict)))
            self.transport.close()

    def _principal(self) -> Principal | None:
        if self._caller is not None:
            return self._caller
        try:
            found = type(self).identify(self.transport, self.headers)
            self._caller = found if self.for_good else None
            return found
        except UnauthorizedError as error:
            event("warning", "caller.unidentified", reason=str(error))
            return None

    def _stop(self, verdict: Verdict) -> None:
        """End the parser's run over the data; the base then asks for the answer."""
        self._verdict = verdict
        raise verdict

    def _refuse(self, status: int, message: str) -> None:
        self._verdict = Verdict(status, message)
        self.send_400_response(message)

    def _expect_head(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)

    def _head_late(self) -> None:
        self._head_timer = None
        if not self._in_head or self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_head()  # a refusal now would cut the answer to the request before
        else:
            self._refuse(408, f"the head of the request did not come within {HEAD_SECONDS:g} s")

    def _watch_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self._judge_reader, left)

    def _judge_reader(self, left_before: int) -> None:
        """Cut off a reader that took nothing since it was last looked at; a slow one that takes something may go on."""
        self._stall_timer = None
        left = self.transport.get_write_buffer_size()
        if left < left_before:
            self._watch_reader()
        elif left:
            event("warning", "reader.cut", bytes=left, seconds=STALL_SECONDS)
            self.transport.abort()

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
