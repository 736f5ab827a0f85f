"""`pilothouse explain`: one sentence why an object is as it is, then what is behind it."""

import sys

import click
import msgspec

from pilothouse.cli import options, output
from pilothouse.cli.command import command
from pilothouse.model.api import Explanation


@command(
    "explain",
    examples=[
        ("pilothouse explain shop", "why the app is as it is"),
        ("pilothouse explain shop/web", "one service"),
        ("pilothouse explain shop/web.2", "one task, with the container as the engine is told"),
        ("pilothouse explain release/shop/7", "a release: what became of it and why"),
        ("pilothouse explain volume/shop/data", "a volume; node/NAME and network/APP/NAME work alike"),
    ],
)
@click.option("--short", is_flag=True, help="Only the sentence and its causes.")
@options.as_json
@click.argument("object", required=False, default="")
def explain(*, short: bool, as_json: bool, object: str) -> None:
    """Say why an object is as it is: what, why, who decided, since when, what would change it.

    OBJECT is an app, APP/SERVICE, APP/SERVICE.SLOT, the id of a task, or KIND/ID; without it, the app whose Compose
    file is in this directory.
    """
    found = options.client().explain(object or options.app_name(""))
    if as_json:
        output.json(found)
        return
    for text in lines(found, short=short, colour=output.colour_wanted(sys.stdout)):
        output.line(text)


def lines(found: Explanation, *, short: bool = False, colour: bool = False) -> list[str]:
    """Return what a person reads."""
    said = [found.sentence]
    said += [f"  {cause}" for cause in found.causes]
    if short:
        return said
    said += _section("What changed since it last worked", found.changes, colour=colour)
    said += _section("Facts", [f"{name}: {value}" for name, value in found.facts], colour=colour)
    said += _section("Its last lines", found.log_tail, colour=colour)
    if found.effective is not None:
        container = msgspec.to_builtins(found.effective)
        settings = [f"{path} = {value}" for path, value in _flat("", container)]
        said += _section("The container, as the engine is told (safe defaults filled in)", settings, colour=colour)
    return said


def _section(title: str, entries: tuple[str, ...] | list[str], *, colour: bool) -> list[str]:
    if not entries:
        return []
    return ["", output.paint(title, "cyan", on=colour), *(f"  {entry}" for entry in entries)]


def _flat(path: str, value: object) -> list[tuple[str, str]]:
    """Return every leaf of nested settings with its path; lists of plain values stay on one line."""
    if isinstance(value, dict) and value:
        return [leaf for key, each in value.items() for leaf in _flat(f"{path}.{key}".lstrip("."), each)]
    if isinstance(value, list | tuple) and any(isinstance(each, dict) for each in value):
        return [leaf for n, each in enumerate(value) for leaf in _flat(f"{path}[{n}]", each)]
    return [(path, msgspec.json.encode(value).decode())]
