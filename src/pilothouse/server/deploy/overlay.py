"""A snapshot as it will be after some writes, so that what is about to be written can be looked at before it is."""

from collections.abc import Sequence

from pilothouse.model.base import Object
from pilothouse.store.interface import O, ReadTx


class Overlay:
    """A snapshot as it will be after some writes; keeps `ReadTx`."""

    def __init__(self, base: ReadTx, writes: Sequence[Object]) -> None:
        self._base = base
        self._writes = {(type(obj), obj.id): obj for obj in writes}

    @property
    def revision(self) -> int:
        return self._base.revision

    def kept(self) -> ReadTx:
        return Overlay(self._base.kept(), tuple(self._writes.values()))

    def get(self, kind: type[O], id: str) -> O | None:
        written = self._writes.get((kind, id))
        return written if isinstance(written, kind) else self._base.get(kind, id)

    def find(self, kind: type[O], **fields: object) -> list[O]:
        found = {obj.id: obj for obj in self._base.find(kind, **fields)}
        for obj in self._writes.values():
            if isinstance(obj, kind):
                fits = all(getattr(obj, name) == value for name, value in fields.items())
                found.pop(obj.id, None)
                if fits:
                    found[obj.id] = obj
        return [found[key] for key in sorted(found)]
