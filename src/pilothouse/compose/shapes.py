"""What a key of a Compose file may hold, as data: the vocabulary that the key tables are written in.

A shape says what JSON types a value may have as written, which short forms it has, how it merges with the same key of
another file, when two list items are the same, how it is cast after interpolation, how a path in it is resolved, and
what it looks like once loaded. Every stage of the loader walks a value together with its shape; no stage knows a key
by name that the tables do not. This module holds no behaviour: rules are names that the stages look up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

#: A parsed document is untyped until it has been checked and bound; nothing outside this package sees this type.
Tree: TypeAlias = Any

TEXT = frozenset({"string"})
FLAG = frozenset({"boolean", "string"})
WHOLE = frozenset({"integer", "string"})
NUMBER = frozenset({"number", "string"})
USER_KEY = r"^[a-zA-Z0-9._-]+$"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What every shape can say.

    Attributes:
        merge: How the value of a later file joins the earlier one; "" is by kind (mappings deep, lists appended).
        unique: How list items are told apart, so that a later one replaces an earlier one; "" keeps them all.
        long: How a short form becomes the long one.
        default: What is filled in once all files are merged.
        path: How a path in the value is made absolute.
    """

    merge: str = ""
    unique: str = ""
    long: str = ""
    default: str = ""
    path: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scalar(Shape):
    """One string, number or boolean.

    Attributes:
        accepts: JSON types it may be written as.
        codec: How it is read into its loaded form.
        cast: Type it is cast to right after interpolation, so that `${N}` can stand for a number.
        keep: Whether its zero value is kept; a key without it disappears when it holds zero, false or "".
    """

    accepts: frozenset[str] = TEXT
    codec: str = "text"
    cast: str = ""
    choices: tuple[str, ...] = ()
    pattern: str = ""
    low: int | None = None
    high: int | None = None
    keep: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing(Shape):
    """A list.

    Attributes:
        lone: Whether one string may stand for a list of one.
        distinct: Whether equal items are an error (after merging).
    """

    item: Shape
    lone: bool = False
    distinct: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Named(Shape):
    """A mapping whose keys the user chooses.

    Attributes:
        key: What a key looks like.
        names: Whether a list of the keys may stand for it.
    """

    value: Shape
    key: str = ".+"
    names: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs(Shape):
    """A mapping of strings that may also be written as a list of `KEY=VALUE`.

    Attributes:
        codec: What becomes of it: `labels`, `environment`, `mapping`, `options`, `hosts`, `ssh`, `multi`, `texts`.
        values: JSON types of the values; none is all.
        lists: Whether a value may be a list.
        listed: Whether the list form exists.
    """

    codec: str
    values: frozenset[str] = frozenset({"string", "number", "boolean", "null"})
    lists: bool = False
    listed: bool = True


@dataclass(frozen=True, slots=True)
class Field:
    """One key of a structure.

    Attributes:
        out: Its name once loaded as JSON, where that differs.
        always: Whether it is written as JSON even when empty.
        silent: Whether the reference knows it but leaves it out of what it prints.
    """

    shape: Shape
    out: str = ""
    always: bool = False
    silent: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Struct(Shape):
    """A mapping with known keys, in the order in which they are printed.

    Attributes:
        required: Keys that must be there once all files are merged.
        extensions: Whether `x-` keys are allowed.
        short: JSON types of its short forms.
        nullable: Whether null stands for "nothing set".
        plain: Name of a codec for its short form when that survives loading.
        cast: Type its short form is cast to right after interpolation.
    """

    fields: Mapping[str, Field]
    required: tuple[str, ...] = ()
    extensions: bool = True
    short: frozenset[str] = frozenset()
    nullable: bool = False
    plain: str = ""
    cast: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Words(Shape):
    """A command: a list of words, one string that is split into words (or handed to a shell), or null.

    Attributes:
        codec: `command` or `test`.
    """

    codec: str = "command"
    nullable: bool = True


def child(shape: Shape | None, key: str | int) -> Shape | None:
    """Return the shape of what lies under key in a value of this shape, or None for what the tables do not know."""
    if isinstance(shape, Struct) and isinstance(key, str):
        found = shape.fields.get(key)
        return found.shape if found else None
    if isinstance(shape, Named) and isinstance(key, str):
        return shape.value
    if isinstance(shape, Listing) and isinstance(key, int):
        return shape.item
    return None
