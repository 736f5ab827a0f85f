"""A tree of nodes to plain values: merge keys, duplicate keys, `!reset`, `!override`, and where everything stands."""

from dataclasses import dataclass, field

from pilothouse.compose import limits, scalars, yaml_tree
from pilothouse.compose.problems import Mark, Marks, Path, Problems, broken
from pilothouse.compose.shapes import Tree

_MERGE = "<<"
_MAX_NAME = 200
_RESET, _OVERRIDE = "!reset", "!override"


@dataclass(slots=True)
class Document:
    """One YAML document as plain values.

    Attributes:
        value: Mappings, lists and scalars; shares nothing with other documents.
        marks: Where each path in value stands in the file.
        cleared: Paths whose value in earlier files is dropped before this document is merged.
    """

    file: str
    value: Tree
    marks: Marks = field(default_factory=dict)
    cleared: list[Path] = field(default_factory=list)


def read(content: bytes, file: str) -> list[Document]:
    """Return the documents in the content of a file.

    Raises:
        InvalidManifestError: If it is too large, not YAML, or uses a key twice; all such keys are named at once.
    """
    start = Mark(file, 0, 0)
    if len(content) > limits.MAX_BYTES:
        raise broken(start, (), f"larger than {limits.MAX_BYTES} bytes; split the file with `include`")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise broken(start, (), f"not UTF-8 text at byte {error.start}; save it as UTF-8") from None
    problems = Problems()
    documents = [_Reader(file, problems).document(root) for root in yaml_tree.parse(text, file)]
    problems.raise_any()
    return documents


class _Gone:
    """What `!reset` leaves: nothing."""


_GONE = _Gone()


class _Reader:
    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._marks: Marks = {}
        self._cleared: list[Path] = []

    def document(self, root: yaml_tree.Node) -> Document:
        value = self._value(root, ())
        return Document(self._file, None if value is _GONE else value, self._marks, self._cleared)

    def _value(self, node: yaml_tree.Node, path: Path) -> Tree:
        if node.tag in {_RESET, _OVERRIDE}:
            self._cleared.append(path)
            if node.tag == _RESET:
                return _GONE
        self._marks[path] = node.mark
        if node.kind == "sequence":
            items: list[Tree] = []
            for child in node.children:
                value = self._value(child, (*path, len(items)))
                if value is not _GONE:
                    items.append(value)
                    self._listed(value, child.mark, path)
            return items
        if node.kind == "mapping":
            return self._mapping(node, path)
        return self._scalar(node, path)

    def _listed(self, item: Tree, mark: Mark, path: Path) -> None:
        """Mark an item of a list by its name too: `networks: [front]` is loaded as `networks.front`."""
        if isinstance(item, str) and len(item) <= _MAX_NAME:
            self._marks.setdefault((*path, item.partition("=")[0]), mark)

    def _scalar(self, node: yaml_tree.Node, path: Path) -> Tree:
        if node.plain:
            return scalars.resolve(node.text)
        if node.tag is None or node.tag == "!":
            return node.text
        try:
            return scalars.tagged(node.text, node.tag)
        except ValueError as error:
            self._problems.add(node.mark, path, str(error))
            return None

    def _mapping(self, node: yaml_tree.Node, path: Path) -> Tree:
        found: dict[str, Tree] = {}
        seen: dict[str, int] = {}
        pairs = list(zip(node.children[::2], node.children[1::2], strict=True))
        for key_node, value_node in pairs:
            if key_node.plain and key_node.text == _MERGE:
                self._merge(found, value_node, path)
        for key_node, value_node in pairs:
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in seen:
                again = f"the key is written twice, first in line {seen[key]}; keep one of them"
                self._problems.add(key_node.mark, (*path, key), again)
                continue
            seen[key] = key_node.mark.line
            if key == _MERGE and key_node.plain:
                continue
            value = self._value(value_node, (*path, key))
            if value is not _GONE:
                found[key] = value
                self._marks[(*path, key)] = key_node.mark
        return found

    def _merge(self, into: dict[str, Tree], node: yaml_tree.Node, path: Path) -> None:
        sources = node.children if node.kind == "sequence" else [node]
        for source in reversed(sources):
            if source.kind == "mapping":
                into.update(self._mapping(source, path))
            else:
                only = "only mappings can be merged with `<<`; write `<<: *name` of an anchored mapping"
                self._problems.add(source.mark, path, only)

    def _key(self, node: yaml_tree.Node, path: Path) -> str | None:
        if node.kind != "scalar":
            self._problems.add(node.mark, path, "a key must be a string, not a list or a mapping; write `name: value`")
            return None
        value = scalars.resolve(node.text) if node.plain else node.text
        if node.plain and node.text == _MERGE:
            return _MERGE
        if not isinstance(value, str):
            self._problems.add(
                node.mark, path, f'the key {node.text or "null"} is not a string; write it in quotes: "{node.text}"'
            )
            return None
        return value
