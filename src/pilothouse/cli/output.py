"""What commands write: tables, JSON and lines, with nothing in them that could command a terminal.

Names, messages and log lines come from containers and other people. Every control character is taken out of them but
tab, and on a terminal the sequences that only set colours.
"""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

import click
import msgspec

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36", "grey": "90"}
TASK_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")
_RESET = "\x1b[0m"
_SGR = re.compile(r"\x1b\[[0-9;:]*m\Z")
_CONTROL = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # strings: title, clipboard, links
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # sequences with parameters
    r"|\x1b[ -/]*[0-~]?"  # other escapes
    r"|[\x00-\x08\x0a-\x1f\x7f-\x9f]"
    r"|[\u202a-\u202e\u2066-\u2069\u2028\u2029]"  # direction overrides and line breaks of Unicode
)


def clean(text: str, *, keep_colour: bool = False) -> str:
    """Return *text* as one harmless line; with *keep_colour*, sequences that set colours stay and end with a reset."""
    if text.isascii() and text.isprintable():
        return text
    kept = False

    def replace(found: re.Match[str]) -> str:
        nonlocal kept
        if keep_colour and _SGR.match(found[0]):
            kept = True
            return found[0]
        return ""

    cleaned = _CONTROL.sub(replace, text.encode("utf-8", "replace").decode())
    return cleaned + _RESET if kept else cleaned


def colour_wanted(stream: TextIO) -> bool:
    """Whether *stream* is a terminal whose user did not set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, *, on: bool) -> str:
    """Return *text* in *colour* if *on*."""
    return f"\x1b[{_COLOURS[colour]}m{text}{_RESET}" if on and colour else text


def line(text: str) -> None:
    """Write one line to standard output, harmless."""
    click.echo(clean(text, keep_colour=colour_wanted(sys.stdout)))


def note(text: str) -> None:
    """Write one line for the person, not for a program, to standard error."""
    click.echo(clean(text, keep_colour=colour_wanted(sys.stderr)), err=True)


def json(value: object) -> None:
    """Write *value* as indented JSON to standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def plain(value: object) -> dict[str, object]:
    """Return a struct's fields as JSON values."""
    made = msgspec.to_builtins(value)
    if not isinstance(made, dict):
        raise TypeError("only structs have fields")
    return made


def json_line(value: object) -> None:
    """Write *value* as one line of JSON, for streams."""
    click.echo(msgspec.json.encode(value).decode())


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to standard output: left-aligned columns two spaces apart, the last one as long as it likes."""
    colour = colour_wanted(sys.stdout)
    for text in format_table(heads, rows, keep_colour=colour):
        click.echo(text)


def format_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, keep_colour: bool = False) -> list[str]:
    """Return the lines of a table; empty cells are "-"."""
    cells = [[clean(cell, keep_colour=keep_colour) or "-" for cell in row] for row in rows]
    widths = [max([len(head), *(width(row[n]) for row in cells)]) for n, head in enumerate(heads)]
    return [_row(row, widths) for row in (list(heads), *cells)]


def width(text: str) -> int:
    """Return how many columns *text* takes, colours not counted."""
    return len(_CONTROL.sub("", text))


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)).rstrip()
