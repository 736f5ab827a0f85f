"""`pilothouse compat`: what becomes of each key of a Compose file, with reason and advice; needs no server."""

import pathlib

import click

from pilothouse.cli import output
from pilothouse.cli.command import EXIT_DONE, EXIT_REFUSED, command
from pilothouse.compose.compat import UsedKey, judge
from pilothouse.compose.problems import invalid
from pilothouse.errors import InvalidManifestError


@command(
    "compat",
    examples=[
        ("pilothouse compat compose.yaml", "what becomes of each key of the file, and why"),
        ("pilothouse compat compose.yaml compose.prod.yaml --format json", "two files, for a program to read"),
    ],
    exits={
        EXIT_DONE: "no key is refused; some may need a grant",
        EXIT_REFUSED: "a key is refused, or a file cannot be read",
    },
)
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(exists=True, dir_okay=False, readable=True)
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print verdicts.")
@click.pass_context
def compat(context: click.Context, files: tuple[str, ...], form: str) -> None:
    """Say what becomes of each key that Compose files use.

    Each key is honoured, needs care or a grant, means something on a laptop or on Windows only, or is refused. Each
    FILE is read as written: variables are not filled in, extends and include are not followed.
    """
    used = _judged(files)
    if form == "json":
        output.json([_plain(one) for one in used])
    else:
        for line in _lines(used):
            output.line(line)
    context.exit(EXIT_REFUSED if any(one.refused for one in used) else EXIT_DONE)


def _judged(files: tuple[str, ...]) -> list[UsedKey]:
    used: list[UsedKey] = []
    problems: list[str] = []
    for name in files:
        try:
            used.extend(judge(pathlib.Path(name).read_bytes(), name))
        except InvalidManifestError as error:
            problems.extend(error.errors)
    if problems:
        raise invalid(problems)
    return used


def _plain(one: UsedKey) -> dict[str, object]:
    """Return a verdict as JSON shows it: flat, every field present."""
    verdict = one.verdict
    return {
        "path": one.path,
        "file": one.file,
        "line": one.line,
        "column": one.column,
        "class": verdict.key_class.value,
        "reason": verdict.reason,
        "advice": verdict.advice,
        "grants": verdict.grants,
    }


def _lines(used: list[UsedKey]) -> list[str]:
    places = [f"{one.file}:{one.line}" for one in used]
    wide = max(map(len, places), default=0)
    classes = max((len(one.verdict.key_class.value) for one in used), default=0)
    paths = max((len(one.path) for one in used), default=0)
    lines = [
        f"{place:<{wide}}  {one.verdict.key_class.value:<{classes}}  {one.path:<{paths}}  {_sentence(one)}"
        for place, one in zip(places, used, strict=True)
    ]
    counts: dict[str, int] = {}
    for one in used:
        counts[one.verdict.key_class.value] = counts.get(one.verdict.key_class.value, 0) + 1
    total = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return [*lines, f"{len(used)} keys: {total}" if used else "no keys"]


def _sentence(one: UsedKey) -> str:
    return one.verdict.reason + (f"; {one.verdict.advice}" if one.verdict.advice else "")
