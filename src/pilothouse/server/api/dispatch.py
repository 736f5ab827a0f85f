"""The API as one ASGI application: finds the route, checks who calls, bounds what is read, answers every error.

What a handler gets is typed and checked; what a handler raises becomes problem details. No handler sees HTTP.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping, Sequence
from typing import Any

import msgspec

from pilothouse.errors import InvalidRequestError, NotFoundError, PilothouseError, ProgrammingError, TooLargeError
from pilothouse.governance.identity.permissions import Permission, require
from pilothouse.governance.identity.principal import Principal
from pilothouse.log import event
from pilothouse.server.api import body, idempotency, paths, problems, stale
from pilothouse.server.api.context import Context
from pilothouse.server.api.problems import HttpError
from pilothouse.server.api.route import Call, Route, Stream, Write

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

IDLE_SECONDS = 30.0
RETRY_AFTER_SECONDS = b"2"
NOBODY = Principal(kind="nobody")
JSON = "application/json"
PRINCIPAL = "principal"
PUSH = "push"
_ID = "id"
_NOUN = 2
"""The first segments of a path that are the same for every route of a noun: the version and the noun."""


class Api:
    """Dispatches requests by a table of routes."""

    def __init__(self, routes: Sequence[Route], context: Context) -> None:
        self._routes = tuple(routes)
        for route in self._routes:
            if route.anonymous is not (route.permission is Permission.PUBLIC):
                raise ProgrammingError(f"{route.name} is anonymous in one word and not in the other")
        self._places = _by_noun(self._routes)
        self._context = context
        self._answers = idempotency.Answers(context.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP is refused."""
        if scope["type"] != "http":
            raise InvalidRequestError(f"the API speaks HTTP only, not {scope['type']}")
        request = _Request(scope, receive, send, self._context.ids.new())
        started = self._context.clock.monotonic()
        try:
            await self._answer(request)
        except (PilothouseError, ExceptionGroup) as error:
            await request.fail(_single(error))
        except Exception as error:  # noqa: BLE001 - a bug must become an answer, and is logged whole
            await request.fail(error)
        finally:
            if request.status >= 400 or request.method != "GET":
                event(
                    "info",
                    "request.answered",
                    request=request.id,
                    method=request.method,
                    path=str(scope.get("path", ""))[:300],
                    status=request.status,
                    principal=str(request.principal),
                    seconds=round(self._context.clock.monotonic() - started, 4),
                )

    async def _answer(self, request: "_Request") -> None:
        route, values = self._find(request)
        request.principal = require(request.claimed, route.permission) or NOBODY
        query = body.parameters(request.query_string, route.query)
        raw = await request.read(route.max_body) if route.changes else b""
        key = request.header(b"idempotency-key")
        if key is None or not route.repeatable:
            await self._perform(request, route, values, query, raw)
            return
        target = request.raw_path.decode("latin-1") + "?" + request.query_string.decode("latin-1")
        digest = idempotency.digest(route.method, target, raw)
        place = idempotency.Place(str(request.principal), idempotency.check_key(key), digest)
        earlier = await self._answers.earlier(place)
        if earlier is not None:
            await request.send_whole(
                earlier.status, earlier.media_type, earlier.body, ((b"idempotent-replay", b"true"),)
            )
            return
        try:
            await self._perform(request, route, values, query, raw)
        except PilothouseError as error:
            await request.fail(error)
        finally:
            if request.sent is None:
                self._answers.drop(place)
            else:
                self._answers.keep(place, request.sent)

    async def _perform(
        self, request: "_Request", route: Route, values: dict[str, str], query: object, raw: bytes
    ) -> None:
        content = None
        if route.body is not None:
            request.check_json()
            # A large text is decoded beside the loop, so that it holds up nobody.
            beside = len(raw) > 64 * 1024
            content = await asyncio.to_thread(body.decode, raw, route.body) if beside else body.decode(raw, route.body)
        elif raw:
            raise InvalidRequestError("this operation takes no body; send none")
        call = Call(
            context=self._context,
            principal=request.principal,
            request_id=request.id,
            path=values,
            query=query,
            body=content,
            client=request.client,
        )
        stale_since = stale.watched(self._context.store)
        answer = await route.handler(call)
        if isinstance(answer, Stream):
            await request.send_stream(answer, self._context.closing)
            return
        text, since = msgspec.json.encode(answer), stale_since()
        if since is None:
            await request.send_whole(route.status, JSON, text)
        else:
            extra = ((stale.HEADER, f"{since:.3f}".encode()),)
            await request.send_whole(route.status, JSON, stale.flagged(text, since), extra)

    def _find(self, request: "_Request") -> tuple[Route, dict[str, str]]:
        parts = paths.segments(request.raw_path)
        near = self._places.get(parts[:_NOUN], ())
        fitting = [(route, values) for wanted, route in near if (values := _match(wanted, parts)) is not None]
        for route, values in fitting:
            if route.method == request.method:
                return route, values
        if not fitting:
            raise NotFoundError("there is nothing at this path; GET /openapi.json lists what there is")
        allowed = ", ".join(sorted({route.method for route, _ in fitting}))
        raise HttpError(
            405,
            "Method not allowed",
            f"{request.method[:20]} is not possible here; use {allowed}",
            (("allow", allowed),),
        )


_Places = Mapping[tuple[str, ...], Sequence[tuple[tuple[str, ...], Route]]]


def _by_noun(routes: Iterable[Route]) -> _Places:
    """Return routes with the segments of their paths, by the first two: few are left to compare with a request."""
    found: dict[tuple[str, ...], list[tuple[tuple[str, ...], Route]]] = {}
    for route in routes:
        wanted = tuple(route.path.strip("/").split("/"))
        if any(part.startswith("{") for part in wanted[:_NOUN]):
            raise ProgrammingError(f"{route.name}: a path begins with the version and a noun")
        found.setdefault(wanted[:_NOUN], []).append((wanted, route))
    return found


def match(path: str, parts: tuple[str, ...]) -> dict[str, str] | None:
    """Return the values of a route's path parameters if *parts* fit its path, else None."""
    return _match(tuple(path.strip("/").split("/")), parts)


def _match(wanted: tuple[str, ...], parts: tuple[str, ...]) -> dict[str, str] | None:
    if wanted[-1] == "{id}" and len(parts) > len(wanted):
        parts = (*parts[: len(wanted) - 1], "/".join(parts[len(wanted) - 1 :]))
    if len(wanted) != len(parts):
        return None
    values: dict[str, str] = {}
    for want, part in zip(wanted, parts, strict=True):
        if want.startswith("{"):
            if not part:
                return None
            values[want[1:-1]] = part
        elif want != part:
            return None
    return values


def _single(error: BaseException) -> BaseException:
    """Return the error a group was raised for: of a stream's tasks the first that failed."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _Request:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, id: str) -> None:
        self.id = id
        self.method: str = scope["method"]
        self.raw_path: bytes = scope.get("raw_path") or str(scope["path"]).encode("utf-8", "surrogatepass")
        self.query_string: bytes = scope.get("query_string", b"")
        state = scope.get("state") or {}
        self.claimed: Principal | None = state.get(PRINCIPAL)
        self.push: Callable[[bytes], bool] | None = state.get(PUSH)
        self.principal: Principal = NOBODY
        self.client = str((scope.get("client") or ("",))[0] or "")
        self.status = 0
        self.sent: idempotency.Answer | None = None
        self._headers: list[tuple[bytes, bytes]] = list(scope.get("headers", ()))
        self._receive = receive
        self._send = send

    def header(self, name: bytes) -> str | None:
        """Return a header's only value, or None.

        Raises:
            InvalidRequestError: It is there more than once.
        """
        found = [value for key, value in self._headers if key.lower() == name]
        if len(found) > 1:
            raise InvalidRequestError(f"the header {name.decode()} is there {len(found)} times; send it once")
        return found[0].decode("latin-1").strip() if found else None

    def check_json(self) -> None:
        """Accept a body that says it is JSON, or says nothing.

        Raises:
            HttpError: It says it is something else.
        """
        said = (self.header(b"content-type") or JSON).partition(";")[0].strip().lower()
        if said != JSON:
            raise HttpError(415, "Unsupported media type", f"the body is said to be {said[:80]!r}; send {JSON}")

    async def read(self, most: int) -> bytes:
        """Return the body.

        Raises:
            TooLargeError: It has more than *most* bytes, or says so.
            HttpError: Nothing came for 30 s, or the caller left.
        """
        length = self.header(b"content-length")
        if length is not None and length.isdigit() and int(length) > most:
            raise TooLargeError(f"the body has {length[:30]} bytes, and at most {most} are accepted")
        chunks: list[bytes] = []
        size = 0
        while True:
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                raise HttpError(408, "Too slow", f"no byte of the body came for {IDLE_SECONDS:g} s") from None
            if message["type"] == "http.disconnect":
                raise HttpError(400, "Incomplete", "the caller left before the body was complete")
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > most:
                raise TooLargeError(f"the body has more than {most} bytes, and no more are accepted")
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    async def fail(self, error: BaseException) -> None:
        """Answer with an error, unless the answer has begun; a bug is logged whole."""
        problem = problems.problem_of(error, self.id)
        if problem.status >= 500:
            trace = "" if isinstance(error, PilothouseError) else "".join(traceback.format_exception(error))
            problems.log_bug(error, self.id, trace)
        if self.status:
            event("warning", "answer.cut", request=self.id, error=str(error)[:300])
            return
        extra = [(k.encode(), v.encode()) for k, v in (error.headers if isinstance(error, HttpError) else ())]
        if problem.status == 503:
            extra.append((b"retry-after", RETRY_AFTER_SECONDS))
        await self.send_whole(problem.status, problems.MEDIA_TYPE, problems.encode(problem), tuple(extra))

    async def send_whole(
        self, status: int, media_type: str, content: bytes, extra: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """Send an answer that is complete."""
        self.sent = idempotency.Answer(status, media_type, content)
        await self._start(status, media_type, ((b"content-length", str(len(content)).encode()), *extra))
        await self._send({"type": "http.response.body", "body": content, "more_body": False})

    async def send_stream(self, stream: Stream, closing: asyncio.Event) -> None:
        """Send an answer as it comes into being, until it is complete, the reader leaves or the server stops."""
        write = _Writing(self, stream.media_type)
        await _until_over(stream.run(write), self._left(), closing)
        if not self.status:
            await write(b"")
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def begin_stream(self, media_type: str) -> None:
        """Send the head of a streamed answer."""
        await self._start(200, media_type, ((b"x-accel-buffering", b"no"),))

    async def send_some(self, chunk: bytes) -> None:
        """Send a part of a streamed answer."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def _start(self, status: int, media_type: str, extra: tuple[tuple[bytes, bytes], ...]) -> None:
        self.status = status
        headers = [
            (b"content-type", media_type.encode()),
            (b"x-request-id", self.id.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *extra,
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})


class _Writing:
    """Keeps `route.Write` for one streamed answer."""

    def __init__(self, request: _Request, media_type: str) -> None:
        self._request = request
        self._media_type = media_type
        self._sending = asyncio.Lock()

    async def __call__(self, chunk: bytes) -> None:
        # The answer begins with its first byte: an error before that is still an answer of its own.
        async with self._sending:
            if not self._request.status:
                await self._request.begin_stream(self._media_type)
            await self._request.send_some(chunk)

    def at_once(self, chunk: bytes) -> bool:
        push = self._request.push
        return push is not None and not self._sending.locked() and push(chunk)


class _OverError(Exception):
    """Ends the group of a stream's tasks; never seen outside this module."""


async def _until_over(work: Awaitable[None], left: Awaitable[None], closing: asyncio.Event) -> None:
    """Run *work* until it returns, the reader left, or *closing* is set; its own errors are raised."""

    async def end_after(what: Awaitable[object]) -> None:
        await what
        raise _OverError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(end_after(work))
            group.create_task(end_after(left))
            group.create_task(end_after(closing.wait()))
    except* _OverError:
        pass  # one of the three has ended, and that is what was waited for


__all__ = ["PRINCIPAL", "PUSH", "Api", "Write", "match"]
