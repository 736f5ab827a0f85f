"""The class of every Compose key here: what becomes of it on a platform, why, and what to do instead.

Pure data types and the look-up; the tables are `service_classes` and `project_classes`, what depends on the written
value is `value_classes`. docs/reference/compose-keys.md is made from them.
"""

import enum

from pilothouse.model.base import Value


class KeyClass(enum.Enum):
    """What becomes of a key."""

    HONOURED = "honoured"
    CARE = "cluster care"
    GRANT = "needs a grant"
    LAPTOP = "laptop only"
    WINDOWS = "Windows"
    REFUSED = "refused"


class Verdict(Value, frozen=True, kw_only=True):
    """What becomes of one key, or of one value of it.

    Attributes:
        reason: What happens, or why it cannot, in one sentence.
        advice: What to do instead, or "".
        grants: The kinds of grant that allow it; one of them, whichever the value calls for.
    """

    key_class: KeyClass
    reason: str
    advice: str = ""
    grants: tuple[str, ...] = ()


def honoured(reason: str) -> Verdict:
    """Return the verdict for what works as written."""
    return Verdict(key_class=KeyClass.HONOURED, reason=reason)


def care(reason: str, advice: str = "") -> Verdict:
    """Return the verdict for what works but means something particular on a platform."""
    return Verdict(key_class=KeyClass.CARE, reason=reason, advice=advice)


def granted(reason: str, *grants: str) -> Verdict:
    """Return the verdict for what works once somebody has granted it."""
    return Verdict(
        key_class=KeyClass.GRANT,
        reason=reason,
        advice="the refusal of `pilothouse up` prints the command that grants it",
        grants=grants,
    )


def laptop(reason: str) -> Verdict:
    """Return the verdict for what only means something at a person's own machine."""
    return Verdict(key_class=KeyClass.LAPTOP, reason=reason)


def windows(advice: str) -> Verdict:
    """Return the verdict for what only Windows containers know."""
    return Verdict(key_class=KeyClass.WINDOWS, reason="is for Windows containers and is ignored", advice=advice)


def refused(reason: str, advice: str) -> Verdict:
    """Return the verdict for what makes `pilothouse up` refuse the file."""
    return Verdict(key_class=KeyClass.REFUSED, reason=reason, advice=advice)
