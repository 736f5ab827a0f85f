"""`pilothouse logs`: what tasks wrote, merged by time."""

import sys

import click

from pilothouse.cli import options, output, times
from pilothouse.cli.command import command
from pilothouse.clock import SystemClock
from pilothouse.model.api import LogEntry
from pilothouse.model.wire import Stream


@command(
    "logs",
    examples=[
        ("pilothouse logs shop", "everything the app's tasks wrote that is still kept, dead tasks too"),
        ("pilothouse logs -f shop web worker", "two services, and on as they write"),
        ("pilothouse logs --since 10m --tail 100 -t shop web.2", "one task, its last ten minutes, with times"),
    ],
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until interrupted.")
@click.option("--since", metavar="TIME", help="Only lines after: 10m, 2h, 2026-03-01, 2026-03-01T12:00:00Z.")
@click.option("--until", metavar="TIME", help="Only lines before; written like --since.")
@click.option("-n", "--tail", type=click.IntRange(min=0), metavar="N", help="At most the newest N lines of each task.")
@click.option("-t", "--timestamps", is_flag=True, help="Write the time of each line.")
@click.option("--no-prefix", is_flag=True, help="Do not write which task a line is of.")
@options.as_json
@options.app_argument
@click.argument("services", nargs=-1, metavar="[SERVICE…]")
def logs(
    *,
    follow: bool,
    since: str | None,
    until: str | None,
    tail: int | None,
    timestamps: bool,
    no_prefix: bool,
    as_json: bool,
    app: str,
    services: tuple[str, ...],
) -> None:
    """Show what tasks wrote.

    Lines of all services are merged by time, and those of tasks that died are there too. SERVICE is a service, or one
    task as SERVICE.SLOT. Control characters are taken out of lines, but for colours on a terminal; with --json each
    line is one JSON object with the text as it was written.
    """
    now = SystemClock().now()
    from_time = times.parse_past(since, now) if since else None
    end = times.parse_past(until, now) if until else None
    client = options.client()
    app = options.app_name(app)
    slots = _slots(services)
    entries = client.logs(app, tuple(slots), since=from_time, tail=tail, follow=follow)
    write = _Writer(timestamps=timestamps, prefix=not no_prefix)
    for entry in entries:
        if end is not None and entry.at >= end:
            break
        wanted = slots.get(entry.service)
        if wanted and entry.slot not in wanted:
            continue
        if as_json:
            output.json_line(entry)
        else:
            write(entry)


def _slots(services: tuple[str, ...]) -> dict[str, set[int]]:
    """Return the slots asked for by service; an empty set is all of them."""
    found: dict[str, set[int]] = {}
    whole: set[str] = set()
    for each in services:
        name, _, slot = each.rpartition(".")
        if name and slot.isdigit():
            found.setdefault(name, set()).add(int(slot))
        else:
            found.setdefault(each, set())
            whole.add(each)
    return {name: set() if name in whole else slots for name, slots in found.items()}


class _Writer:
    """Writes entries with a prefix in the colour of their service."""

    def __init__(self, *, timestamps: bool, prefix: bool) -> None:
        self._timestamps = timestamps
        self._prefix = prefix
        self._colour = output.colour_wanted(sys.stdout)
        self._colours: dict[str, str] = {}
        self._width = 0

    def __call__(self, entry: LogEntry) -> None:
        text = output.clean(entry.text.replace("\t", "    "), keep_colour=self._colour)
        if self._timestamps:
            text = f"{times.fine_stamp(entry.at)} {text}"
        target = sys.stderr if entry.stream is Stream.ERR and not sys.stdout.isatty() else sys.stdout
        click.echo((self._head(entry) if self._prefix else "") + text, file=target)

    def _head(self, entry: LogEntry) -> str:
        place = f".{entry.slot}" if entry.slot else "" if entry.step < 0 else f":pre_start.{entry.step}"
        name = output.clean(f"{entry.service}{place}")
        self._width = max(self._width, len(name))
        known = len(self._colours)
        colour = self._colours.setdefault(entry.service, output.TASK_COLOURS[known % len(output.TASK_COLOURS)])
        return output.paint(f"{name:<{self._width}} |", colour, on=self._colour) + " "
