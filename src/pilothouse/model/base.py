"""What every value of the model has in common."""

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """Base of every value in the model: immutable, compared by content, strict when decoded, terse when encoded.

    A value cannot be part of a cycle, so the collector of cycles does not look at it: a manager keeps millions.
    """


class Object(Value, frozen=True, kw_only=True):
    """Base of everything the store keeps.

    Attributes:
        id: Unique among objects of its kind; never reused for another thing while either can be seen.
        version: The store revision of its last write; 0 means it was never written.
    """

    id: str
    version: int = 0
