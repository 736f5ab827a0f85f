"""Is a document a Compose document: known keys, allowed types, required keys, distinct items.

Pure: a value and its shape in, findings out. A single file is checked partly (it may be completed by another one),
the merged result wholly.
"""

import difflib
import json
import re

from pilothouse.compose.problems import Marks, Path, Problems, nearest
from pilothouse.compose.shapes import Listing, Named, Pairs, Scalar, Shape, Struct, Tree, Words

_ARTICLES = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "a mapping",
}
_FOUND = {"string": "the string", "integer": "the number", "number": "the number", "boolean": "the boolean"}
_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    str: "string",
    list: "array",
    dict: "object",
}
_LEGACY = {
    "dockerfile": "write it under `build`",
    "env_files": "write `env_file`",
    "log_driver": "write `logging: {driver: …}`",
    "log_opt": "write `logging: {options: …}`",
    "net": "write `network_mode`",
    "volume_driver": "write the driver of a top-level volume",
}


def check(
    value: Tree, shape: Shape, marks: Marks, file: str, problems: Problems, *, whole: bool, at: Path = ()
) -> None:
    """Report everything in value that its shape does not allow.

    Args:
        whole: Whether nothing will be merged into it any more, so that what is missing is missing.
        at: Where value stands in the document that marks belong to.
    """
    _Checker(marks, file, problems, whole).value(value, shape, at)


def kind(value: Tree) -> str:
    """Return the JSON type of a value."""
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    return _KINDS[type(value)]


def suggestion(key: str, known: list[str]) -> str:
    """Return what to write instead of an unknown key."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"write `{close[0]}`"
    return "remove it, or start its name with `x-` to keep it as an extension"


class _Checker:
    def __init__(self, marks: Marks, file: str, problems: Problems, whole: bool) -> None:
        self._marks = marks
        self._file = file
        self._problems = problems
        self._whole = whole

    def value(self, value: Tree, shape: Shape, path: Path) -> None:
        match shape:
            case Scalar():
                self._scalar(value, shape, path)
            case Struct():
                self._struct(value, shape, path)
            case Listing():
                self._listing(value, shape, path)
            case Named():
                self._named(value, shape, path)
            case Pairs():
                self._pairs(value, shape, path)
            case Words():
                self._words(value, shape, path)

    def _say(self, path: Path, message: str) -> None:
        self._problems.add(nearest(self._marks, path, self._file), path, message)

    def _type(self, value: Tree, accepts: frozenset[str], path: Path) -> bool:
        found = kind(value)
        if found in accepts or (found == "integer" and "number" in accepts):
            return True
        names = [
            _ARTICLES[name] for name in _ARTICLES if name in accepts and not (name == "integer" and "number" in accepts)
        ]
        what = f"{_FOUND[found]} {_shown(value)}" if found in _FOUND else _ARTICLES[found]
        self._say(path, f"{what} cannot stand here; write {' or '.join(names)}{_quoting(value, accepts)}")
        return False

    def _scalar(self, value: Tree, shape: Scalar, path: Path) -> None:
        if not self._type(value, shape.accepts, path):
            return
        if shape.choices and value not in shape.choices:
            self._say(path, f"{_shown(value)} is not one of its values; write {', '.join(shape.choices)}")
        if shape.pattern and isinstance(value, str) and not re.search(shape.pattern, value):
            self._say(path, f"{_shown(value)} does not have its form; write something that matches {shape.pattern}")
        if isinstance(value, int) and not isinstance(value, bool):
            if shape.low is not None and value < shape.low:
                self._say(path, f"{value} is too small; write {shape.low} or more")
            if shape.high is not None and value > shape.high:
                self._say(path, f"{value} is too large; write {shape.high} or less")

    def _struct(self, value: Tree, shape: Struct, path: Path) -> None:
        accepts = {"object", *shape.short, *(["null"] if shape.nullable else [])}
        if not self._type(value, frozenset(accepts), path) or not isinstance(value, dict):
            return
        for key, item in value.items():
            field = shape.fields.get(key)
            if field:
                self.value(item, field.shape, (*path, key))
            elif not (shape.extensions and key.startswith("x-")):
                advice = _LEGACY.get(key) if len(path) == 2 and path[0] == "services" else None
                self._say((*path, key), f"unknown key; {advice or suggestion(key, list(shape.fields))}")
        for key in shape.required if self._whole else ():
            if key not in value:
                self._say(path, f"`{key}` is missing; write `{key}: …`")

    def _listing(self, value: Tree, shape: Listing, path: Path) -> None:
        accepts = frozenset({"array", "string"} if shape.lone else {"array"})
        if not self._type(value, accepts, path) or not isinstance(value, list):
            return
        for index, item in enumerate(value):
            self.value(item, shape.item, (*path, index))
        if shape.distinct and self._whole:
            self._distinct(value, path)

    def _distinct(self, value: list[Tree], path: Path) -> None:
        seen: dict[str, int] = {}
        for index, item in enumerate(value):
            text = json.dumps(item, sort_keys=True, default=str)
            if text in seen:
                self._say((*path, index), f"{_shown(item)} is already in the list; remove one of them")
            seen[text] = index

    def _named(self, value: Tree, shape: Named, path: Path) -> None:
        accepts = frozenset({"object", "array"} if shape.names else {"object"})
        if not self._type(value, accepts, path):
            return
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._type(item, frozenset({"string"}), (*path, index))
            self._distinct(value, path)
            return
        for key, item in value.items():
            if not re.search(shape.key, key):
                self._say((*path, key), "not a name; write letters, digits, `.`, `_` and `-` only")
            else:
                self.value(item, shape.value, (*path, key))

    def _pairs(self, value: Tree, shape: Pairs, path: Path) -> None:
        accepts = frozenset({"object", "array"} if shape.listed else {"object"})
        if not self._type(value, accepts, path):
            return
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._type(item, frozenset({"string"}), (*path, index))
            if self._whole:
                self._distinct(value, path)
            return
        for key, item in value.items():
            self._pair(key, item, shape, path)

    def _pair(self, key: str, item: Tree, shape: Pairs, path: Path) -> None:
        if shape.listed and not key.strip("\n"):
            self._say((*path, key), "has no name; write NAME: VALUE")
        elif shape.lists and isinstance(item, list):
            for index, part in enumerate(item):
                self._type(part, shape.values, (*path, key, index))
        elif shape.values:
            self._type(item, shape.values | ({"array"} if shape.lists else set()), (*path, key))

    def _words(self, value: Tree, shape: Words, path: Path) -> None:
        accepts = frozenset({"string", "array", *(["null"] if shape.nullable else [])})
        if self._type(value, accepts, path) and isinstance(value, list):
            for index, item in enumerate(value):
                self._type(item, frozenset({"string"}), (*path, index))


def _shown(value: Tree) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _quoting(value: Tree, accepts: frozenset[str]) -> str:
    if accepts >= {"string"} and isinstance(value, (bool, int, float)):
        return f': "{_shown(value)}"'
    return ""
