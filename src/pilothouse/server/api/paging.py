"""Pages of lists: a page begins after the last item of the one before."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from pilothouse.errors import InvalidRequestError
from pilothouse.model.api import Page
from pilothouse.model.base import Object
from pilothouse.server.api.route import Paged

O = TypeVar("O", bound=Object)
T = TypeVar("T")


def page(found: Iterable[O], query: Paged) -> Page[O]:
    """Return the part of *found* that *query* asks for; objects that come or go between pages shift nothing."""
    left = sorted((obj for obj in found if obj.id > query.after), key=lambda obj: obj.id)
    items = tuple(left[: query.limit])
    return Page(items=items, next=items[-1].id if len(left) > len(items) else None)


def page_by(found: Iterable[T], key: Callable[[T], str], query: Paged) -> Page[T]:
    """Return the part of *found*, in its own order, after the item whose key is the cursor.

    Raises:
        InvalidRequestError: That item has gone, so nobody can say where the page begins.
    """
    ordered = list(found)
    start = 0
    if query.after:
        places = [number for number, item in enumerate(ordered) if key(item) == query.after]
        if not places:
            raise InvalidRequestError(f"nothing here is called {query.after[:80]!r} any more; begin without 'after'")
        start = places[0] + 1
    items = tuple(ordered[start : start + query.limit])
    return Page(items=items, next=key(items[-1]) if start + len(items) < len(ordered) else None)
