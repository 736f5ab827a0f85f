"""Bodies and query strings: bounded before they are read, parsed by one strict parser, typed when they leave here.

A JSON text with a key twice, a NaN, or more than 64 levels is refused: two readers could understand it differently.
"""

import json
import re
import urllib.parse
from typing import TypeVar

import msgspec

from pilothouse.errors import InvalidRequestError

T = TypeVar("T")

MAX_DEPTH = 64
MAX_PARAMETERS = 50
# One match per bracket or string; a string that does not end is one match too, so no text is looked at twice.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def decode(body: bytes, kind: type[T]) -> T:
    """Return the value of a JSON body.

    Raises:
        InvalidRequestError: It is no JSON, ambiguous, too deep, or not of that type; the message says where.
    """
    check_unambiguous(body)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequestError(f"the body does not fit: {error}") from error


def check_unambiguous(body: bytes) -> None:
    """Accept a JSON text that every reader understands alike.

    Raises:
        InvalidRequestError: It is too deep, has a key twice in one object, or a number that JSON does not know.
    """
    if depth(body) > MAX_DEPTH:
        raise InvalidRequestError(f"the body is nested deeper than {MAX_DEPTH} levels; flatten it")
    try:
        _STRICT.decode(body.decode())
    except InvalidRequestError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from error


def depth(body: bytes) -> int:
    """Return the deepest nesting of brackets outside strings."""
    level = deepest = 0
    for found in _TOKENS.finditer(body):
        token = found.group()
        if token in (b"{", b"["):
            level += 1
            deepest = max(deepest, level)
        elif token in (b"}", b"]"):
            level -= 1
    return deepest


def parameters(query_string: bytes, kind: type[T]) -> T:
    """Return the query parameters as *kind*.

    Raises:
        InvalidRequestError: One is unknown, given twice, or not of its type.
    """
    pairs = _pairs(query_string) if query_string else []
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidRequestError("a query parameter is given twice; give each once")
    try:
        return msgspec.convert(values, kind, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidRequestError(f"the query parameters do not fit: {error}") from error


def _pairs(query_string: bytes) -> list[tuple[str, str]]:
    try:
        return urllib.parse.parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_PARAMETERS,
            errors="strict",
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"the query string cannot be read: {error}") from error


def _unique(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidRequestError(f"the body has the key {key[:80]!r} twice in one object; write it once")
            seen.add(key)


def _no_constant(name: str) -> None:
    raise InvalidRequestError(f"the body has {name}, which is not JSON; write a number")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
