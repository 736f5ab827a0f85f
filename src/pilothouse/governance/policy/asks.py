"""What a rule returns: one thing that needs a grant; and where in the manifest it stands."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

NOT_GRANTABLE = ""


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """The place a rule looks at, and what it must know about the rest of the app.

    Attributes:
        app: The app's name.
        service: The service's name, or "" for what belongs to the whole app.
        prefix: The path in the manifest so far, e.g. "services.db".
        services: The names of all services of the app.
        host_namespaces: Namespaces that the container shares with the host ("network", "ipc" …).
    """

    app: str
    service: str = ""
    prefix: str = ""
    services: frozenset[str] = frozenset()
    host_namespaces: frozenset[str] = frozenset()

    def key(self, name: str) -> str:
        """Return the manifest path of *name* below this place."""
        return f"{self.prefix}.{name}" if name else self.prefix


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a manifest asks for that the safe defaults forbid.

    Attributes:
        shown: The value as the manifest has it.
        kind, value: The grant that covers it; kind NOT_GRANTABLE if none can.
    """

    service: str
    key: str
    shown: str
    kind: str
    value: str
    reason: str


Rule = Callable[[Where, Any], Iterable[Ask]]


def free(_where: Where, _value: object) -> Iterable[Ask]:
    """Accept anything: the value stays inside the container or only makes it narrower."""
    return ()


def ask(where: Where, name: str, kind: str, value: str, reason: str, shown: str | None = None) -> Ask:
    """Return the ask for one value at ``where.prefix`` + *name*."""
    return Ask(
        service=where.service,
        key=where.key(name),
        shown=value if shown is None else shown,
        kind=kind,
        value=value,
        reason=reason,
    )


def flag(name: str, kind: str, reason: str) -> Rule:
    """Return the rule for a value that is harmless only while it is empty, false or zero."""

    def rule(where: Where, value: object) -> Iterable[Ask]:
        return (ask(where, name, kind, "", reason, str(value).lower()),) if value else ()

    return rule


def named(name: str, kind: str, reason: str, harmless: frozenset[str] = frozenset()) -> Rule:
    """Return the rule for texts (one, several, or the keys of a table) that each need a grant unless *harmless*."""

    def rule(where: Where, value: object) -> Iterable[Ask]:
        texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, (tuple, dict)) else ()
        return tuple(ask(where, name, kind, str(t), reason) for t in texts if t and t not in harmless)

    return rule
