"""Errors across the wire: the same class with the same message at the other end. Pure."""

from collections.abc import Iterator

from pilothouse.errors import PilothouseError


def _classes(above: type[PilothouseError]) -> Iterator[type[PilothouseError]]:
    for each in above.__subclasses__():
        yield each
        yield from _classes(each)


# A class without a code of its own shares its parent's, and comes back as whatever first had that code.
_BY_CODE: dict[str, type[PilothouseError]] = {PilothouseError.code: PilothouseError}
for _class in _classes(PilothouseError):
    _BY_CODE.setdefault(_class.code, _class)


def to_bytes(error: PilothouseError) -> bytes:
    """Return what stands for *error* on the wire."""
    return f"{error.code} {error}".encode(errors="replace")


def from_bytes(data: bytes) -> PilothouseError:
    """Return the error that `to_bytes` wrote; a code from another version becomes a PilothouseError."""
    code, _, message = data.decode(errors="replace").partition(" ")
    return _BY_CODE.get(code, PilothouseError)(message)
