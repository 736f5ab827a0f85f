"""What differs between two values of the model, field by field, as text for people: deploy, explain and audit use it.

Pure. Paths follow the model ("task.container.environment.DEBUG"). The content of a secret never appears, nor the value
of a variable, header or option whose name or form says that it is one.
"""

import enum
import re
import shlex
from collections.abc import Iterable, Iterator

import msgspec

from pilothouse.model.objects import FieldChange

HIDDEN = "(hidden)"
LONGEST = 200
# Fields whose values are texts a user chose and may have put a password into.
_TELLING_FIELDS = frozenset({"environment", "headers", "options", "driver_opts", "labels", "annotations"})
_SECRET_NAME = re.compile(
    r"passw|passphrase|pwd|secret|token|credential|private|auth|cookie|session|signature|salt|dsn|api_?key|"
    r"(?:^|[_.-])(?:key|pass|pin)(?:$|[_.-])",
    re.IGNORECASE,
)
_SECRET_VALUE = re.compile(r"://[^/\s:@]*:[^/\s@]+@|-----BEGIN |\beyJ[\w-]{10,}\.")
# What tells the elements of a list apart, in order of preference.
_IDENTITIES = ("key", "name", "service", "network", "target", "path")


def diff(before: object, after: object, prefix: str = "") -> tuple[FieldChange, ...]:
    """Return every difference between two values; () if and only if they are equal."""
    return tuple(_changes(before, after, prefix, ""))


def secret_like(name: str, value: str) -> bool:
    """Return whether a variable should not be shown: by its name, or because its value holds a password or key."""
    return bool(_SECRET_NAME.search(name) or _SECRET_VALUE.search(value))


def shown(value: object, field: str = "") -> str:
    """Return *value*, which stands in *field*, as short text that may be read by anyone."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    if isinstance(value, enum.Enum):
        return str(value.value)
    plain = _open(msgspec.to_builtins(value, enc_hook=str), field)
    if isinstance(plain, list) and all(isinstance(item, str) for item in plain):
        return _cut(shlex.join(plain)) if plain else "(empty)"
    return _cut(plain if isinstance(plain, str) else msgspec.json.encode(plain).decode())


def _changes(before: object, after: object, path: str, field: str) -> Iterator[FieldChange]:
    """Yield the differences of the values of *field*, which stands at *path*."""
    if type(before) is type(after) and before == after:
        return
    if isinstance(before, msgspec.Struct) and type(before) is type(after):
        for name in before.__struct_fields__:
            yield from _changes(getattr(before, name), getattr(after, name), _join(path, name), name)
    elif isinstance(before, dict) and isinstance(after, dict):
        yield from _entries(before, after, path, field)
    elif isinstance(before, tuple) and isinstance(after, tuple) and _structs(before) and _structs(after):
        yield from _elements(before, after, path)
    else:
        yield FieldChange(path=path, before=shown(before, field), after=shown(after, field))


def _entries(before: dict[str, object], after: dict[str, object], path: str, field: str) -> Iterator[FieldChange]:
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if field in _TELLING_FIELDS and (secret_like(key, str(old)) or secret_like(key, str(new))):
            shown = ("" if value is None else HIDDEN for value in (old, new))
            yield FieldChange(path=_join(path, key), before=next(shown), after=next(shown))
        else:
            yield from _changes(old, new, _join(path, key), key)


def _elements(before: tuple[object, ...], after: tuple[object, ...], path: str) -> Iterator[FieldChange]:
    old, new = _by_identity(before, after)
    keys = dict.fromkeys([*old, *new])
    found = [c for key in keys for c in _changes(old.get(key), new.get(key), f"{path}[{key}]", "")]
    if not found:
        found = [FieldChange(path=path, before=_cut("in order: " + ", ".join(old)), after=_cut(", ".join(new)))]
    yield from found


def _by_identity(before: tuple[object, ...], after: tuple[object, ...]) -> tuple[dict[str, object], dict[str, object]]:
    """Return both lists by what tells their elements apart, by place if nothing does."""
    for field in _IDENTITIES:
        old = {str(getattr(item, field, "")): item for item in before}
        new = {str(getattr(item, field, "")): item for item in after}
        if len(old) == len(before) and len(new) == len(after) and not {"", "0"} & (old.keys() | new.keys()):
            return old, new
    return dict(_placed(before)), dict(_placed(after))


def _placed(items: tuple[object, ...]) -> Iterator[tuple[str, object]]:
    return ((str(place), item) for place, item in enumerate(items))


def _structs(items: tuple[object, ...]) -> bool:
    return all(isinstance(item, msgspec.Struct) for item in items)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _open(value: object, field: str) -> object:
    """Return plain data with everything secret-like in it hidden."""
    if isinstance(value, dict):
        return {
            key: HIDDEN if field in _TELLING_FIELDS and secret_like(key, str(inner)) else _open(inner, key)
            for key, inner in value.items()
        }
    if isinstance(value, str):
        return HIDDEN if _SECRET_VALUE.search(value) else value
    return list(_words(value, field)) if isinstance(value, list | tuple) else value


def _words(items: Iterable[object], field: str) -> Iterator[object]:
    """Yield list elements; of a command line, what follows `--password` or stands behind `password=` is hidden."""
    expected = False
    for item in items:
        name, equals, _ = item.partition("=") if isinstance(item, str) else ("", "", "")
        if expected:
            yield HIDDEN
        elif equals and _SECRET_NAME.search(name):
            yield f"{name}={HIDDEN}"
        else:
            yield _open(item, field)
        expected = not expected and not equals and name.startswith("-") and bool(_SECRET_NAME.search(name))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
