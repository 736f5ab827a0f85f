"""One transaction over a `State`: what *fn* of `view` and `update` is handed.

Writes go into the state at once, so that finding inside a transaction is as cheap as outside; the transaction
remembers how to take them back. Serial because *fn* may not await. Checks versions, the law of
`model.ownership`, and that nothing is written which another process may not know yet (`model.format`).
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from pilothouse.errors import ConflictError, ForeignWriteError, ProgrammingError
from pilothouse.model.base import Object
from pilothouse.model.format import FORMAT, FORMAT_ID, Format, fit, number_of
from pilothouse.model.ownership import check_write
from pilothouse.model.states import Writer
from pilothouse.store.interface import Change, ReadTx, WriteTx
from pilothouse.store.state import State
from pilothouse.store.tables import NAMES

O = TypeVar("O", bound=Object)
R = TypeVar("R")


def read(state: State, fn: Callable[[ReadTx], R]) -> R:
    """Run *fn* on *state* and return its result."""
    tx = _Reading(state)
    try:
        return fn(tx)
    finally:
        tx.end()


def write(state: State, writer: Writer, fn: Callable[[WriteTx], R]) -> tuple[R, tuple[Change, ...]]:
    """Run *fn* on *state* and return its result and what it changed, in order of first writing.

    If anything changed, *state* holds it and is one revision further; if *fn* raised, *state* is as it was.
    """
    tx = _Writing(state, writer)
    try:
        result = fn(tx)
    except BaseException:
        tx.take_back()
        raise
    finally:
        tx.end()
    changes = tx.changes()
    if changes:
        if not state.revision and FORMAT > 1:
            changes = (*changes, tx.found())
        state.revision += 1
    return result, changes


class _Reading:
    def __init__(self, state: State) -> None:
        self._state = state
        self._open = True

    @property
    def revision(self) -> int:
        return self._state.revision

    def get(self, kind: type[O], id: str) -> O | None:
        self._check_open()
        return self._state.get(kind, id)

    def find(self, kind: type[O], **fields: object) -> list[O]:
        self._check_open()
        return self._state.find(kind, fields)

    def kept(self) -> ReadTx:
        self._check_open()
        return _Reading(self._state.copy())

    def end(self) -> None:
        """Make the transaction useless: whoever kept it would read another revision."""
        self._open = False

    def _check_open(self) -> None:
        if not self._open:
            raise ProgrammingError("a store transaction was used after its function returned; read inside the function")


class _Writing(_Reading):
    def __init__(self, state: State, writer: Writer) -> None:
        super().__init__(state)
        self._writer = writer
        self._format = number_of(state.get(Format, FORMAT_ID), state.revision)
        self._before: dict[tuple[type[Object], str], Object | None] = {}

    def put(self, obj: O) -> O:
        self._check_open()
        kind = type(obj)
        if kind not in NAMES:
            raise ForeignWriteError(f"{kind.__name__} is not a kind of object the store keeps")
        if self._format < FORMAT:
            # Another process of an older version may read it, so it says nothing that one would not know.
            obj = fit(obj, self._format, asked=self._writer is Writer.API)
        stored = self._state.get(kind, obj.id)
        _check_version(obj, stored)
        if stored is not None and obj == stored:
            return stored
        check_write(self._writer, stored, obj)
        written: O = msgspec.structs.replace(obj, version=self._state.revision + 1)
        self._set(stored, written)
        return written

    def delete(self, obj: Object) -> None:
        self._check_open()
        stored = self._state.get(type(obj), obj.id)
        _check_version(obj, stored)
        if stored is None:
            raise ConflictError(f"{NAMES[type(obj)]} {obj.id} does not exist, so it cannot be deleted")
        check_write(self._writer, stored, None)
        self._set(stored, None)

    def changes(self) -> tuple[Change, ...]:
        """Return what differs from the beginning; an object made and deleted inside is no change."""
        pairs = ((before, self._state.get(*key)) for key, before in self._before.items())
        return tuple(Change(before, after) for before, after in pairs if before is not None or after is not None)

    def found(self) -> Change:
        """Write down, with the first commit of a store, which format it has; without that it is 1."""
        made = Format(id=FORMAT_ID, version=self._state.revision + 1, number=FORMAT)
        self._set(None, made)
        return Change(None, made)

    def take_back(self) -> None:
        """Leave the state as it was at the beginning."""
        for key, before in self._before.items():
            now = self._state.get(*key)
            if now is not None or before is not None:
                self._state.set(now, before)

    def _set(self, before: Object | None, after: Object | None) -> None:
        self._state.set(before, after)
        written = before if after is None else after
        if written is not None:
            self._before.setdefault((type(written), written.id), before)


def _check_version(obj: Object, stored: Object | None) -> None:
    version = 0 if stored is None else stored.version
    if obj.version == version:
        return
    name = NAMES[type(obj)]
    if stored is None:
        raise ConflictError(f"{name} {obj.id} was deleted since version {obj.version} of it was read; read again")
    if obj.version == 0:
        raise ConflictError(f"{name} {obj.id} exists already, at version {version}; read it and change that")
    raise ConflictError(f"{name} {obj.id} is at version {version}, not {obj.version}; read it again")
