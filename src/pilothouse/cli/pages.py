"""Writes docs/reference/commands.md from the commands themselves: `python -m pilothouse.cli.pages docs/reference`."""

import pathlib
import sys
from collections.abc import Iterator

import click

from pilothouse.cli.main import cli

_WIDTH = 100
_HEAD = """\
# Commands

Written by `scripts/docs` from what each command says with `--help`; a test keeps it up to date. Every command ends with
0 if it did what was asked, 2 if that failed, 3 if it was refused, and 130 if it was interrupted. An error is one line
on standard error, `error PHxxx: what, where, why, what to do`, and with `--json` an RFC 9457 problem; the codes are
explained in [errors](errors/). Control characters in what containers wrote are never passed on to a terminal;
`NO_COLOR` switches colours off.
"""


def page() -> str:
    """Return the page."""
    return _HEAD + "".join(f"\n## {name}\n\n```text\n{text}\n```\n" for name, text in _helps(cli, "pilothouse", None))


def _helps(found: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    context = click.Context(
        found,
        info_name=name.rsplit(" ", 1)[-1],
        parent=parent,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield name, "\n".join(line.rstrip() for line in found.get_help(context).splitlines())
    if isinstance(found, click.Group):
        for each in found.list_commands(context):
            below = found.get_command(context, each)
            if below is not None:
                yield from _helps(below, f"{name} {each}", context)


if __name__ == "__main__":
    pathlib.Path(sys.argv[1], "commands.md").write_text(page())
