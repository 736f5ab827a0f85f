"""Reads what a process of another version wrote: fields that are not known here are left out, all else is checked.

The model itself refuses unknown fields, because in a manifest or a request they are mistakes. Between an agent and a
manager of which one is newer they are news. Pure.
"""

import re
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from pilothouse.errors import InvalidRequestError

V = TypeVar("V")
R_co = TypeVar("R_co", covariant=True)


class _Decoder(Protocol[R_co]):
    def decode(self, data: bytes, /) -> R_co: ...


_UNKNOWN = "unknown field"
_MOST = 100
_STEP = re.compile(r"\[[^\]]*\]|[^.\[\]]+")


class Codec(Generic[V]):
    """Reads MessagePack, or with *json* JSON, as one type."""

    def __init__(self, kind: type[V], *, json: bool = False) -> None:
        self._kind = kind
        self._plain: Callable[[bytes], Any] = msgspec.json.decode if json else msgspec.msgpack.decode
        self._decoder: _Decoder[V] = msgspec.json.Decoder(kind) if json else msgspec.msgpack.Decoder(kind)

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
        raw = self._plain(data)
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
    return _STEP.findall(path)


def _drop_at(places: list[Any], name: str, steps: list[str]) -> int:
    """Drop *name* from every place the steps lead to, whatever the number or key: what is there is of one type."""
    for step in steps:
        following: list[Any] = []
        for place in places:
            if isinstance(place, list):
                following += place
            elif isinstance(place, dict):
                following += place.values() if step.startswith("[") else [place[step]] if step in place else []
        places = following
    return sum(place.pop(name, places) is not places for place in places if isinstance(place, dict))


def _unreadable(error: msgspec.DecodeError) -> InvalidRequestError:
    return InvalidRequestError(f"a message of the other end cannot be read: {error}; is its version too far away?")
