"""A loaded project as text, in the form and order of `docker compose config`."""

import json
import re
from collections.abc import Callable, Mapping

from pilothouse.compose import casts, yaml_out
from pilothouse.compose.project_keys import PROJECT
from pilothouse.compose.shapes import Listing, Named, Shape, Struct, Tree

_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_TO_ESCAPE = re.compile("[<>&\u2028\u2029]")


def as_json(project: Mapping[str, Tree]) -> str:
    """Return the project as the reference prints it with `--format json`: no extensions below the top, no models."""
    return escaped(_json(reference_form(project), ""))


def as_yaml(project: Mapping[str, Tree]) -> str:
    """Return the project as the reference prints it with `--format yaml`."""
    return escaped(yaml_out.dump(_yaml(project, PROJECT)))


def escaped(text: str) -> str:
    """Return text whose dollar signs survive another interpolation."""
    return text.replace("$", "$$")


def reference_form(project: Mapping[str, Tree]) -> dict[str, Tree]:
    """Return the part of a loaded project that the reference prints as JSON, in its order."""
    fields = {key: _bare(value, PROJECT.fields[key].shape) for key, value in project.items() if key in PROJECT.fields}
    fields.pop("models", None)
    extensions = {key: _sorted(value, dict) for key, value in project.items() if key.startswith("x-")}
    return dict(sorted({**fields, **extensions}.items()))


def _bare(value: Tree, shape: Shape) -> Tree:
    if isinstance(value, dict) and isinstance(shape, Struct):
        printed = {field.out or key: field.shape for key, field in shape.fields.items() if not field.silent}
        return {name: _bare(value[name], inner) for name, inner in printed.items() if name in value}
    if isinstance(value, dict) and isinstance(shape, Named):
        return {key: _bare(item, shape.value) for key, item in value.items()}
    if isinstance(value, list) and isinstance(shape, Listing):
        return [_bare(item, shape.item) for item in value]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [f"{item['id']}={item['path']}" if "path" in item else item["id"] for item in value]
    return value


def _yaml(value: Tree, shape: Shape | None) -> Tree:
    """Return value as it is laid out as YAML: keys in lower case, empty structures left out, limits always in full."""
    if isinstance(value, dict) and isinstance(shape, Struct):
        if shape.plain == "whole":
            return {"soft": value.get("soft", 0), "hard": value.get("hard", 0)}
        laid: dict[str, Tree] = {}
        for key, field in shape.fields.items():
            name = field.out or key
            item = _yaml(value.get(name), field.shape)
            hidden = field.silent or name not in value or (field.always and _is_nothing(item))
            if not hidden:
                laid[key] = item
        laid.update((key, _sorted(value[key], yaml_out.in_order)) for key in value if key.startswith("x-"))
        return laid
    if isinstance(value, dict):
        inner = shape.value if isinstance(shape, Named) else None
        return yaml_out.in_order({key: _yaml(item, inner) for key, item in value.items()})
    if isinstance(value, list) and isinstance(shape, Listing):
        return [_yaml(item, shape.item) for item in value]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [f"{item['id']}: {item['path']}" if "path" in item else item["id"] for item in value]
    return value


def _is_nothing(value: Tree) -> bool:
    return value is None or value == {}


def _sorted(value: Tree, order: Callable[[Mapping[str, Tree]], dict[str, Tree]]) -> Tree:
    if isinstance(value, dict):
        return order({key: _sorted(item, order) for key, item in sorted(value.items())})
    return [_sorted(item, order) for item in value] if isinstance(value, list) else value


def _json(value: Tree, indent: str) -> str:
    deeper = indent + "  "
    if isinstance(value, dict):
        if not value:
            return "{}"
        inner = ",\n".join(f"{deeper}{_string(key)}: {_json(item, deeper)}" for key, item in value.items())
        return f"{{\n{inner}\n{indent}}}"
    if isinstance(value, list):
        if not value:
            return "[]"
        return "[\n" + ",\n".join(deeper + _json(item, deeper) for item in value) + f"\n{indent}]"
    if isinstance(value, float):
        return _number(value)
    return _string(value) if isinstance(value, str) else json.dumps(value)


def _string(text: str) -> str:
    return _TO_ESCAPE.sub(lambda found: _ESCAPED[found[0]], json.dumps(text, ensure_ascii=False))


def _number(number: float) -> str:
    text = casts.printed_number(number, 32 if casts.rounded(number) == number else 64, low=-6, high=21)
    return re.sub(r"e([-+])0", r"e\1", text)
