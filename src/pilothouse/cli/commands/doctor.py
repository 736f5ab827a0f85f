"""`pilothouse doctor`: what is not well on this server and node."""

import sys

from pilothouse.cli import options, output
from pilothouse.cli.command import EXIT_DONE, EXIT_FAILED, command
from pilothouse.model.api import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@command(
    "doctor",
    examples=[("pilothouse doctor", "look at the server, the engine and the node")],
    exits={
        EXIT_DONE: "nothing is wrong; there may be warnings",
        EXIT_FAILED: "something is wrong, or no server answers",
    },
)
@options.as_json
def doctor(*, as_json: bool) -> int:
    """Look for what is not well, and say what to do about it."""
    found = options.client().doctor()
    if as_json:
        output.json(found)
    else:
        for finding in found:
            _write(finding)
    return EXIT_FAILED if any(finding.level == "error" for finding in found) else EXIT_DONE


def _write(finding: Finding) -> None:
    level = output.paint(f"{finding.level:<7}", _COLOURS.get(finding.level, ""), on=output.colour_wanted(sys.stdout))
    output.line(f"{level}  {finding.subject}: {finding.message}")
    if finding.advice:
        output.line(f"         {finding.advice}")
