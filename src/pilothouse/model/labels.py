"""Labels of nodes, and the keys of their taints: what they may be."""

import re
from collections.abc import Iterable, Mapping

from pilothouse.errors import InvalidRequestError

MAX_LABELS = 64
_KEY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?\Z")
_VALUE = re.compile(r"[A-Za-z0-9._:/+@ -]{0,128}\Z")
PLATFORM_PREFIX = "pilothouse/"
"""Keys that begin with this are the platform's own."""


def check_labels(labels: Mapping[str, str | None]) -> None:
    """Accept labels that a node may get from a person; None stands for taking one away.

    Raises:
        InvalidRequestError: One is not, or they are too many.
    """
    if len(labels) > MAX_LABELS:
        raise InvalidRequestError(f"a node has at most {MAX_LABELS} labels, not {len(labels)}")
    check_keys("label", labels)
    for key, value in labels.items():
        if value is not None and not _VALUE.match(value):
            raise InvalidRequestError(
                f"the label {key} cannot be {value[:80]!r}: use up to 128 letters, digits, blanks and . _ : / + @ -"
            )


def check_keys(what: str, keys: Iterable[str]) -> None:
    """Accept keys of labels or taints that a person may write.

    Raises:
        InvalidRequestError: One is not.
    """
    for key in keys:
        if not _KEY.match(key):
            raise InvalidRequestError(
                f"{key[:80]!r} cannot be a {what}'s key: use 1 to 128 letters, digits and . _ / -, beginning and "
                "ending with a letter or a digit"
            )
        if key.startswith(PLATFORM_PREFIX):
            raise InvalidRequestError(
                f"keys that begin with {PLATFORM_PREFIX} are set by the platform alone, not {key}"
            )
