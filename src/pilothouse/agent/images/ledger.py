"""Which images tasks used on this node and when, kept in one file: afterwards only it knows.

Losing it is harmless: what is not in it is nobody's to remove. Order and age do not depend on the wall clock.
"""

import os
import pathlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import msgspec

from pilothouse import log
from pilothouse.agent.images.decide import Use
from pilothouse.clock import Clock
from pilothouse.errors import InvalidRequestError
from pilothouse.model.base import Value
from pilothouse.model.images import Reclaimed
from pilothouse.model.skew import Codec


class Book(Value, frozen=True, kw_only=True):
    """What the file holds; *last* is what was removed last."""

    uses: dict[str, Use] = {}
    last: Reclaimed | None = None


class Ledger:
    """The uses of images, in memory and in a file."""

    def __init__(self, path: pathlib.Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        book = _load(path)
        self._uses = book.uses
        self._last = book.last
        self._order = max((use.order for use in book.uses.values()), default=0)
        self._seen: dict[str, float] = {}
        self._asked: list[str] = []
        self._changed = False

    @property
    def uses(self) -> Mapping[str, Use]:
        """Every use that is known, by image id."""
        return dict(self._uses)

    @property
    def asked(self) -> frozenset[str]:
        """The references that are being made present now."""
        return frozenset(self._asked)

    @property
    def last(self) -> Reclaimed | None:
        """What was removed last, or None."""
        return self._last

    def used(self, image_ids: Iterable[str]) -> None:
        """Note that tasks use these images now."""
        for image_id in sorted({each for each in image_ids if each}):
            self._order += 1
            self._changed = self._changed or image_id not in self._uses
            self._uses[image_id] = Use(order=self._order, at=self._clock.now())
            self._seen[image_id] = self._clock.boottime()

    def touched(self, image_id: str) -> None:
        """Note that an image is about to be used, by whomever."""
        self._seen[image_id] = self._clock.boottime()

    @contextmanager
    def asking(self, ref: str) -> Iterator[None]:
        """Note that *ref* is being made present."""
        self._asked.append(ref)
        try:
            yield
        finally:
            self._asked.remove(ref)

    def ages(self, existing: Collection[str]) -> dict[str, float]:
        """Return how long ago each of these came or was last used, those left out that were there before this agent.

        What was never seen and has no use comes into being now.
        """
        now = self._clock.boottime()
        for image_id in existing:
            if image_id not in self._uses:
                self._seen.setdefault(image_id, now)
        self._seen = {image_id: at for image_id, at in self._seen.items() if image_id in existing}
        return {image_id: now - at for image_id, at in self._seen.items()}

    def forget(self, existing: Collection[str]) -> None:
        """Forget every image that is not there any more."""
        kept = {image_id: use for image_id, use in self._uses.items() if image_id in existing}
        self._changed = self._changed or len(kept) != len(self._uses)
        self._uses = kept

    def removed(self, what: Reclaimed) -> None:
        """Remember what was removed last."""
        self._last = what
        self._changed = True

    def save(self, *, whole: bool = False) -> None:
        """Write the file if something is new; with *whole* also if only times of uses are."""
        if not (self._changed or whole):
            return
        self._changed = False
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(Book(uses=self._uses, last=self._last)))
            os.replace(new, self._path)
        except OSError as error:
            self._changed = True
            log.event("warning", "images.unwritten", error=str(error))


_BOOK = Codec(Book, json=True)


def _load(path: pathlib.Path) -> Book:
    try:
        return _BOOK.decode(path.read_bytes())
    except FileNotFoundError:
        return Book()
    except (OSError, InvalidRequestError) as error:
        log.event("warning", "images.unread", error=str(error))
        return Book()
