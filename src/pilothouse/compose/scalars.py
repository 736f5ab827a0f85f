"""What a YAML scalar means: the types of YAML 1.2, and the number forms the reference implementation keeps.

`on`, `yes`, `22:22` and dates are strings. Besides decimal, `0x`, `0o` and `0b`, a leading zero means octal and `_`
between digits is skipped, as the reference reads them.
"""

import base64
import binascii
import math
import re

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SPECIAL = {
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_INTEGER = re.compile(
    r"[-+]?(?:0[xX](?P<hex>[0-9a-fA-F]+)|0[bB](?P<bin>[01]+)|0[oO]?(?P<oct>[0-7]+)|(?P<dec>0|[1-9][0-9]*))"
)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_MAX_DIGITS = 70
_BASES = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}

Scalar = str | int | float | bool | None


def resolve(text: str) -> Scalar:
    """Return the value of a plain scalar."""
    if text in NULLS:
        return None
    if text in BOOLEANS:
        return BOOLEANS[text]
    if text in _SPECIAL:
        return _SPECIAL[text]
    if text[0] in "+-0123456789":
        return _number(text.replace("_", ""), text)
    if text[0] == "." and _FLOAT.fullmatch(text):
        return _float(text, text)
    return text


def tagged(text: str, tag: str) -> Scalar:
    """Return the value of a scalar with a tag.

    Raises:
        ValueError: If the text is not of the tag's type.
    """
    name = tag.removeprefix("tag:yaml.org,2002:").removeprefix("!!")
    if name == "binary":
        try:
            return base64.b64decode(text, validate=False).decode(errors="replace")
        except binascii.Error:
            raise ValueError("!!binary needs base64; write the text itself") from None
    if name in {"null", "bool", "int", "float"}:
        value = resolve(text)
        if name == "float" and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        kinds = {
            "null": value is None,
            "bool": isinstance(value, bool),
            "int": type(value) is int,
            "float": type(value) is float,
        }
        if not kinds[name]:
            raise ValueError(f"{text!r} is not of the type its tag !!{name} says; drop the tag or write such a value")
        return value
    return text


def _number(digits: str, text: str) -> Scalar:
    if len(digits) <= _MAX_DIGITS and (found := _INTEGER.fullmatch(digits)):
        kind = found.lastgroup or "dec"
        value = int(found[kind], _BASES[kind]) * (-1 if digits[0] == "-" else 1)
        if -(2**63) <= value < 2**64:
            return value
    return _float(digits, text) if _FLOAT.fullmatch(digits) else text


def _float(digits: str, text: str) -> Scalar:
    value = float(digits)
    return text if math.isinf(value) else value
