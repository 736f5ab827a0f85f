"""YAML text to a tree of nodes with their places, within limits and without recursion.

The tree is built from the parser's events, one by one, so that every limit is checked before the next node exists.
What a scalar means is decided in `scalars`, what a mapping means in `document`.
"""

from dataclasses import dataclass, field
from typing import Any

import yaml

from pilothouse.compose import limits
from pilothouse.compose.problems import Mark, broken

_NODES = (yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent)
_TOO_MANY = f"more than {limits.MAX_NODES} nodes; split the file with `include`"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True, eq=False)
class Node:
    """A scalar, a list or a mapping as written.

    Attributes:
        kind: "scalar", "sequence" or "mapping".
        tag: As written, or None.
        plain: Whether a scalar without quotes and tag, whose type follows from its text.
        children: Items of a sequence; keys and values by turns of a mapping.
        size: Nodes in it, aliases followed.
        height: Levels in it, aliases followed.
    """

    kind: str
    tag: str | None
    mark: Mark
    text: str = ""
    plain: bool = False
    children: list["Node"] = field(default_factory=list)
    size: int = 1
    height: int = 1


def parse(text: str, file: str) -> list[Node]:
    """Return the root of every document in text.

    Raises:
        InvalidManifestError: If it is no YAML, or a limit is exceeded; the message says where.
    """
    builder = _Builder(file)
    try:
        if len(text) >= 2 * limits.MAX_NODES:
            _count(text, file)
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = Mark(file, at.line + 1, at.column + 1) if at else Mark(file, 0, 0)
        detail = " ".join(part for part in (error.context, error.problem) if part)
        raise broken(mark, (), f"not valid YAML: {detail}; check indentation and quotes") from None
    except yaml.YAMLError as error:
        detail = str(error).splitlines()[0]
        raise broken(Mark(file, 0, 0), (), f"not valid YAML: {detail}; save it as plain UTF-8 text") from None
    return builder.roots


def _count(text: str, file: str) -> None:
    """Refuse a large text with too many nodes before one of them is built, which is three times as slow."""
    nodes = documents = 0
    for event in yaml.parse(text, Loader=_LOADER):
        nodes += isinstance(event, _NODES)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if nodes > limits.MAX_NODES:
            raise broken(_place(event, file), (), _TOO_MANY)
        if documents > limits.MAX_DOCUMENTS:
            raise broken(
                _place(event, file), (), f"more than {limits.MAX_DOCUMENTS} documents; write fewer files in one"
            )


def _place(event: Any, file: str) -> Mark:  # noqa: ANN401  # PyYAML's events carry no types
    return Mark(file, event.start_mark.line + 1, event.start_mark.column + 1)


class _Builder:
    def __init__(self, file: str) -> None:
        self.roots: list[Node] = []
        self._file = file
        self._open: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._nodes = 0
        self._aliases = 0

    def take(self, event: Any) -> None:  # noqa: ANN401  # PyYAML's events carry no types
        kind = type(event)
        if kind is yaml.ScalarEvent:
            tag = event.tag
            node = self._node("scalar", event)
            node.text = event.value
            node.plain = tag is None and event.implicit[0]
            self._place(node)
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            node = self._node("mapping" if kind is yaml.MappingStartEvent else "sequence", event)
            self._open.append(node)
            self._refuse(limits.too_deep(len(self._open)), node.mark)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._place(self._open.pop())
        elif kind is yaml.DocumentStartEvent:
            self._anchors = {}

    def _node(self, kind: str, event: Any) -> Node:  # noqa: ANN401
        start = event.start_mark
        node = Node(kind, event.tag, Mark(self._file, start.line + 1, start.column + 1))
        self._nodes += 1
        if self._nodes > limits.MAX_NODES:
            raise broken(node.mark, (), _TOO_MANY)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> None:  # noqa: ANN401
        mark = _place(event, self._file)
        self._aliases += 1
        if self._aliases > limits.MAX_ALIASES:
            raise broken(mark, (), f"more than {limits.MAX_ALIASES} aliases; write the values out")
        target = self._anchors.get(event.anchor)
        if target is None:
            message = f"alias *{event.anchor} has no anchor before it; write &{event.anchor} where it is defined"
            raise broken(mark, (), message)
        if any(node is target for node in self._open):
            raise broken(mark, (), f"alias *{event.anchor} is inside what it stands for; write the value out")
        self._place(target)

    def _place(self, node: Node) -> None:
        if not self._open:
            self.roots.append(node)
            return
        parent = self._open[-1]
        parent.children.append(node)
        parent.size += node.size
        if node.height >= parent.height:
            parent.height = node.height + 1
            self._refuse(limits.too_deep(len(self._open) + node.height - 1), node.mark)
        if parent.size > limits.MAX_EXPANDED:
            self._refuse(limits.too_wide(parent.size), node.mark)

    def _refuse(self, message: str, mark: Mark) -> None:
        if message:
            raise broken(mark, (), message)
