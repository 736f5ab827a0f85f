"""KEY=VALUE arguments."""

from collections.abc import Iterable

from pilothouse.errors import InvalidRequestError


def pairs(what: str, given: Iterable[str]) -> dict[str, str]:
    """Return KEY=VALUE arguments as a dictionary.

    Raises:
        InvalidRequestError: One has no "=", or a key is given twice.
    """
    found: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise InvalidRequestError(f"{what} {each[:80]!r} is not KEY=VALUE")
        if key in found:
            raise InvalidRequestError(f"{what} gives {key[:80]!r} twice; give it once")
        found[key] = value
    return found
