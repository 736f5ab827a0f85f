"""Answers that may be old, because most of the store's members do not answer: flagged in a header and in the body."""

from collections.abc import Callable
from typing import cast

from pilothouse.store.interface import Staleness, Store

HEADER = b"pilothouse-stale"
FIELD = b'"stale":'


def watched(store: Store) -> Callable[[], float | None]:
    """Return what tells, once an answer is there, since when it may be old; None if it is as new as can be.

    Call it before the store is read. What others read meanwhile may flag an answer that needs none, never the reverse.
    """
    # Asked for every request; `isinstance` of a protocol takes ten times as long.
    if not hasattr(store, "stale_reads"):
        return _never
    staleness = cast("Staleness", store)
    before, since = staleness.stale_reads, staleness.stale_since

    def found() -> float | None:
        if staleness.stale_reads == before:
            return None
        return staleness.stale_since or since or 0.0

    return found


def _never() -> None:
    return None


def flagged(content: bytes, since: float) -> bytes:
    """Return a JSON answer with the field `stale`, if it is an object: since when it may be old."""
    if not content.startswith(b"{"):
        return content
    separator = b"" if content == b"{}" else b","
    return b"{" + FIELD + f"{since:.3f}".encode() + separator + content[1:]
