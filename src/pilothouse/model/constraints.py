"""Placement constraints in Swarm's grammar: `node.labels.disk == ssd`, `node.hostname != db1`. Pure values.

Keys are compared exactly, values without regard to case. A platform with one node has one role, "manager".
"""

import re

from pilothouse.errors import InvalidManifestError
from pilothouse.model.base import Value
from pilothouse.model.objects import Node

_FORM = re.compile(r"\s*(?P<key>[A-Za-z0-9._/-]+?)\s*(?P<operator>==|!=)\s*(?P<value>\S(?:.*\S)?)\s*\Z")
_LABELS = ("node.labels.", "engine.labels.")
_PLAIN_KEYS = frozenset(
    {"node.id", "node.hostname", "node.role", "node.platform.os", "node.platform.arch", "node.os", "node.arch"}
)
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
}
ROLE = "manager"


class Constraint(Value, frozen=True, kw_only=True):
    """One condition on a node; *equal* is False for "!="."""

    key: str
    equal: bool
    value: str


def parse_constraint(text: str) -> Constraint:
    """Return what *text* asks for.

    Raises:
        InvalidManifestError: It is not `KEY == VALUE` or `KEY != VALUE`, or the key names nothing a node has.
    """
    found = _FORM.match(text)
    if not found:
        raise InvalidManifestError(
            f"placement constraint {text[:120]!r} cannot be read: write KEY==VALUE or KEY!=VALUE, "
            "e.g. node.labels.disk==ssd"
        )
    key = found["key"]
    if key not in _PLAIN_KEYS and not any(key.startswith(p) and len(key) > len(p) for p in _LABELS):
        known = ", ".join(sorted(_PLAIN_KEYS))
        raise InvalidManifestError(
            f"placement constraint {text[:120]!r}: a node has no {key!r}; write one of {known} or node.labels.NAME"
        )
    return Constraint(key=key, equal=found["operator"] == "==", value=found["value"])


def satisfies(constraint: Constraint, node: Node) -> bool:
    """Tell whether *node* meets *constraint*; a label a node does not have differs from every value."""
    same = _normal(constraint.key, actual(constraint.key, node)) == _normal(constraint.key, constraint.value)
    return same is constraint.equal


def actual(key: str, node: Node) -> str:
    """Return what *node* has under *key*, "" if nothing."""
    for prefix in _LABELS:
        if key.startswith(prefix):
            return node.spec.labels.get(key.removeprefix(prefix), "")
    plain = {
        "node.id": node.id,
        "node.hostname": node.description.hostname,
        "node.role": ROLE,
        "node.platform.os": node.description.os,
        "node.os": node.description.os,
        "node.platform.arch": node.description.arch,
        "node.arch": node.description.arch,
    }
    return plain.get(key, "")


def normal_architecture(name: str) -> str:
    """Return an architecture's one spelling ("amd64" for "x86_64")."""
    lower = name.lower()
    return _ARCHITECTURES.get(lower, lower)


def _normal(key: str, value: str) -> str:
    return normal_architecture(value) if key.endswith("arch") else value.casefold()
