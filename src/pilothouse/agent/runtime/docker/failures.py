"""Which error a refusal of the engine becomes: a pure function of the verb, the status and, last, the words.

Messages are read only where an engine gives one status for everything: pulls.
"""

from pilothouse.errors import DriverError, PermanentError, RuntimeUnavailableError, TemporaryError

_NEVER_PULLS = (
    "manifest unknown",
    "not found",
    "no such image",
    "denied",
    "unauthorized",
    "authentication required",
    "invalid reference",
    "no matching manifest",
    "does not match the specified platform",
    "no image found in",
    "unsupported",
    "digest",
)


class MissingError(PermanentError):
    """The engine says 404: what the call was about, or something it needs, is not there."""


class TakenError(TemporaryError):
    """The engine says 409: a name is taken, or the thing is busy."""


_BEFORE_THE_CAUSE = "unable to start container process: "
"""What runtimes put last before the cause of a start that failed; all before it names only layers of the engine."""


def refusal(what: str, status: int, message: str) -> DriverError | RuntimeUnavailableError:
    """Return the error for an answer of *status* to an attempt to do *what*."""
    said = f"cannot {what}: {cause(message) or 'the engine gave no reason'} (status {status})"
    if status == 404:
        return MissingError(said)
    if status == 409:
        return TakenError(said)
    if status == 503:
        return RuntimeUnavailableError(said)
    return PermanentError(said) if status < 500 or status == 501 else TemporaryError(said)


def cause(message: str) -> str:
    """Return *message* without the names of the layers it came through."""
    _, found, last = message.strip().rpartition(_BEFORE_THE_CAUSE)
    return last.removesuffix(": unknown") if found else last


def pull_is_hopeless(status: int, message: str) -> bool:
    """Return whether pulling again cannot help; Podman, and Docker within a stream, have only words for it."""
    if status in {400, 401, 403, 404}:
        return True
    lowered = message.lower()
    return any(words in lowered for words in _NEVER_PULLS)
