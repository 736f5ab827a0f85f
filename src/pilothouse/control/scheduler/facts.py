"""What the nodes' facts say to constraints, tolerations, platforms and levels, kept by place until a node changes.

A constraint is asked once for each distinct set of facts, not once for each node.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np

from pilothouse.control.scheduler.columns import Columns, Ints, Mask
from pilothouse.errors import InvalidManifestError
from pilothouse.model.constraints import actual, normal_architecture, parse_constraint, satisfies
from pilothouse.model.node import Node
from pilothouse.model.placement import Placement
from pilothouse.model.taints import unbearable

K = TypeVar("K")
_KEPT = 2_000
"""So many answers are kept of each kind; then all are forgotten and made again as they are asked for."""
_BY_LABEL = ("node.labels.", "engine.labels.")
_BY_CLASS = frozenset({"node.role", "node.os", "node.arch", "node.platform.os", "node.platform.arch"})
NODE_LEVELS = frozenset({"node", "node.id"})


class Level:
    """The nodes by the value of one key.

    Attributes:
        codes: Of each place; 0 where the node has no such value.
        values: By code.
    """

    def __init__(self) -> None:
        self.codes: Ints = np.zeros(0, np.int64)
        self.values: list[str] = [""]
        self._known: dict[str, int] = {"": 0}

    def code(self, value: str) -> int:
        """Return the code of *value*."""
        if value not in self._known:
            self._known[value] = len(self.values)
            self.values.append(value)
        return self._known[value]


class _Kept:
    """An answer for every place, and how many changes it has seen."""

    __slots__ = ("answers", "seen")

    def __init__(self, answers: Mask, seen: int) -> None:
        self.answers = answers
        self.seen = seen


class Facts:
    """Answers for every place."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._masks: dict[object, _Kept] = {}
        self._levels: dict[str, tuple[Level, list[int]]] = {}
        self._others: dict[object, object] = {}
        self._seen = 0

    def meets(self, constraint: str) -> Mask:
        """Return which nodes meet a constraint as it is written; none if it cannot be read."""
        return self._mask(("constraint", constraint), lambda: _constraint(constraint))

    def runs(self, platform: str) -> Mask:
        """Return which nodes run "OS[/ARCHITECTURE[/VARIANT]]"."""
        return self._mask(("platform", platform), lambda: lambda node: runs(node, platform))

    def bears(self, placement: Placement) -> Mask:
        """Return which nodes have no taint that a service with *placement* cannot live with."""
        return self._mask(
            ("taints", placement.tolerations), lambda: lambda node: not unbearable(placement, node.spec.taints)
        )

    def level(self, key: str) -> Level:
        """Return the nodes by the value of *key*; "node" is a level of single nodes."""
        if key not in self._levels:
            self._levels[key] = (Level(), [0])
        level, seen = self._levels[key]
        columns = self._columns
        missing = len(columns) - len(level.codes)
        if missing > 0:
            level.codes = np.append(level.codes, np.zeros(missing, np.int64))
        for at in columns.changed[seen[0] :]:
            node = columns.nodes[at]
            value = "" if node is None else node.id if key in NODE_LEVELS else actual(key, node)
            level.codes[at] = level.code(value)
        seen[0] = len(columns.changed)
        return level

    def kept(self, key: object, make: Callable[[], K]) -> K:
        """Return what *make* gave for *key* since a node last changed; one key is always of one type."""
        if self._seen != len(self._columns.changed) or len(self._others) >= _KEPT:
            self._others.clear()
            self._seen = len(self._columns.changed)
        if key not in self._others:
            self._others[key] = make()
        return cast("K", self._others[key])

    def _mask(self, key: object, asker: Callable[[], Callable[[Node], bool]]) -> Mask:
        kept = self._masks.get(key)
        columns = self._columns
        news = len(columns.changed)
        if kept is not None and kept.seen == news:
            return kept.answers
        ask = asker()
        if kept is None or len(kept.answers) != len(columns) or news - kept.seen > len(columns):
            answers = np.fromiter((node is not None and ask(node) for node in columns.nodes), np.bool_, len(columns))
        else:
            answers = kept.answers.copy()
            for at in set(columns.changed[kept.seen :]):
                node = columns.nodes[at]
                answers[at] = node is not None and ask(node)
        if len(self._masks) >= _KEPT:
            self._masks.clear()
        self._masks[key] = _Kept(answers, news)
        return answers


def runs(node: Node, platform: str) -> bool:
    """Whether *node* runs *platform*, as far as it says what it is."""
    system, _, rest = platform.partition("/")
    architecture = normal_architecture(rest.partition("/")[0])
    about = node.description
    wrong = (system and about.os and system.lower() != about.os.lower()) or (
        architecture and about.arch and architecture != normal_architecture(about.arch)
    )
    return not wrong


def _constraint(text: str) -> Callable[[Node], bool]:
    """Return what answers for a constraint, asking once for each distinct set of the facts it is about."""
    try:
        constraint = parse_constraint(text)
    except InvalidManifestError:
        return lambda _: False
    key = constraint.key.lower()
    if not key.startswith(_BY_LABEL) and key not in _BY_CLASS:
        return lambda node: satisfies(constraint, node)
    known: dict[object, bool] = {}

    def ask(node: Node) -> bool:
        about = node.description
        facts = (frozenset(node.spec.labels.items()), node.role, about.os, about.arch)
        if facts not in known:
            known[facts] = satisfies(constraint, node)
        return known[facts]

    return ask
