"""One way to list the objects of a kind: of one app or of all, in pages, with nothing in them that must stay here."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Page
from pilothouse.model.base import Object
from pilothouse.server.api.hiding import hidden
from pilothouse.server.api.paging import page
from pilothouse.server.api.route import AppPaged, Call, Paged, Route

O = TypeVar("O", bound=Object)


def of_app(kind: type[O]) -> Callable[[Call[AppPaged, None]], Awaitable[Page[Object]]]:
    """Return a handler that lists *kind*."""

    async def handler(call: Call[AppPaged, None]) -> Page[Object]:
        wanted = {"app": call.query.app} if call.query.app else {}
        found = await call.context.store.view(lambda tx: page(tx.find(kind, **wanted), call.query))
        return Page(items=tuple(hidden(obj) for obj in found.items), next=found.next)

    return handler


def all_of(kind: type[O]) -> Callable[[Call[Paged, None]], Awaitable[Page[Object]]]:
    """Return a handler that lists *kind*, whatever app it is of."""

    async def handler(call: Call[Paged, None]) -> Page[Object]:
        found = await call.context.store.view(lambda tx: page(tx.find(kind), call.query))
        return Page(items=tuple(hidden(obj) for obj in found.items), next=found.next)

    return handler


def listing(kind: type[Object], plural: str, permission: Permission, summary: str) -> Route:
    """Return the route that lists the objects of *kind*, filtered by app."""
    return Route(
        method="GET",
        path=f"/v1/{plural}",
        name=f"{plural}.list",
        summary=summary,
        permission=permission,
        handler=of_app(kind),
        query=AppPaged,
        answer=Page[kind],  # type: ignore[valid-type]  # a type made from a value
    )
