"""What policy does not let a manifest do, as a client is told."""

from pilothouse.model.base import Value


class Refusal(Value, frozen=True, kw_only=True):
    """One thing policy does not let a manifest do.

    Attributes:
        service: Whose manifest key it is.
        key: The Compose key, e.g. "services.db.cap_add".
        value: What was asked for.
        grant: The kind of grant that would allow it, or "" if none can.
        reason: Why it is refused by default, in one sentence.
        command: The command that would grant it, ready to run, or "".
    """

    service: str
    key: str
    value: str
    grant: str
    reason: str
    command: str = ""
