"""Variables in values: `$NAME`, `${NAME}` and the forms with a default, an alternative or a requirement.

A pure function of a value and a lookup; it never sees the process's environment. What a variable holds is text, not a
template: it is not looked into again.
"""

import re
from collections.abc import Callable, Mapping

from pilothouse.compose import casts, limits
from pilothouse.compose.problems import Marks, Path, Problems, nearest
from pilothouse.compose.shapes import Scalar, Shape, Struct, Tree, child

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_BRACE = re.compile(r"[{}]")
_TOO_DEEP = f"defaults are nested deeper than {limits.MAX_DEFAULTS} levels; write them flatter"
_OPENING = re.compile(r"\{([_a-zA-Z][_a-zA-Z0-9]*)(:?[-+?])?")

Lookup = Callable[[str], str | None]
Warn = Callable[[str], None]


class TemplateError(ValueError):
    """The text is not a template, or a variable it requires is missing."""


def substitute(template: str, lookup: Lookup, warn: Warn, depth: int = 0) -> str:
    """Return template with its variables replaced; depth counts the defaults this one is inside of.

    Raises:
        TemplateError: If a form is not known, a required variable is missing, or the result is too large.
    """
    if "$" not in template:
        return template
    if depth > limits.MAX_DEFAULTS:
        raise TemplateError(_TOO_DEEP)
    if len(template) > limits.MAX_TEMPLATE and "${" in template:
        raise TemplateError(f"longer than {limits.MAX_TEMPLATE} characters and with variables in it; make it shorter")
    out: list[str] = []
    at = length = 0
    line_end = last_brace = -1
    while (dollar := template.find("$", at)) >= 0:
        if dollar > line_end:
            line_end = template.find("\n", dollar)
            line_end = len(template) if line_end < 0 else line_end
            last_brace = template.rfind("}", dollar, line_end)
        value, following = _variable(template, dollar + 1, last_brace, lookup, warn, depth)
        out += (template[at:dollar], value)
        at = following
        length += len(value)
        if length > limits.MAX_VALUE:
            raise TemplateError(f"the value is larger than {limits.MAX_VALUE} characters with its variables replaced")
    out.append(template[at:])
    return "".join(out)


def interpolate(
    value: Tree,
    shape: Shape,
    environment: Mapping[str, str],
    problems: Problems,
    marks: Marks,
    file: str,
    warn: Warn,
) -> Tree:
    """Return value with the variables in its strings replaced and cast to the types its keys need."""

    grown = 0

    def walk(value: Tree, shape: Shape | None, path: Path) -> Tree:
        nonlocal grown
        if isinstance(value, dict):
            return {key: walk(item, child(shape, key), (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, child(shape, index), (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            text = substitute(value, environment.get, warn)
            grown += max(0, len(text) - len(value))
            if grown > limits.MAX_GROWTH:
                raise TemplateError(f"variables add more than {limits.MAX_GROWTH} characters to the file; use fewer")
            cast = _cast(shape)
            return casts.CASTS[cast](text, warn) if cast else text
        except ValueError as error:
            problems.add(nearest(marks, path, file), path, str(error))
            return value

    return walk(value, shape, ())


def _cast(shape: Shape | None) -> str:
    if isinstance(shape, Scalar):
        return shape.cast
    return shape.cast if isinstance(shape, Struct) else ""


def _variable(template: str, at: int, last_brace: int, lookup: Lookup, warn: Warn, depth: int) -> tuple[str, int]:
    """Return what stands for the variable whose `$` is just before at, and where the text goes on."""
    if template.startswith("$", at):
        return "$", at + 1
    if template.startswith("{", at):
        found = _OPENING.match(template, at)
        closed = bool(found) and (template.startswith("}", found.end()) if found and not found[2] else last_brace > at)
        if not found or not closed:
            form = "`${NAME}`, or after the name one of `:-`, `-`, `:?`, `?`, `:+` or `+`"
            raise TemplateError(f"{_shown(template)} is not a known form; write {form}; write `$$` for a dollar sign")
        end = _closing(template, at, last_brace) if found[2] else found.end()
        return _braced(found[1], found[2], template[found.end() : end], lookup, warn, depth), end + 1
    if found := _NAME.match(template, at):
        return _plain(found[0], lookup, warn), found.end()
    return "$", at


def _shown(template: str) -> str:
    return repr(template if len(template) <= 200 else template[:199] + "…")


def _closing(template: str, at: int, last: int) -> int:
    """Return where the brace at `at` closes; the character after an opening brace does not count."""
    depth = 0
    found = _BRACE.search(template, at, last)
    while found:
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return found.start()
        if depth > limits.MAX_DEFAULTS:
            raise TemplateError(_TOO_DEEP)
        found = _BRACE.search(template, found.end() + (found[0] == "{"), last)
    return last


def _plain(name: str, lookup: Lookup, warn: Warn) -> str:
    value = lookup(name)
    if value is None:
        warn(f'The "{name}" variable is not set. Defaulting to a blank string.')
        return ""
    return value


def _braced(name: str, operator: str | None, word: str, lookup: Lookup, warn: Warn, depth: int) -> str:
    if not operator:
        return _plain(name, lookup, warn)
    word = substitute(word, lookup, warn, depth + 1)
    value = lookup(name)
    given = value is not None and not (operator.startswith(":") and value == "")
    if operator.endswith("+"):
        return word if given else (value or "")
    if given:
        return value or ""
    if operator.endswith("-"):
        return word
    raise TemplateError(f"required variable {name} is missing a value{': ' + word if word else ''}; set {name}")
