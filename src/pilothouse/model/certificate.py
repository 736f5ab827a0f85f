"""What is known of a certificate that a node may present."""

from pilothouse.model.base import Value


class Certificate(Value, frozen=True, kw_only=True):
    """A certificate that a node may present; *serial* is hexadecimal, times are seconds since the epoch."""

    serial: str
    not_before: float
    not_after: float
    authority: str
