"""`pilothouse events`: what happened, in order."""

import sys

import click

from pilothouse.cli import options, output, times
from pilothouse.cli.command import command
from pilothouse.model.api import EventView


@command(
    "events",
    examples=[
        ("pilothouse events shop", "what happened to an app"),
        ("pilothouse events -f", "what happens to any app, until interrupted"),
    ],
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new events until interrupted.")
@click.option("--since", type=click.IntRange(min=0), default=0, metavar="REVISION", help="Only those after a revision.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="At most the newest N of the past.")
@options.as_json
@click.argument("app", required=False, default="")
def events(*, follow: bool, since: int, tail: int | None, as_json: bool, app: str) -> None:
    """Show what happened, oldest first.

    An event comes from a commit in the store, so the list has no gap and survives a restart of the server. Without APP
    it shows the events of every app and of the platform itself.
    """
    client = options.client()
    past = list(client.events(app, since))
    shown = past[len(past) - tail :] if tail is not None and tail < len(past) else past
    for each in shown:
        _write(each, as_json=as_json)
    if follow:
        seen = max([since, *(each.revision for each in past)])
        for each in client.watch_events(app, seen):
            _write(each, as_json=as_json)


def _write(event: EventView, *, as_json: bool) -> None:
    if as_json:
        output.json_line(event)
    else:
        name = output.paint(event.name, "cyan", on=output.colour_wanted(sys.stdout))
        output.line(f"{times.stamp(event.at)}  {name}  {event.object}  {event.sentence}".rstrip())
