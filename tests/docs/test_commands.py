"""The page of commands is what the commands say."""

import pathlib

from pilothouse.cli.pages import page

PAGE = pathlib.Path(__file__).parent.parent.parent / "docs" / "reference" / "commands.md"


def test_the_page_of_commands_is_up_to_date(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert PAGE.read_text() == page(), "run scripts/docs"
