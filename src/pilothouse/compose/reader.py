"""Typed access to one place of the loaded model: a wrong value becomes a finding, and no key is overlooked.

Every key must be asked for by somebody; what nobody asked for is found by `Findings.finish`.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from pilothouse.compose import quantities
from pilothouse.compose.problems import invalid

T = TypeVar("T")
Finding = tuple[str, str]
# Where paths such as "services.web.ports.0" stand: file, line, column.
Places = Mapping[str, tuple[str, int, int]]
_NOWHERE = ("", 0, 0)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_./\[\]-]+\Z")
_KINDS: dict[type, str] = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}


def join(path: str, key: str) -> str:
    """Return the path of *key* below *path*; a key with blanks is quoted."""
    shown = key if _PLAIN_KEY.match(key) else repr(key[:80])
    return f"{path}.{shown}" if path else shown


def kind_of(value: object) -> str:
    """Return what *value* is, in words of the manifest."""
    return "nothing" if value is None else _KINDS.get(type(value), "a mapping")


class Findings:
    """What a conversion has to say: errors that stop it, warnings that do not."""

    def __init__(self) -> None:
        self.errors: list[Finding] = []
        self.warnings: list[Finding] = []
        self._readers: dict[tuple[str, int], Reader] = {}

    def open(self, value: object, path: str) -> "Reader":
        """Return the one reader of the mapping *value* at *path*, so that its unread keys are found at the end."""
        return self._readers.setdefault((path, id(value)), Reader(value, path, self))

    def finish(self, places: Places) -> tuple[str, ...]:
        """Return the warnings, each with its place if *places* knows it.

        Raises:
            InvalidManifestError: With every error.
        """
        for reader in self._readers.values():
            reader.complain_about_the_rest()
        if self.errors:
            raise invalid(_placed(self.errors, places))
        return tuple(_placed(self.warnings, places))


def _placed(findings: list[Finding], places: Places) -> list[str]:
    """Return findings as lines, those whose place is known in the order of the files."""
    found = [(_place(path, places), path, message) for path, message in dict.fromkeys(findings)]
    found.sort(key=lambda one: one[0] or _NOWHERE)
    return [
        ": ".join(part for part in ("{}:{}:{}".format(*place) if place else "", path, message) if part)
        for place, path, message in found
    ]


def _place(path: str, places: Places) -> tuple[str, int, int] | None:
    """Return where *path*, or the closest thing around it, stands in a file."""
    parts = [part for part in re.split(r"[.\[\]]+", path) if part]
    tries = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((places[known] for known in tries if known in places), None)


class Reader:
    """One mapping of the loaded model and its path."""

    def __init__(self, value: object, path: str, findings: Findings) -> None:
        self.path = path
        self.findings = findings
        self._value: Mapping[str, object] = {}
        if isinstance(value, Mapping):
            self._value = {str(key): found for key, found in value.items()}
        elif value is not None:
            findings.errors.append((path, f"must be a mapping, not {kind_of(value)}"))
        self._known: set[str] = set()

    def error(self, key: str, message: str) -> None:
        """Note that *key* cannot stay as it is; *message* says why and what to write instead."""
        self.findings.errors.append((join(self.path, key) if key else self.path, message))

    def warn(self, key: str, message: str) -> None:
        """Note something about *key* that somebody should read."""
        self.findings.warnings.append((join(self.path, key) if key else self.path, message))

    def has(self, key: str) -> bool:
        """Return whether *key* is written with a value."""
        return self.raw(key) is not None

    def names(self) -> tuple[str, ...]:
        """Return the keys that are written, as they stand."""
        return tuple(self._value)

    def raw(self, key: str) -> object:
        """Return the value of *key* as it stands, None if it is absent."""
        self._known.add(key)
        return self._value.get(key)

    def refuse(self, key: str, message: str) -> None:
        """Note *message* as an error if *key* is written with a value that asks for something."""
        if self.raw(key) not in (None, False, "", [], {}):
            self.error(key, message)

    def ignore(self, *keys: str) -> None:
        """Say that *keys* are known and mean nothing here."""
        self._known.update(keys)

    def complain_about_the_rest(self) -> None:
        """Note every key nobody asked for; extensions are nobody's business."""
        for key in self._value:
            if key not in self._known and not key.startswith("x-"):
                near = difflib.get_close_matches(key, sorted(self._known), 1)
                self.error(key, "is not a key of this place" + (f"; did you mean {near[0]!r}?" if near else ""))

    def parsed(self, key: str, parse: Callable[[object], T]) -> T | None:
        """Return *key* through *parse*, whose ValueError becomes a finding."""
        value = self.raw(key)
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as problem:
            self.error(key, str(problem))
            return None

    def text(self, key: str, default: str = "") -> str:
        """Return *key* as text; numbers and booleans become what the user would have typed."""
        found = self.parsed(key, as_text)
        return default if found is None else found

    def flag(self, key: str, default: bool = False) -> bool:
        """Return *key* as true or false."""
        found = self.maybe_flag(key)
        return default if found is None else found

    def maybe_flag(self, key: str) -> bool | None:
        """Return *key* as true, false or not stated."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return value
        self.error(key, f"must be true or false, not {kind_of(value)}")
        return None

    def integer(self, key: str) -> int | None:
        return self.parsed(key, quantities.integer)

    def number(self, key: str) -> float | None:
        return self.parsed(key, quantities.number)

    def seconds(self, key: str) -> float | None:
        return self.parsed(key, quantities.seconds)

    def byte_count(self, key: str) -> int | None:
        return self.parsed(key, quantities.byte_count)

    def items(self, key: str) -> list[object]:
        """Return *key* as a list; one text stands for a list of one."""
        value = self.raw(key)
        if isinstance(value, list | tuple):
            return list(value)
        if isinstance(value, str):
            return [value]
        if value is not None:
            self.error(key, f"must be a list, not {kind_of(value)}")
        return []

    def texts(self, key: str) -> tuple[str, ...]:
        """Return *key* as a list of text."""
        found = []
        for index, item in enumerate(self.items(key)):
            try:
                found.append(as_text(item))
            except ValueError as problem:
                self.error(f"{key}[{index}]", str(problem))
        return tuple(found)

    def command(self, key: str) -> tuple[str, ...] | None:
        """Return *key* as an argument list; None is the image's own."""
        return None if self.raw(key) is None else self.texts(key)

    def pairs(self, key: str) -> dict[str, str]:
        """Return *key* as names and texts; a name without a value is left out."""
        reader = self.child(key)
        return {name: reader.text(name) for name in reader.names() if reader.has(name)}

    def child(self, key: str) -> "Reader":
        """Return the mapping under *key*, an empty one if it is absent."""
        return self.findings.open(self.raw(key), join(self.path, key))

    def children(self, key: str) -> "Iterator[Reader]":
        """Yield each mapping of the list under *key*."""
        for index, item in enumerate(self.items(key)):
            yield self.findings.open(item, f"{join(self.path, key)}[{index}]")

    def entries(self, key: str) -> "Iterator[tuple[str, Reader]]":
        """Yield each name and mapping under *key*, sorted by name; a name without a value has an empty mapping."""
        parent = self.child(key)
        for name in sorted(parent.names()):
            yield name, self.findings.open(parent.raw(name), join(parent.path, name))


def as_text(value: object) -> str:
    """Return a scalar as text.

    Raises:
        ValueError: It is a list or a mapping, or no text that can be sent.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise ValueError(f"must be text, not {kind_of(value)}")
    text = str(value)
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        raise ValueError("holds half of a surrogate pair, which is no text; write the character itself")
    return text
