"""Objects in memory with their indexes: the materialised state every backend reads from.

Knows nothing of transactions, owners or disks: whoever applies a change has checked it.
"""

import operator
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, cast

from pilothouse.model.base import Object
from pilothouse.model.objects import AuditRecord
from pilothouse.store.interface import Change
from pilothouse.store.tables import INDEXED, NAMES

O = TypeVar("O", bound=Object)
_FEW = 256
"""Moving so many ids in memory costs less than noting a change."""
_SOME = 32
"""So many changes are worked in one by one."""


class _Ids:
    """Some ids, in order when somebody looks.

    Of a few ids the list is kept in order at once. Of many, a list would have to be moved in memory for each one that
    comes or goes, so what came and went is noted, and worked in together by whoever looks next.
    """

    __slots__ = ("_news", "_ordered", "_size")

    def __init__(self) -> None:
        self._ordered: list[str] = []
        self._size = 0
        self._news: dict[str, bool] = {}

    def __len__(self) -> int:
        return self._size

    def add(self, id: str) -> None:
        """Take in an id that is not there."""
        self._size += 1
        ordered = self._ordered
        if self._news or (len(ordered) > _FEW and id < ordered[-1]):
            if self._news.pop(id, None) is None:
                self._news[id] = True
        elif ordered and id < ordered[-1]:
            insort(ordered, id)
        else:
            ordered.append(id)

    def remove(self, id: str) -> None:
        """Take out an id that is there."""
        self._size -= 1
        ordered = self._ordered
        if self._news or len(ordered) > _FEW:
            if self._news.pop(id, None) is None:
                self._news[id] = False
        else:
            del ordered[bisect_left(ordered, id)]

    def copy(self) -> "_Ids":
        """Return another one with the same ids."""
        made = _Ids()
        made._ordered, made._size, made._news = self._ordered.copy(), self._size, self._news.copy()
        return made

    def look(self) -> list[str]:
        """Return them in order; not to be changed."""
        if self._news:
            self._work_in()
        return self._ordered

    def _work_in(self) -> None:
        news, self._news, ordered = self._news, {}, self._ordered
        if len(news) <= _SOME:
            for each, is_new in news.items():
                if is_new:
                    insort(ordered, each)
                else:
                    del ordered[bisect_left(ordered, each)]
            return
        kept = [each for each in ordered if each not in news]
        kept += [each for each, is_new in news.items() if is_new]
        # Two runs in order, or nearly: that is merged, not sorted.
        kept.sort()
        self._ordered = kept


class _Table:
    """One kind: objects by id, all ids, and the ids for each value of each indexed field."""

    def __init__(self, indexed: tuple[str, ...]) -> None:
        self.objects: dict[str, Object] = {}
        self.ids = _Ids()
        self.indexes: dict[str, dict[object, _Ids]] = {field: {} for field in indexed}
        self._fields = tuple(self.indexes.values())
        # Of one field it returns no tuple, so `id` is asked for as well: that never differs.
        self._values = operator.attrgetter(*indexed, "id", "id")

    def set(self, before: Object | None, after: Object | None) -> None:
        """Replace *before* by *after*, either of which may be missing."""
        name = _present(before, after).id
        if after is None:
            del self.objects[name]
            self.ids.remove(name)
        else:
            if before is None:
                self.ids.add(name)
            self.objects[name] = after
        old = None if before is None else self._values(before)
        new = None if after is None else self._values(after)
        if old is None or new is None or old != new:
            self._reindex(name, old, new)

    def _reindex(self, name: str, old: tuple[object, ...] | None, new: tuple[object, ...] | None) -> None:
        for at, index in enumerate(self._fields):
            if old is not None:
                if new is not None and old[at] == new[at]:
                    continue
                _take_out(index, old[at], name)
            if new is not None:
                _put_in(index, new[at], name)

    def copy(self) -> "_Table":
        """Return another one with the same objects."""
        made = _Table(tuple(self.indexes))
        made.objects, made.ids = self.objects.copy(), self.ids.copy()
        for field, index in self.indexes.items():
            made.indexes[field].update({value: ids.copy() for value, ids in index.items()})
        return made

    def candidates(self, fields: dict[str, object]) -> tuple[Sequence[str], list[str]]:
        """Return the shortest list of ids an index gives for *fields*, and the fields still to compare."""
        best, used = self.ids, ""
        for field, value in fields.items():
            index = self.indexes.get(field)
            if index is None:
                continue
            ids = index.get(value)
            if ids is None:
                return (), []
            if not used or len(ids) < len(best):
                best, used = ids, field
        return best.look(), [field for field in fields if field != used]


def _put_in(index: dict[object, _Ids], value: object, name: str) -> None:
    ids = index.get(value)
    if ids is None:
        ids = index[value] = _Ids()
    ids.add(name)


def _take_out(index: dict[object, _Ids], value: object, name: str) -> None:
    ids = index[value]
    ids.remove(name)
    if not len(ids):
        del index[value]


class State:
    """Every object at one revision."""

    def __init__(self, objects: Iterable[Object] = (), revision: int = 0) -> None:
        self.revision = revision
        self._tables = {kind: _Table(INDEXED[kind]) for kind in NAMES}
        for obj in objects:
            self._tables[type(obj)].set(None, obj)

    def copy(self) -> "State":
        """Return another state at the same revision with the same objects, but for the audit: that only ever grows."""
        made = State(revision=self.revision)
        made._tables = {kind: table.copy() for kind, table in self._tables.items() if kind is not AuditRecord}
        return made

    def get(self, kind: type[O], id: str) -> O | None:
        """Return the object, or None."""
        return cast("O | None", self._tables[kind].objects.get(id))

    def find(self, kind: type[O], fields: dict[str, object]) -> list[O]:
        """Return objects whose fields equal the given values, ordered by id."""
        table = self._tables[kind]
        objects = cast("dict[str, O]", table.objects)
        if not fields:
            return [objects[each] for each in table.ids.look()]
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
            for each in table.ids.look():
                yield table.objects[each]


def _present(before: Object | None, after: Object | None) -> Object:
    found = before if after is None else after
    if found is None:
        raise ValueError("a change has at least one side")
    return found
