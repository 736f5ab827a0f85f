"""What the objects of a platform may say: one number for all of it, raised once every process can read more.

A version of Pilothouse reads and writes the format of its own, `FORMAT`, and the one before. While the platform's
format is the one before, `fit` keeps what is new out of everything that another process may read; so an older process
never meets what it does not know, and loses nothing when it writes an object back. Pure. Decision 0021 has the reasons.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from pilothouse.errors import NotYetError, SkewError
from pilothouse.model.base import Object

V = TypeVar("V")

FORMAT = 1
"""The newest format that this version reads and writes; it reads and writes the one before as well."""

FORMAT_ID = "format"
"""The id of the one `Format` object."""

NEW: dict[int, dict[str, str]] = {}
"""What each format brought: "Type.field" or "Kind" with "", "Enum.MEMBER" with the member to write in its place.

A format that was released is never edited. Nothing is taken away or changes its meaning or its default.
"""


class Format(Object, frozen=True, kw_only=True):
    """The format of everything the store keeps; there is at most one, and none means 1.

    Attributes:
        number: No object of the store uses anything that a later format brought.
        raised_at: When it became that.
        asked_at: When a person last asked not to wait with the next one.
    """

    number: int = 1
    raised_at: float = 0.0
    asked_at: float = 0.0
    asked_by: str = ""


def check_readable(number: int, where: str) -> None:
    """Accept a format that this version reads.

    Raises:
        SkewError: It does not.
    """
    if number > FORMAT:
        raise SkewError(
            f"{where} has format {number}, and this version of Pilothouse reads up to {FORMAT}: run the newer version "
            f"again, or go back to the copy that was made before: `pilothouse restore --force` with "
            f"before-format-{FORMAT + 1}.backup in the data directory"
        )
    if number < FORMAT - 1:
        raise SkewError(
            f"{where} has format {number}, and this version of Pilothouse reads {FORMAT - 1} and {FORMAT}: upgrade one "
            f"version at a time; first run a version of format {number + 1} everywhere, until the format is raised"
        )


def number_of(found: Format | None, revision: int) -> int:
    """Return the format of a store at *revision*; one in which nothing was ever written has the newest."""
    if found is not None:
        return found.number
    return 1 if revision else FORMAT


def number_in(body: bytes | None) -> int:
    """Return the format that a stored object says, whatever else this or a later version wrote into it."""
    if body is None:
        return 1
    raw = msgspec.json.decode(body)
    number = raw.get("number", 1) if isinstance(raw, dict) else None
    if not isinstance(number, int):
        raise SkewError("the store's format cannot be read; run the version of Pilothouse that ran here before")
    return number


def fit(value: V, number: int, *, asked: bool = False, new: Mapping[int, Mapping[str, str]] = NEW) -> V:
    """Return *value* without what came after format *number*.

    Fields go back to their defaults, and members of enumerations become those that stand in for them.

    Args:
        value: A value of the model, or anything made of such.
        number: The platform's format.
        asked: A person wants it so; then it is refused, because it must not be left out in silence.
        new: What each format brought.

    Raises:
        NotYetError: A person asked for it, or it is of a kind that came later.
    """
    later = {name: instead for since, brought in new.items() if since > number for name, instead in brought.items()}
    return value if not later else cast("V", _fit(value, later, number, asked=asked))


def _fit(value: object, later: Mapping[str, str], number: int, *, asked: bool) -> object:
    if isinstance(value, msgspec.Struct):
        return _fit_struct(value, later, number, asked=asked)
    if isinstance(value, enum.Enum):
        name = f"{type(value).__name__}.{value.name}"
        if name not in later:
            return value
        if asked or not later[name]:
            raise _not_yet(name, number)
        return type(value)[later[name]]
    if isinstance(value, tuple):
        return _same(value, tuple(_fit(each, later, number, asked=asked) for each in value))
    if isinstance(value, dict):
        fitted = {
            cast("Any", _fit(key, later, number, asked=asked)): _fit(each, later, number, asked=asked)
            for key, each in value.items()
        }
        return fitted if len(fitted) != len(value) or _differ(value.values(), fitted.values()) else value
    return value


def _fit_struct(value: msgspec.Struct, later: Mapping[str, str], number: int, *, asked: bool) -> object:
    kind = type(value).__name__
    if kind in later:
        raise _not_yet(kind, number)
    changed: dict[str, object] = {}
    for field in msgspec.structs.fields(value):
        now = getattr(value, field.name)
        name = f"{kind}.{field.name}"
        if name not in later:
            fitted = _fit(now, later, number, asked=asked)
        else:
            fitted = field.default if field.default is not msgspec.NODEFAULT else _made(field)
            if fitted != now and asked:
                raise _not_yet(name, number)
            if fitted == now and field.default is msgspec.NODEFAULT:
                continue
            # Equal is not enough: what is left out of the encoded form is the default itself.
        if fitted is not now:
            changed[field.name] = fitted
    return msgspec.structs.replace(value, **changed) if changed else value


def _made(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is msgspec.NODEFAULT:
        raise TypeError(f"{field.name} came with a later format, so it must have a default")
    return field.default_factory()


def _same(before: tuple[object, ...], after: tuple[object, ...]) -> tuple[object, ...]:
    return after if _differ(before, after) else before


def _differ(before: Iterable[object], after: Iterable[object]) -> bool:
    return any(one is not other for one, other in zip(before, after, strict=True))


def _not_yet(name: str, number: int) -> NotYetError:
    return NotYetError(
        f"{name} cannot be used before the upgrade of Pilothouse is finished: the platform's format is {number}. "
        "`pilothouse cluster format` says what holds it back"
    )
