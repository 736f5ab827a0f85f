"""Errors as answers: RFC 9457 problem details with our code, for everything that can go wrong, bugs included."""

import msgspec

from pilothouse.errors import InvalidManifestError, InvalidRequestError, PilothouseError, PolicyDeniedError
from pilothouse.log import event
from pilothouse.model.api import Problem, Refusal

MEDIA_TYPE = "application/problem+json"


class DeniedError(PolicyDeniedError):
    """Policy refused a manifest; carries every refusal."""

    def __init__(self, app: str, refusals: tuple[Refusal, ...]) -> None:
        listed = "; ".join(f"{r.key} = {r.value or 'true'} ({r.reason})" for r in refusals[:5])
        more = f"; and {len(refusals) - 5} more" if len(refusals) > 5 else ""
        super().__init__(f"{app} asks for {len(refusals)} thing(s) that need a grant: {listed}{more}")
        self.refusals = refusals


class ManyFaultsError(InvalidManifestError):
    """A spec has several faults; carries each as one sentence."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults[:5]) + ("" if len(faults) <= 5 else f"; and {len(faults) - 5} more"))
        self.faults = faults


class HttpError(InvalidRequestError):
    """Something only HTTP knows: no such path, method, length … *status* says what."""

    def __init__(self, status: int, title: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.http_status = status
        self.http_title = title
        self.headers = headers


def problem_of(error: BaseException, request_id: str) -> Problem:
    """Return the problem details of *error*; a bug tells the caller where to look and nothing else."""
    if isinstance(error, HttpError):
        # Such answers share the page of PH105: the request does not have the form it must have.
        return Problem(
            type="reference/errors/PH105",
            title=error.http_title,
            status=error.http_status,
            detail=str(error),
            code="PH105",
            instance=request_id,
        )
    if not isinstance(error, PilothouseError):
        detail = f"This is a bug in Pilothouse. The server's log has the details under request {request_id}."
        return _problem(PilothouseError(detail), request_id)
    return _problem(error, request_id)


def _problem(error: PilothouseError, request_id: str) -> Problem:
    return Problem(
        type=f"reference/errors/{error.code}",
        title=error.title,
        status=error.status,
        detail=str(error),
        code=error.code,
        retryable=error.retryable,
        instance=request_id,
        refusals=error.refusals if isinstance(error, DeniedError) else (),
        errors=error.faults if isinstance(error, ManyFaultsError) else (),
    )


def encode(problem: Problem) -> bytes:
    """Return the body of a problem answer."""
    return msgspec.json.encode(problem)


def log_bug(error: BaseException, request_id: str, trace: str) -> None:
    """Write what the caller is not told."""
    event("error", "request.failed", request=request_id, error=repr(error), trace=trace)
