"""Remembers answers by idempotency key, so that a repeated request changes nothing again.

Kept in memory, bounded in number, size and time: a key protects against a lost answer, not against a restart; a
deployment that is repeated after a restart changes nothing anyway.
"""

import asyncio
import hashlib
from collections import OrderedDict

import msgspec

from pilothouse.clock import Clock
from pilothouse.errors import ConflictError, InvalidRequestError

MAX_KEPT = 512
MAX_KEY_LENGTH = 255
MAX_ANSWER_BYTES = 256 * 1024
TTL_SECONDS = 3600.0


class Answer(msgspec.Struct, frozen=True):
    """What was answered."""

    status: int
    media_type: str
    body: bytes


class Place(msgspec.Struct, frozen=True):
    """One key of one caller, and what it was used for."""

    caller: str
    key: str
    digest: str


class _Kept(msgspec.Struct):
    digest: str
    until: float
    answer: asyncio.Future[Answer]


def check_key(key: str) -> str:
    """Return *key* if it can be one.

    Raises:
        InvalidRequestError: It is empty, too long, or not printable ASCII.
    """
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidRequestError(f"an Idempotency-Key is 1 to {MAX_KEY_LENGTH} printable ASCII characters")
    return key


def digest(method: str, target: str, body: bytes) -> str:
    """Return what identifies a request's content."""
    return hashlib.sha256(f"{method} {target}\n".encode() + body).hexdigest()


class Answers:
    """The answers that are kept; the caller's name is part of the key, so nobody sees another's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    async def earlier(self, place: Place) -> Answer | None:
        """Return the answer kept for *place*, waiting for one that is being made; None makes the caller the maker.

        Raises:
            ConflictError: The key was used for another request, or the first request with it failed meanwhile.
        """
        self._forget_old()
        found = self._kept.get((place.caller, place.key))
        if found is None:
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            until = self._clock.monotonic() + TTL_SECONDS
            self._kept[place.caller, place.key] = _Kept(place.digest, until, future)
            return None
        if found.digest != place.digest:
            raise ConflictError("this Idempotency-Key was used for another request; use a fresh key for each request")
        try:
            return await asyncio.shield(found.answer)
        except asyncio.CancelledError:
            if found.answer.cancelled():
                raise ConflictError("the first request with this Idempotency-Key did not end; try again") from None
            raise

    def keep(self, place: Place, answer: Answer) -> None:
        """Keep the answer of the request that `earlier` made the maker; one that says "try again" is not kept."""
        found = self._kept.get((place.caller, place.key))
        if found is None or found.answer.done():
            return
        found.answer.set_result(answer)
        if answer.status >= 500 or answer.status == 409 or len(answer.body) > MAX_ANSWER_BYTES:
            self._kept.pop((place.caller, place.key))

    def drop(self, place: Place) -> None:
        """Forget a request that ended without an answer; who waits for it is told to try again."""
        found = self._kept.get((place.caller, place.key))
        if found is not None and not found.answer.done():
            found.answer.cancel()
            self._kept.pop((place.caller, place.key))

    def _forget_old(self) -> None:
        now = self._clock.monotonic()
        while self._kept:
            place, oldest = next(iter(self._kept.items()))
            if oldest.until > now and len(self._kept) < MAX_KEPT:
                return
            if not oldest.answer.done():
                oldest.answer.cancel()
            self._kept.pop(place)
