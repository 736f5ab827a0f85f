"""What reaches a terminal."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.cli.output import clean, colour_wanted, format_table, width

HARMFUL = {
    "a title": "\x1b]0;owned\x07",
    "a title ended by ST": "\x1b]2;owned\x1b\\",
    "the clipboard": "\x1b]52;c;ZWNobyBvd25lZA==\x07",
    "a device control string": "\x1bP$q\x1b\\",
    "a cleared screen": "\x1b[2J",
    "a moved cursor": "\x1b[1;1H",
    "a question to the terminal": "\x1b[6n",
    "a one-byte sequence": "\x9b2J",
    "a one-byte title": "\x9d0;owned\x9c",
    "a reset": "\x1bc",
    "a bell": "\x07",
    "a carriage return": "\r",
    "a backspace": "\x08",
    "a line break": "\n",
    "a direction override": "\u202e",
    "an escape at the end": "\x1b",
    "an open sequence": "\x1b[",
}


@pytest.mark.parametrize("harm", HARMFUL.values(), ids=HARMFUL)
@pytest.mark.parametrize("keep_colour", [False, True])
def test_nothing_that_commands_a_terminal_gets_through(harm, keep_colour):
    before, after = "before", ""
    assert clean(before + harm + after, keep_colour=keep_colour) == before


def test_an_unended_title_takes_its_text_with_it():
    assert clean("a\x1b]0;owned") == "a"


def test_colours_stay_on_a_terminal_and_end_with_the_line():
    assert clean("\x1b[31mred", keep_colour=True) == "\x1b[31mred\x1b[0m"
    assert clean("\x1b[31mred") == "red"


def test_ordinary_text_of_any_language_is_left_alone():
    for text in ("plain", "tab\tbed", "grün", "日本語", "🙂", "é"):
        assert clean(text) == text


@given(st.text(alphabet=st.one_of(st.sampled_from("\x1b\x9b\x9d[]0;m\x07\\\r\n\x00A"), st.characters())))
def test_no_control_character_survives_whatever_the_text(text):
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", clean(text))
    coloured = re.sub(r"\x1b\[[0-9;:]*m", "", clean(text, keep_colour=True))
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", coloured)


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_is_for_terminals_whose_user_wants_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert colour_wanted(_Terminal())
    assert not colour_wanted(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour_wanted(_Terminal())


def test_a_table_is_aligned_and_shows_empty_cells():
    expected = ["A    LONG", "one  2", "-    three"]
    assert format_table(("A", "LONG"), [("one", "2"), ("", "three")]) == expected


def test_colours_take_no_room_in_a_table():
    lines = format_table(("A", "B"), [("\x1b[31mxx\x1b[0m", "y"), ("xx", "y")], keep_colour=True)
    assert {width(line) for line in lines[1:]} == {5}


def test_a_cell_cannot_forge_a_row():
    assert len(format_table(("A",), [("x\nFORGED  running",)])) == 2
