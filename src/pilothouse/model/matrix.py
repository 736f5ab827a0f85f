"""Why a task has no place: every node held against every rule, and what would give it one. Made by the scheduler."""

import enum

from pilothouse.model.base import Value


class Lack(Value, frozen=True, kw_only=True):
    """A rule that nodes break, and what is missing there, in numbers: "has 1 of 4 cores free, and …"."""

    rule: str
    sentence: str


class NodeGroup(Value, frozen=True, kw_only=True):
    """Nodes that break the same rules.

    Attributes:
        count: How many there are.
        nodes: The names of the first of them.
        lacks: One for each broken rule.
    """

    count: int
    nodes: tuple[str, ...]
    lacks: tuple[Lack, ...]


class RuleRow(Value, frozen=True, kw_only=True):
    """One rule over every node: how many keep it and how many break it."""

    rule: str
    kept: int
    broken: int


class RemedyKind(enum.Enum):
    """What would have to change: the task's reservation, a node, or what else is there."""

    RESERVATION = "reservation"
    LABEL = "label"
    TAINT = "taint"
    AVAILABILITY = "availability"
    LIMIT = "limit"
    ROOM = "room"
    WAIT = "wait"


class Remedy(Value, frozen=True, kw_only=True):
    """One change after which the task has a place.

    Attributes:
        node: The id of the node it would then have a place on.
        sentence: What to do, in words.
        kind, name: Of RESERVATION, which amount ("cpu", "memory", "pids" or the kind); of LABEL, its key; of ROOM, the
            task to stop; of TAINT, the taint.
        value: Of RESERVATION, how much less (in billionths of a core, bytes, or pieces); of LABEL, its value.
    """

    kind: RemedyKind
    node: str
    sentence: str
    name: str = ""
    value: str = ""


class Matrix(Value, frozen=True, kw_only=True):
    """The whole answer for one task.

    Attributes:
        task: Its id.
        sentence: The answer in one sentence.
        nodes: How many nodes there are.
        suitable: How many of them suit.
        suit: The names of the first of those.
        rules: In the order in which they are asked; those that every node keeps included.
        groups: The nodes that do not suit, those that lack the least first.
        remedies: The smallest change first; empty if nothing alone would help.
    """

    task: str
    sentence: str
    nodes: int
    suitable: int
    suit: tuple[str, ...] = ()
    rules: tuple[RuleRow, ...] = ()
    groups: tuple[NodeGroup, ...] = ()
    remedies: tuple[Remedy, ...] = ()
