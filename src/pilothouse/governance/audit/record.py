"""Builds audit records and appends them; never content of secrets, never values of environment variables.

A record's id is a sequence number, so records sort in the order of their commits whatever the clock did.
"""

from collections.abc import Iterable, Mapping

import msgspec

from pilothouse.errors import ProgrammingError
from pilothouse.model.base import Object
from pilothouse.model.objects import AuditRecord, FieldChange
from pilothouse.store.interface import ReadTx, WriteTx

DONE = "done"
REFUSED = "refused"
DIGITS = 12
_MAX_TEXT = 400
_MAX_CHANGES = 200


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be recorded, before it has a place in the sequence.

    Attributes:
        action: `noun.verb`, e.g. "app.deploy".
        object: "KIND/ID".
        request_id: The id the API answered with.
    """

    at: float
    principal: str
    action: str
    object: str
    outcome: str = DONE
    summary: str = ""
    changes: tuple[FieldChange, ...] = ()
    request_id: str = ""


def name_of(obj: Object) -> str:
    """Return an object's name in records and events: "KIND/ID"."""
    return f"{type(obj).__name__.lower()}/{obj.id}"


def change(path: str, before: object, after: object) -> FieldChange:
    """Return one field's change as short text."""
    return FieldChange(path=path, before=short(before), after=short(after))


def changes_of(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[FieldChange, ...]:
    """Return what differs between two flat descriptions, ordered by path; a missing path counts as ""."""
    paths = sorted({*before, *after})
    differing = [p for p in paths if before.get(p, "") != after.get(p, "")]
    return tuple(change(p, before.get(p, ""), after.get(p, "")) for p in differing)


def record(tx: WriteTx, entry: Entry) -> AuditRecord:
    """Append *entry* with the next sequence number, in the caller's transaction; it lands if and only if that does."""
    made = build(entry, next_number(tx))
    return tx.put(made)


def build(entry: Entry, number: int) -> AuditRecord:
    """Return the record that *entry* becomes at place *number*; long text is cut, so that no caller can fill the store.

    Raises:
        ProgrammingError: The outcome or the action is not one the audit knows how to read.
    """
    if entry.outcome not in {DONE, REFUSED} or "." not in entry.action or "/" not in entry.object:
        raise ProgrammingError(
            f"no audit record can be made of {entry.action!r} on {entry.object!r}: {entry.outcome!r}"
        )
    return AuditRecord(
        id=f"{number:0{DIGITS}d}",
        at=entry.at,
        principal=entry.principal,
        action=entry.action,
        object=entry.object,
        outcome=entry.outcome,
        summary=short(entry.summary),
        changes=bounded(entry.changes),
        request_id=entry.request_id,
    )


def next_number(tx: ReadTx) -> int:
    """Return the first sequence number that is not taken; numbers have no gaps, so this needs few reads."""
    low = high = _LAST.number
    step = 1
    if low and not _taken(tx, low):
        while low and not _taken(tx, low):
            low, high, step = max(0, low - step), low, step * 2
    else:
        while _taken(tx, high := low + step):
            low, step = high, step * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _taken(tx, middle) else (low, middle)
    _LAST.number = high
    return high


class _Last:
    """Where the search for the next number ended last, in whatever store: where to begin, never what to believe."""

    def __init__(self) -> None:
        self.number = 0


_LAST = _Last()


def _taken(tx: ReadTx, number: int) -> bool:
    return tx.get(AuditRecord, f"{number:0{DIGITS}d}") is not None


def bounded(changes: Iterable[FieldChange]) -> tuple[FieldChange, ...]:
    """Return at most 200 of *changes*; if there are more, one that says how many follows."""
    kept = tuple(changes)
    if len(kept) <= _MAX_CHANGES:
        return kept
    left_out = len(kept) - _MAX_CHANGES
    return (*kept[:_MAX_CHANGES], FieldChange(path="…", after=f"{left_out} more changes are not listed"))


def short(value: object) -> str:
    """Return *value* as text, cut at 400 characters."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
