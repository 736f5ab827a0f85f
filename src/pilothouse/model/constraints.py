"""Placement constraints: Swarm's `node.labels.disk == ssd`, and `in (a, b)`, `>=`, `exists` beside it. Pure values.

A constraint is one condition on one fact of a node. Values are compared without regard to case. A label that a node
does not have differs from every value, is in no list, and no order holds for it. See docs/reference/placement.md.
"""

import difflib
import enum
import functools
import ipaddress
import operator
import re
from collections.abc import Callable

from pilothouse.errors import InvalidManifestError
from pilothouse.model.base import Value
from pilothouse.model.node import Node
from pilothouse.model.versions import Version, plain_version, version_of

LONGEST = 1_000
MOST_VALUES = 100


class Operator(enum.Enum):
    """How the fact of a node is held against what is written."""

    EQUAL = "=="
    DIFFERENT = "!="
    LESS = "<"
    AT_MOST = "<="
    MORE = ">"
    AT_LEAST = ">="
    IN = "in"
    NOT_IN = "not in"
    EXISTS = "exists"
    MISSING = "not exists"


class Constraint(Value, frozen=True, kw_only=True):
    """One condition on a node.

    Attributes:
        key: As it is written.
        values: What it is held against: one, several for IN and NOT_IN, none for EXISTS and MISSING.
    """

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it as a person would write it."""
        sign = self.operator.value
        if self.operator in {Operator.IN, Operator.NOT_IN}:
            return f"{self.key} {sign} ({', '.join(self.values)})"
        return " ".join((self.key, sign, *self.values))

    @property
    def order(self) -> bool:
        """Whether it compares by size."""
        return self.operator in _ORDERS


_ORDERS: dict[Operator, Callable[[Version, Version], bool]] = {
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.MORE: operator.gt,
    Operator.AT_LEAST: operator.ge,
}
_SIGNS = re.compile(r"[=!<>]+")
_WORDS = re.compile(r"(?:not\s+)?(?:in|exists)(?![A-Za-z0-9._/-])", re.IGNORECASE)
_KEY = re.compile(r"[A-Za-z0-9._/-]+")
_INSTEAD = {"=": "==", "===": "==", "<>": "!=", "=>": ">=", "=<": "<=", "=!": "!=", "!": "!="}

_LABEL_NAME = re.compile(r"(?:(?:node|engine)\.)?(?:labels?\.?)?", re.IGNORECASE)
_LABELS = ("node.labels.", "engine.labels.")
_ALIASES = {"node.os": "node.platform.os", "node.arch": "node.platform.arch"}
_FACTS: dict[str, Callable[[Node], str]] = {
    "node.id": lambda node: node.id,
    "node.hostname": lambda node: node.description.hostname,
    "node.role": lambda node: node.role,
    "node.ip": lambda node: node.description.address,
    "node.platform.os": lambda node: node.description.os,
    "node.platform.arch": lambda node: node.description.arch,
    "node.kernel": lambda node: node.description.kernel,
    "node.engine": lambda node: node.description.engine.partition(" ")[0],
    "node.engine.version": lambda node: node.description.engine.partition(" ")[2],
    "node.pilothouse.version": lambda node: node.description.version,
}
_VERSIONS = frozenset({"node.kernel", "node.engine.version", "node.pilothouse.version"})
KEYS = (*sorted({*_FACTS, *_ALIASES}), "node.labels.NAME")
"""Every key a constraint may have."""

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
}
_ROLES = {"manager": "manager", "agent": "agent", "worker": "agent"}


@functools.lru_cache(maxsize=10_000)
def parse_constraint(text: str) -> Constraint:
    """Return what *text* asks for.

    Raises:
        InvalidManifestError: It cannot be read, or asks for what no node has; the message says where and what to write.
    """
    if len(text) > LONGEST:
        raise InvalidManifestError(
            f"placement constraint {text[:60]!r}… has {len(text):,} characters; at most {LONGEST:,} can be read: "
            "label the nodes and ask for the label"
        )
    return _Reading(text).constraint()


def satisfies(constraint: Constraint, node: Node) -> bool:
    """Tell whether *node* meets *constraint*."""
    return holds(constraint, fact(constraint.key, node))


def holds(constraint: Constraint, value: str | None) -> bool:
    """Tell whether *value*, None if the node has no such thing, is what *constraint* asks for."""
    match constraint.operator:
        case Operator.EXISTS:
            return value is not None
        case Operator.MISSING:
            return value is None
        case Operator.EQUAL | Operator.IN:
            return value is not None and any(_same(constraint.key, value, wanted) for wanted in constraint.values)
        case Operator.DIFFERENT | Operator.NOT_IN:
            return value is None or not any(_same(constraint.key, value, wanted) for wanted in constraint.values)
        case _:
            have, wanted = version_of(value or ""), version_of(constraint.values[0])
            return have is not None and wanted is not None and _ORDERS[constraint.operator](have, wanted)


def fact(key: str, node: Node) -> str | None:
    """Return what *node* has under *key*, None if nothing; a label may be there and be empty."""
    known = canonical(key)
    if known in _FACTS:
        return _FACTS[known](node) or None
    return node.spec.labels.get(known.removeprefix(_LABELS[0]))


def actual(key: str, node: Node) -> str:
    """Return what *node* has under *key*, "" if nothing."""
    return fact(key, node) or ""


def canonical(key: str) -> str:
    """Return the one spelling of *key*: all keys of one spelling ask for the same fact."""
    lower = key.lower()
    for prefix in _LABELS:
        if lower.startswith(prefix):
            return _LABELS[0] + key[len(prefix) :]
    return _ALIASES.get(lower, lower)


def normal_architecture(name: str) -> str:
    """Return an architecture's one spelling ("amd64" for "x86_64")."""
    lower = name.lower()
    return _ARCHITECTURES.get(lower, lower)


def _same(key: str, value: str, wanted: str) -> bool:
    match canonical(key):
        case "node.platform.arch":
            return normal_architecture(value) == normal_architecture(wanted)
        case "node.role":
            return value == _ROLES.get(wanted.casefold())
        case "node.ip":
            return _within(value, wanted)
        case _:
            return value.casefold() == wanted.casefold()


def _within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


class _Reading:
    """One pass over the text of a constraint, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def constraint(self) -> Constraint:
        key = self._key()
        sign = self._operator(key)
        if sign in {Operator.EXISTS, Operator.MISSING}:
            self._end(f"follows {sign.value}, which takes no value; remove it")
            return Constraint(key=key, operator=sign)
        values = self._several(sign) if sign in {Operator.IN, Operator.NOT_IN} else (self._value(sign),)
        found = Constraint(key=key, operator=sign, values=values)
        if found.order:
            self._check_order(found)
        self._check_values(found)
        return found

    def _key(self) -> str:
        self._blanks()
        found = _KEY.match(self._text, self._at)
        if found is None:
            raise self._wrong("the key of a node belongs here", f"write one of {', '.join(KEYS)}")
        # A key may hold a dash and a sign may follow it at once: `node.id==a`, never `node.id-==a`.
        key = found[0]
        known = canonical(key)
        if known not in _FACTS and not (known.startswith(_LABELS[0]) and len(known) > len(_LABELS[0])):
            raise self._wrong(f"a node has no {key!r}", _nearest(key))
        self._at = found.end()
        return key

    def _operator(self, key: str) -> Operator:
        self._blanks()
        word = _WORDS.match(self._text, self._at)
        if word is not None:
            self._at = word.end()
            return Operator(" ".join(word[0].lower().split()))
        sign = _SIGNS.match(self._text, self._at)
        if sign is not None and sign[0] in {each.value for each in Operator}:
            self._at = sign.end()
            return Operator(sign[0])
        if sign is not None:
            instead = _INSTEAD.get(sign[0])
            raise self._wrong(
                f"{sign[0][:20]!r} is no operator",
                f"write {instead}" if instead else f"write one of {_all_operators()}",
            )
        what = f"{self._rest()!r} is no operator" if self._rest() else "an operator and a value are missing"
        raise self._wrong(what, f"write {key} == VALUE, or one of {_all_operators()}")

    def _value(self, sign: Operator) -> str:
        self._blanks()
        value = self._text[self._at :].strip()
        if not value:
            raise self._wrong("the value is missing", f"write one after {sign.value}, or `exists` for any value")
        if second := re.search(r"[=!<>]=|&&|\|\|", value):
            self._at += second.start()
            raise self._wrong(
                f"{second[0]!r} begins another condition",
                "write each condition as a constraint of its own; all must hold",
            )
        return value

    def _several(self, sign: Operator) -> tuple[str, ...]:
        self._blanks()
        if self._text[self._at : self._at + 1] != "(":
            raise self._wrong("a list in parentheses belongs here", f"write {sign.value} (A, B)")
        close = self._text.find(")", self._at)
        if close < 0:
            self._at = len(self._text)
            raise self._wrong("the list has no end", "write ) after its last value")
        values: list[str] = []
        begin = self._at + 1
        for part in self._text[begin:close].split(","):
            self._at = begin
            if not part.strip() or "(" in part:
                raise self._wrong("a value is missing" if not part.strip() else "a list cannot hold a list",
                                  f"write {sign.value} (A, B), with commas between values only")  # fmt: skip
            values.append(part.strip())
            begin += len(part) + 1
        self._at = close + 1
        self._end("follows the list; write each condition as a constraint of its own")
        if len(values) > MOST_VALUES:
            raise self._wrong(f"{len(values)} values are too many", f"write {MOST_VALUES} at most, or a label for them")
        return tuple(values)

    def _check_order(self, found: Constraint) -> None:
        key, value = canonical(found.key), found.values[0]
        self._at = self._text.rindex(value)
        if key in _FACTS and key not in _VERSIONS:
            raise self._wrong(f"{found.key} has no order", "write ==, != or in (A, B)")
        if version_of(value) is None:
            raise self._wrong(f"{value[:40]!r} is no number or version", f"write one such as {found.key} >= 1.10")
        plain = plain_version(value)
        if plain != value.removeprefix("v"):
            raise self._wrong(f"of {value[:40]!r} only {plain} would be compared", f"write {plain}")

    def _check_values(self, found: Constraint) -> None:
        key = canonical(found.key)
        for value in found.values:
            self._at = max(self._text.find(value, len(found.key)), 0)
            if key == "node.role" and value.casefold() not in _ROLES:
                raise self._wrong(f"{value[:40]!r} is no role", "write manager or agent (worker means agent)")
            if key == "node.ip" and not _is_network(value):
                raise self._wrong(f"{value[:40]!r} is no address", "write one such as 10.1.2.3, or 10.1.0.0/16")

    def _blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _rest(self) -> str:
        return self._text[self._at :].strip()[:40]

    def _end(self, why: str) -> None:
        self._blanks()
        if self._rest():
            raise self._wrong(f"{self._rest()!r} {why.partition('; ')[0]}", why.partition("; ")[2])

    def _wrong(self, what: str, instead: str) -> InvalidManifestError:
        shown = self._text if len(self._text) <= 120 else f"{self._text[:120]}…"
        return InvalidManifestError(
            f"placement constraint {shown!r} cannot be used: at character {self._at + 1}: {what}; {instead}"
        )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _all_operators() -> str:
    return ", ".join(each.value + (" (A, B)" if each in {Operator.IN, Operator.NOT_IN} else "") for each in Operator)


def _nearest(key: str) -> str:
    label = _LABEL_NAME.sub("", key, count=1)[:60]
    # What stands after "node." is compared: that they begin alike makes no two keys near.
    names = {known.removeprefix("node."): known for known in (*_FACTS, *_ALIASES)}
    if near := difflib.get_close_matches(label.lower(), names, 1, cutoff=0.7):
        return f"did you mean {names[near[0]]!r}? Write node.labels.{label} for a label"
    return f"write node.labels.{label or 'NAME'} for a label, or one of {', '.join(KEYS)}"
