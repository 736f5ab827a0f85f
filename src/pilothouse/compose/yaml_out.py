"""Plain values to YAML text, laid out as `docker compose config` lays it out: block style, two spaces, no folding."""

import functools
import re
from collections.abc import Iterator, Mapping

from pilothouse.compose import casts, scalars
from pilothouse.compose.shapes import Tree

_OLD_WORDS = frozenset({*"yYnN", "yes", "Yes", "YES", "on", "On", "ON", "no", "No", "NO", "off", "Off", "OFF"})
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+|$)[-0-9:.+ Zz]*")
_FIRST = frozenset("#,[]{}&*!|>'\"%@`")
_ESCAPES = {
    "\0": "\\0",
    "\a": "\\a",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\v": "\\v",
    "\f": "\\f",
    "\r": "\\r",
    "\x1b": "\\e",
    '"': '\\"',
    "\\": "\\\\",
    "\x85": "\\N",
    "\xa0": "\\_",
    "\u2028": "\\L",
    "\u2029": "\\P",
}
_MAX_KEY = 128


def dump(value: Tree) -> str:
    """Return value as a YAML document; mappings keep their order."""
    return "\n".join(_lines(value, 0)) + "\n"


def in_order(value: Mapping[str, Tree]) -> dict[str, Tree]:
    """Return a mapping by key, with the numbers in keys counted as numbers (`web2` before `web10`)."""
    return dict(sorted(value.items(), key=lambda item: _IN_ORDER(item[0])))


def _lines(value: Tree, indent: int) -> list[str]:
    if isinstance(value, dict) and value:
        return list(_mapping(value, indent))
    if isinstance(value, list) and value:
        return list(_sequence(value, indent))
    return _scalar(value, indent)


def _mapping(value: Mapping[str, Tree], indent: int) -> Iterator[str]:
    pad = " " * indent
    for key, item in value.items():
        name, *more = _scalar(key, indent + 2)
        simple = "\n" not in key and len(key.encode()) <= _MAX_KEY
        lead = f"{pad}{name}:" if simple else "\n".join([f"{pad}? {name}", *more, f"{pad}:"])
        if isinstance(item, (dict, list)) and item:
            yield lead
            yield from _lines(item, indent + 2)
        else:
            first, *rest = _scalar(item, indent + 2)
            yield f"{lead} {first}"
            yield from rest


def _sequence(value: list[Tree], indent: int) -> Iterator[str]:
    pad = " " * indent
    for item in value:
        first, *rest = _lines(item, indent + 2)
        yield f"{pad}- {first.removeprefix(' ' * (indent + 2))}"
        yield from rest


def _scalar(value: Tree, indent: int) -> list[str]:
    if isinstance(value, str):
        return _block(value, indent) if "\n" in value and _block_allowed(value) else [_quoted(value)]
    if value is None:
        return ["null"]
    if isinstance(value, (dict, list)):
        return ["{}" if isinstance(value, dict) else "[]"]
    if isinstance(value, float):
        special = {"NaN": ".nan", "+Inf": ".inf", "-Inf": "-.inf"}
        text = casts.printed_number(value, 32 if casts.rounded(value) == value else 64)
        return [special.get(text, text)]
    return [casts.as_text(value)]


def _block(text: str, indent: int) -> list[str]:
    hint = "2" if text[0] in " \n" else ""
    body = text.removesuffix("\n")
    chomp = "-" if body == text else "+" if not body or body.endswith("\n") else ""
    lines = body.split("\n")
    return [f"|{hint}{chomp}", *(f"{' ' * indent}{line}" if line else "" for line in lines)]


def _block_allowed(text: str) -> bool:
    return not text.endswith(" ") and " \n" not in text and all(_printable(sign) or sign in "\n\t" for sign in text)


def _quoted(text: str) -> str:
    """Return text plain where that reads back as the same string, else in quotes."""
    breaks = "\n" in text
    if not breaks and _stays_string(text):
        if _plain_allowed(text):
            return text
        if _single_allowed(text):
            return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escape(sign) for sign in text) + '"'


def _stays_string(text: str) -> bool:
    if text in _OLD_WORDS or _SEXAGESIMAL.fullmatch(text) or _DATE.fullmatch(text):
        return False
    return isinstance(scalars.resolve(text), str)


def _plain_allowed(text: str) -> bool:
    if text[0] == " " or text[-1] == " " or text.startswith(("---", "...")) or not _single_allowed(text):
        return False
    follows = text[1:2] in {"", " ", "\t"}
    if text[0] in _FIRST or (text[0] in "?:-" and follows):
        return False
    return ": " not in text and ":\t" not in text and not text.endswith(":") and " #" not in text and "\t#" not in text


def _single_allowed(text: str) -> bool:
    return all(_printable(sign) for sign in text)


def _printable(sign: str) -> bool:
    code = ord(sign)
    if sign in "\u2028\u2029":
        return False
    return 0x20 <= code <= 0x7E or 0xA0 <= code <= 0xD7FF or (0xE000 <= code <= 0xFFFD and code != 0xFEFF)


def _escape(sign: str) -> str:
    if sign in _ESCAPES and not (sign in {"\xa0"} and _printable(sign)):
        return _ESCAPES[sign]
    if _printable(sign):
        return sign
    code = ord(sign)
    if code > 0xFFFF:
        return f"\\U{code:08X}"
    return f"\\x{code:02X}" if code <= 0xFF else f"\\u{code:04X}"


def _compare(one: str, two: str) -> int:
    digits = False
    for index, (left, right) in enumerate(zip(one, two, strict=False)):
        if left == right:
            digits = left.isdigit()
            continue
        if left.isalpha() and right.isalpha():
            return -1 if left < right else 1
        if left.isalpha() or right.isalpha():
            first = left.isalpha() if digits else right.isalpha()
            return -1 if first else 1
        return _compare_numbers(one, two, index)
    return len(one) - len(two)


def _compare_numbers(one: str, two: str, index: int) -> int:
    prefix = ""
    if "0" in {one[index], two[index]}:
        before = re.search(r"[0-9]*$", one[:index])
        prefix = "1" if before and before[0].strip("0") else ""
    left, right = (re.match(r"[0-9]*", text[index:]) for text in (one, two))
    found = [part[0] if part else "" for part in (left, right)]
    numbers = [int(prefix + part or "0") for part in found]
    if numbers[0] != numbers[1]:
        return numbers[0] - numbers[1]
    if len(found[0]) != len(found[1]):
        return len(found[0]) - len(found[1])
    return -1 if one[index] < two[index] else 1


_IN_ORDER = functools.cmp_to_key(_compare)
