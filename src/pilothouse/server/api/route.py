"""What a route of the API is, as data: the table that requests are dispatched by and the OpenAPI page is made from.

Every route names the permission it needs; there is no default, so a route without one cannot be written.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Generic, Protocol, TypeVar

import msgspec

from pilothouse.errors import PilothouseError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.governance.identity.principal import Principal
from pilothouse.server.api.context import Context

Q = TypeVar("Q")
B = TypeVar("B")

KIB = 1024
MAX_BODY = 1024 * KIB
EVENT_STREAM = "text/event-stream"
LINES = "application/x-ndjson"
BYTES = "application/octet-stream"


class Write(Protocol):
    """How a streamed answer is written."""

    async def __call__(self, chunk: bytes) -> None:
        """Send *chunk* once the reader has taken enough of what came before."""
        ...

    def at_once(self, chunk: bytes) -> bool:
        """Send *chunk* and return True if the reader took all that came before, else send nothing and return False.

        Not in the middle of another call; False is also returned where the connection cannot tell.
        """
        ...


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the query parameters of a route; the name of a field is the name of its parameter."""


class NoQuery(Query, frozen=True, kw_only=True):
    """A route without query parameters."""


class Paged(Query, frozen=True, kw_only=True):
    """Where a page of a list begins and how long it is at most."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000, description="At most this many items")] = 100
    after: Annotated[str, msgspec.Meta(max_length=300, description="The `next` of the page before")] = ""


class AppPaged(Paged, frozen=True, kw_only=True):
    """A page of what belongs to an app, or to all apps."""

    app: Annotated[str, msgspec.Meta(max_length=63, description="Only of this app")] = ""


class Stream(msgspec.Struct, frozen=True):
    """An answer that is written as it comes into being.

    Attributes:
        media_type: Of what is written.
        run: Writes the answer and returns when it is complete; it is cancelled when the reader leaves or the server
            stops.
    """

    media_type: str
    run: Callable[[Write], Awaitable[None]]


class Call(msgspec.Struct, Generic[Q, B], frozen=True, kw_only=True):
    """One request, checked: who calls, with what.

    Attributes:
        principal: Never missing; a handler cannot run for a caller that was not identified.
        path: The values of the path's parameters.
        client: The address the caller connected from; "" on the Unix socket.
    """

    context: Context
    principal: Principal
    request_id: str
    path: dict[str, str]
    query: Q
    body: B
    client: str = ""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the API.

    Attributes:
        path: With parameters in braces; a last parameter named "id" also takes what follows it.
        anonymous: Anybody may call it, known or not; said here in words beside the permission PUBLIC, and both or none.
        query, body, answer: Types; None means that there is none. A streamed answer's type is that of one line.
        streams: The media type of a streamed answer, or "".
        errors: What it can end with beyond what every route can.
    """

    method: str
    path: str
    name: str
    summary: str
    permission: Permission
    handler: Callable[[Any], Awaitable[object]]
    query: type[Query] = NoQuery
    body: Any = None
    answer: Any = None
    status: int = 200
    streams: str = ""
    max_body: int = MAX_BODY
    anonymous: bool = False
    errors: tuple[type[PilothouseError], ...] = ()

    @property
    def changes(self) -> bool:
        """Whether it may change something, and so takes an idempotency key."""
        return self.method != "GET"

    @property
    def repeatable(self) -> bool:
        """Whether its answer can be kept and given again to a request with the same idempotency key.

        Not where anybody may call: strangers would share their keys, and could push out those of others.
        """
        return self.changes and not self.streams and not self.anonymous
