"""How a command says that it failed: one line with the code, then every refusal or finding, or the same as JSON."""

import sys

import msgspec

from pilothouse.cli.output import clean, colour_wanted, paint
from pilothouse.errors import InvalidManifestError, PilothouseError
from pilothouse.model.api import Problem, Refusal


class AnsweredError(Exception):
    """What the server answered; the cause of the error that a command raises for it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def problem_of(error: PilothouseError) -> Problem:
    """Return *error* as the API would: the server's own answer if it came from there."""
    if isinstance(error.__cause__, AnsweredError):
        return error.__cause__.problem
    findings = getattr(error, "errors", ()) if isinstance(error, InvalidManifestError) else ()
    return Problem(
        type=f"reference/errors/{error.code}",
        title=error.title,
        status=error.status,
        detail=str(error),
        code=error.code,
        retryable=error.retryable,
        errors=tuple(findings),
    )


def report(error: PilothouseError, *, as_json: bool) -> None:
    """Write *error* to standard error."""
    problem = problem_of(error)
    if as_json:
        sys.stderr.write(msgspec.json.format(msgspec.json.encode(problem), indent=2).decode() + "\n")
    else:
        colour = colour_wanted(sys.stderr)
        sys.stderr.write("\n".join(clean(line, keep_colour=colour) for line in lines(problem, colour=colour)) + "\n")


def lines(problem: Problem, *, colour: bool = False) -> list[str]:
    """Return what a person reads of *problem*."""
    head = f"{paint('error', 'red', on=colour)} {problem.code}: "
    if problem.refusals:
        count = len(problem.refusals)
        found = [head + f"{problem.title}: {count} thing{'s' * (count > 1)} in the manifest {_needs(count)} a grant"]
        return found + [line for refusal in problem.refusals for line in refusal_lines(refusal)]
    if len(problem.errors) > 1:
        return [head + f"{problem.title}: {len(problem.errors)} findings", *(f"  {each}" for each in problem.errors)]
    first, *more = problem.detail.splitlines() or [""]
    return [head + first, *(f"  {each}" for each in more)]


def _needs(count: int) -> str:
    return "needs" if count == 1 else "need"


def refusal_lines(refusal: Refusal) -> list[str]:
    """Return what a person reads of one refusal: what, why, and the command that would allow it."""
    value = f" = {refusal.value}" if refusal.value else ""
    found = [f"  {refusal.key}{value}: {refusal.reason}"]
    found.append(f"    allow it: {refusal.command}" if refusal.command else "    no grant can allow it")
    return found
