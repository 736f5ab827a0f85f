"""`pilothouse simulate`: what losing nodes would lead to."""

import click

from pilothouse.cli import options, output
from pilothouse.cli.command import command
from pilothouse.model.placement_api import Simulation


@command(
    "simulate",
    examples=[
        ("pilothouse simulate --lose node2", "what becomes of the tasks of node2, and of each app"),
        ("pilothouse simulate --lose node2 --lose node3", "both at once"),
    ],
)
@click.option(
    "--lose", "lost", metavar="NODE", multiple=True, required=True, help="A node that is lost; may be given often."
)
@options.as_json
def simulate(*, lost: tuple[str, ...], as_json: bool) -> None:
    """Say what losing nodes would lead to; nothing is changed.

    Which of their tasks would be made again where, which could not and why, and what each app would lose meanwhile.
    """
    found = options.client().simulate(lost)
    if as_json:
        output.json(found)
        return
    for text in lines(found):
        output.line(text)


def lines(found: Simulation) -> list[str]:
    """Return what a person reads: the apps, those that would not survive first, then each task."""
    said = [found.sentence]
    said += [f"  {app.sentence}" for app in sorted(found.apps, key=lambda app: (app.survives, app.app))]
    if found.moves:
        rows = [(f"{move.app}/{move.task}", move.source, move.target, move.sentence) for move in found.moves]
        said += ["", *output.format_table(("TASK", "FROM", "TO", "WHY"), rows)]
    return said
