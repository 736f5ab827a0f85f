"""Every command line that the documentation shows is one the program takes."""

import pathlib
import re
import shlex

import click
import pytest

from pilothouse.cli.main import cli

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
_SHOWN = re.compile(r"(?:^ {4,}|^\$ |`)(?:\S*/)?(pilothouse [a-z][^`\n#]*)", re.MULTILINE)
# What a page may write where a person puts a word of their own.
_OPEN = re.compile(r"[….]{1,3}$")
COMMANDS = sorted({(str(p.relative_to(ROOT)), shown.strip()) for p in PAGES for shown in _SHOWN.findall(p.read_text())})


def resolve(words):
    """Return the command that *words* name, and the words after its name."""
    command, rest = cli, list(words)
    while isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            return command, rest
        context = click.Context(command)
        found = command.get_command(context, rest[0])
        assert found is not None, f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
    return command, rest


@pytest.mark.parametrize(("page", "shown"), COMMANDS, ids=lambda text: text[:60])
def test_every_command_that_a_page_shows_exists_with_its_options(page, shown):
    line = shown.split(" · ")[0].split("|")[0]
    words = [word for word in shlex.split(line)[1:] if not _OPEN.search(word) or "/" in word]
    command, rest = resolve(words)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    asked = [word.split("=")[0] for word in rest if word.startswith("-") and word not in {"-", "--"}]
    assert [option for option in asked if option not in known | {"--help", "-h"}] == []


def test_the_pages_show_commands_at_all():
    assert len(COMMANDS) > 30
