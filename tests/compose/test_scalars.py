"""What a plain scalar means: 1.2 types, and none of the surprises of YAML 1.1."""

import pytest

from pilothouse.compose import scalars
from pilothouse.compose.casts import as_text

# Literals that YAML 1.1 turns into something else than people mean, and what they are here.
TRAPS = {
    "22:22": "22:22",
    "190:20:30": "190:20:30",
    "12:30:45": "12:30:45",
    "1:2": "1:2",
    "on": "on",
    "On": "On",
    "ON": "ON",
    "off": "off",
    "yes": "yes",
    "Yes": "Yes",
    "no": "no",
    "NO": "NO",
    "y": "y",
    "Y": "Y",
    "n": "n",
    "N": "N",
    "2001-01-01": "2001-01-01",
    "2001-1-1": "2001-1-1",
    "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "2001-01-01 10:00:00": "2001-01-01 10:00:00",
    "=": "=",
    "<<": "<<",
    "tRue": "tRue",
    "1,000": "1,000",
    "0o8": "0o8",
    "_1": "_1",
    "0x1p-2": "0x1p-2",
    "1e400": "1e400",
    "nan": "nan",
    "Inf": "Inf",
    "infinity": "infinity",
    "1.2.3": "1.2.3",
    "9" * 4300: "9" * 4300,
    "0b": "0b",
    "+": "+",
    ".": ".",
    "True": True,
    "FALSE": False,
    "null": None,
    "~": None,
    "": None,
    "0123": 83,
    "0o17": 15,
    "0x1F": 31,
    "0b101": 5,
    "08": 8.0,
    "1_000": 1000,
    "+1": 1,
    "-0": 0,
    "1e3": 1000.0,
    ".5": 0.5,
    "1.": 1.0,
    "9223372036854775808": 9223372036854775808,
    "18446744073709551616": 18446744073709551616.0,
}


@pytest.mark.parametrize(("text", "value"), TRAPS.items(), ids=[text[:30] or "empty" for text in TRAPS])
def test_a_plain_scalar_means_what_it_says(text, value):
    found = scalars.resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_there_are_at_least_forty_traps():
    assert len(TRAPS) >= 40


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"),
        (0.1, "0.1"),
        (1e3, "1000"),
        (1e6, "1e+06"),
        (123456789.0, "1.23456789e+08"),
        (1e21, "1e+21"),
        (1e-5, "1e-05"),
        (0.0001, "0.0001"),
        (-0.0, "-0"),
        (999999.5, "999999.5"),
        (float("inf"), "+Inf"),
        (5e-324, "5e-324"),
    ],
)
def test_a_number_in_a_string_is_written_in_its_shortest_form(number, text):
    assert as_text(number) == text
