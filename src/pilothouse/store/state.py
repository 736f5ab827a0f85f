"""Objects in memory with their indexes: the materialised state every backend reads from.

Knows nothing of transactions, owners or disks: whoever applies a change has checked it.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, cast

from pilothouse.model.base import Object
from pilothouse.store.interface import Change
from pilothouse.store.tables import INDEXED, NAMES

O = TypeVar("O", bound=Object)


class _Table:
    """One kind: objects by id, ids in order, and ids in order for each value of each indexed field."""

    def __init__(self, indexed: tuple[str, ...]) -> None:
        self.objects: dict[str, Object] = {}
        self.ids: list[str] = []
        self.indexes: dict[str, dict[object, list[str]]] = {field: {} for field in indexed}

    def set(self, before: Object | None, after: Object | None) -> None:
        """Replace *before* by *after*, either of which may be missing."""
        name = _present(before, after).id
        if after is None:
            del self.objects[name]
            _take_out(self.ids, name)
        else:
            if before is None:
                insort(self.ids, name)
            self.objects[name] = after
        for field, index in self.indexes.items():
            if before is not None and after is not None and getattr(before, field) == getattr(after, field):
                continue
            self._reindex(field, index, before, after)

    def _reindex(self, field: str, index: dict[object, list[str]], before: Object | None, after: Object | None) -> None:
        old = None if before is None else (getattr(before, field),)
        new = None if after is None else (getattr(after, field),)
        name = _present(before, after).id
        if old is not None:
            _take_out(index[old[0]], name)
            if not index[old[0]]:
                del index[old[0]]
        if new is not None:
            insort(index.setdefault(new[0], []), name)

    def candidates(self, fields: dict[str, object]) -> tuple[Sequence[str], list[str]]:
        """Return the shortest list of ids an index gives for *fields*, and the fields still to compare."""
        best: Sequence[str] = self.ids
        used = ""
        for field, value in fields.items():
            index = self.indexes.get(field)
            if index is None:
                continue
            ids: Sequence[str] = index.get(value, ())
            if not used or len(ids) < len(best):
                best, used = ids, field
        return best, [field for field in fields if field != used]


class State:
    """Every object at one revision."""

    def __init__(self, objects: Iterable[Object] = (), revision: int = 0) -> None:
        self.revision = revision
        self._tables = {kind: _Table(INDEXED[kind]) for kind in NAMES}
        for obj in objects:
            self._tables[type(obj)].set(None, obj)

    def get(self, kind: type[O], id: str) -> O | None:
        """Return the object, or None."""
        return cast("O | None", self._tables[kind].objects.get(id))

    def find(self, kind: type[O], fields: dict[str, object]) -> list[O]:
        """Return objects whose fields equal the given values, ordered by id."""
        table = self._tables[kind]
        objects = cast("dict[str, O]", table.objects)
        if not fields:
            return [objects[each] for each in table.ids]
        ids, rest = table.candidates(fields)
        found = [objects[each] for each in ids]
        for field in rest:
            value = fields[field]
            found = [obj for obj in found if getattr(obj, field) == value]
        return found

    def set(self, before: Object | None, after: Object | None) -> None:
        """Replace *before*, which must be what is held now, by *after*; None is absence."""
        self._tables[type(_present(before, after))].set(before, after)

    def apply(self, changes: Iterable[Change], revision: int) -> None:
        """Advance to *revision*."""
        for change in changes:
            self.set(change.before, change.after)
        self.revision = revision

    def undo(self, changes: Sequence[Change], revision: int) -> None:
        """Go back to *revision*, which is the one before *changes* were applied."""
        for change in reversed(changes):
            self.set(change.after, change.before)
        self.revision = revision

    def __iter__(self) -> Iterator[Object]:
        for table in self._tables.values():
            for each in table.ids:
                yield table.objects[each]


def _present(before: Object | None, after: Object | None) -> Object:
    found = before if after is None else after
    if found is None:
        raise ValueError("a change has at least one side")
    return found


def _take_out(ids: list[str], id: str) -> None:
    del ids[bisect_left(ids, id)]
