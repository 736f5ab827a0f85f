"""What everything that is stored or crosses the wire looks like, as lines of text: one for each field and member.

    python -m tests.model.shape

writes the shape of the present format down, which is done when a version is released and at no other time.
"""

import enum
import pathlib
import typing

import msgspec

from pilothouse.model import images, session, wire
from pilothouse.model.format import FORMAT
from pilothouse.model.kinds import KINDS
from pilothouse.model.states import Writer

PLACE = pathlib.Path(__file__).parent / "formats"
ROOTS = (
    *KINDS,
    Writer,
    *session.Message.__subclasses__(),
    *(
        each
        for room in (wire, images)
        for each in vars(room).values()
        if getattr(each, "__module__", "") == room.__name__
    ),
)


def types():
    """Return every struct and enumeration that is reached, by name."""
    found, pending = {}, list(ROOTS)
    while pending:
        kind = pending.pop()
        pending += typing.get_args(kind)
        if not isinstance(kind, type) or typing.get_origin(kind) or found.get(kind.__name__) is kind:
            continue
        if issubclass(kind, enum.Enum | msgspec.Struct):
            assert kind.__name__ not in found, f"two types are called {kind.__name__}"
            found[kind.__name__] = kind
        if issubclass(kind, msgspec.Struct):
            pending += [field.type for field in msgspec.structs.fields(kind)]
    return found


def names():
    """Return what `model.format.NEW` may name."""
    found = set(types())
    for name, kind in types().items():
        fields = kind.__members__ if issubclass(kind, enum.Enum) else kind.__struct_fields__
        found.update(f"{name}.{field}" for field in fields)
    return found


def shape():
    """Return the lines, fields in their order: what is encoded depends on it."""
    lines = []
    for name, kind in sorted(types().items()):
        if issubclass(kind, enum.Enum):
            lines += [f"{name}.{member.name}: {member.value!r}" for member in kind]
        else:
            lines += [
                f"{name}.{field.name}: {_type(field.type)}{_default(field)}" for field in msgspec.structs.fields(kind)
            ]
    return lines


def _type(kind):
    args = typing.get_args(kind)
    if args:
        origin = typing.get_origin(kind)
        return f"{getattr(origin, '__name__', str(origin))}[{', '.join(map(_type, args))}]"
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _default(field):
    if field.default is not msgspec.NODEFAULT:
        shown = msgspec.json.encode(field.default).decode()
        return f" = {shown}"
    return "" if field.default_factory is msgspec.NODEFAULT else f" = {field.default_factory()!r}"


def kept(number):
    """Return the lines of a format that was released."""
    return (PLACE / f"{number}.txt").read_text().splitlines()


if __name__ == "__main__":
    PLACE.mkdir(exist_ok=True)
    (PLACE / f"{FORMAT}.txt").write_text("\n".join(shape()) + "\n")
