"""`pilothouse plan`: say what a deployment would do, before it does it."""

import sys

import click

from pilothouse.cli import foretold, options, output, plan_file, project
from pilothouse.cli.command import EXIT_REFUSED, command
from pilothouse.cli.commands.up import request_of


@command(
    "plan",
    examples=[
        ("pilothouse plan", "what `pilothouse up` would do with the Compose file in this directory"),
        (
            "pilothouse plan --out change.plan",
            "keep the plan, if it can be done, for `pilothouse up --plan change.plan`",
        ),
        ("pilothouse plan --json", "for programs"),
    ],
    exits={
        0: "it can be done, or nothing would change",
        EXIT_REFUSED: "it would be refused; what is missing, and the command that grants it, are said",
    },
)
@options.manifest
@click.option("--keep-orphans", is_flag=True, help="Leave services alone that are no longer in the file.")
@click.option(
    "--out", "out", metavar="FILE", default="", help="Keep the plan in FILE, readable by you alone; no contents in it."
)
@options.as_json
def plan(*, chosen: options.Chosen, keep_orphans: bool, out: str, as_json: bool) -> int:
    """Say what deploying a Compose file would do now; nothing is changed, pulled or recorded.

    For each service: what differs, field by field, which tasks would be replaced, in which order and how, what that
    waits for, which steps run once before it, and what may be noticed or go wrong, with what would avoid it.
    """
    made = project.app(chosen)
    for warning in made.warnings:
        output.note(f"warning: {warning}")
    found = options.client().plan(request_of(made, keep_orphans=keep_orphans))
    if as_json:
        output.json(found)
    else:
        for line in foretold.lines(found, made.builds, colour=output.colour_wanted(sys.stdout)):
            output.line(line)
    if foretold.refused(found):
        return EXIT_REFUSED
    if out:
        plan_file.write(out, found)
        output.note(f"the plan is in {out}: `pilothouse up --plan {out}` does this or nothing")
    return 0
