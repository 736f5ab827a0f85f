"""Reads what a process of another version wrote: fields that are not known here are left out, all else is checked.

The model itself refuses unknown fields, because in a manifest or a request they are mistakes. Between an agent and a
manager of which one is newer they are news. Pure.
"""

from typing import Any, Generic, TypeVar

import msgspec

from pilothouse.errors import InvalidRequestError

V = TypeVar("V")
_UNKNOWN = "unknown field"
_MOST = 100


class Codec(Generic[V]):
    """Reads MessagePack as one type."""

    def __init__(self, kind: type[V]) -> None:
        self._kind = kind
        self._decoder = msgspec.msgpack.Decoder(kind)

    def decode(self, data: bytes) -> V:
        """Return what *data* says.

        Raises:
            InvalidRequestError: It is none of that type.
        """
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            if _UNKNOWN not in str(error):
                raise _unreadable(error) from error
            return self._leniently(data)
        except msgspec.DecodeError as error:
            raise _unreadable(error) from error

    def _leniently(self, data: bytes) -> V:
        """Leave out what the decoder does not know, one field after the other; slow, and only between versions."""
        raw = msgspec.msgpack.decode(data)
        for _each in range(_MOST):
            try:
                return msgspec.convert(raw, self._kind)
            except msgspec.ValidationError as error:
                if not _drop(raw, str(error)):
                    raise _unreadable(error) from error
        raise InvalidRequestError(f"the message has more than {_MOST} fields that this version does not know")


def _drop(raw: object, message: str) -> bool:
    """Take the unknown field that a validation error names out of *raw*; return whether that could be done."""
    before, marker, path = message.partition(" - at `$")
    name = before.partition(f"{_UNKNOWN} `")[2].removesuffix("`")
    if not name:
        return False
    return bool(_drop_at([raw], name, _steps(path.removesuffix("`") if marker else "")))


def _steps(path: str) -> list[str]:
    return path.replace("[", ".[").split(".")[1:]


def _drop_at(places: list[Any], name: str, steps: list[str]) -> int:
    """Drop *name* from every place the steps lead to; "[...]" is any key or element."""
    for step in steps:
        following: list[Any] = []
        for place in places:
            if isinstance(place, list):
                following += place if step == "[...]" else [place[int(step[1:-1])]]
            elif isinstance(place, dict):
                following += list(place.values()) if step.startswith("[") else [place[step]]
        places = following
    return sum(place.pop(name, places) is not places for place in places if isinstance(place, dict))


def _unreadable(error: msgspec.DecodeError) -> InvalidRequestError:
    return InvalidRequestError(f"a message of the other end cannot be read: {error}; is its version too far away?")
