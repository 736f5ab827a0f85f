"""Host paths: one spelling, who covers whom, and those no grant opens.

The server cannot see a node's symbolic links; paths are compared as written, after normalisation. The agent looks again
(`agent.refusal`).
"""

from pilothouse.errors import InvalidRequestError
from pilothouse.model.sealed import SEALED_PATHS, below, normal, sealed

READ_ONLY = ":ro"

__all__ = ["READ_ONLY", "SEALED_PATHS", "clean_grant", "covers", "normal", "sealed", "split"]


def clean_grant(value: str) -> str:
    """Return the spelling of a granted path.

    Raises:
        InvalidRequestError: It is not absolute, or no grant can open it.
    """
    path, read_only = split(value)
    if not path.startswith("/"):
        raise InvalidRequestError(f"{value[:80]!r} is not a host path: write it from the root, e.g. /srv/data:ro")
    if sealed(path):
        raise InvalidRequestError(
            f"{path[:80]!r} holds, or contains, an engine's socket or this platform's own data; no grant opens it"
        )
    return normal(path) + (READ_ONLY if read_only else "")


def split(value: str) -> tuple[str, bool]:
    """Return a granted or asked value's path, and whether it is for reading only."""
    return (value.removesuffix(READ_ONLY), True) if value.endswith(READ_ONLY) else (value, False)


def covers(granted: str, asked: str) -> bool:
    """Whether a grant of *granted* allows *asked*: the same path or one below it, and no more than reading if ":ro"."""
    granted_path, granted_reading = split(granted)
    asked_path, asked_reading = split(asked)
    return below(normal(asked_path), normal(granted_path)) and (asked_reading or not granted_reading)
