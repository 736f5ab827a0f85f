"""The order of numbers and versions: 1.10 comes after 1.9, and 2.0-rc.1 before 2.0. Pure.

Only the numbers at the front count, so that a kernel's "6.1.0-18-amd64" and an engine's "20.10.24+dfsg1" can be held
against what a person writes. A number with a decimal point is a version: 0.5 comes before 0.25.
"""

import re

_FORM = re.compile(r"v?(?P<numbers>\d{1,18}(?:\.\d{1,18}){0,9})(?P<rest>\Z|[-+~_. ]?[^\d.].{0,200}\Z)", re.DOTALL)
_BEFORE = re.compile(r"[-~_.]?(?P<word>dev|alpha|beta|pre|rc|a|b)(?![a-z])[-._]?(?P<number>\d{0,9})", re.IGNORECASE)
_SEPARATED = re.compile(r"[-+~_. ]")
_RANKS = {"dev": 0, "a": 1, "alpha": 1, "b": 2, "beta": 2, "pre": 3, "rc": 3}
_RELEASED = 4

Version = tuple[tuple[int, ...], int, int]


def version_of(text: str) -> Version | None:
    """Return what *text* is ordered by, or None if it does not begin with a number that stands for itself ("16GB")."""
    found = _FORM.match(text.strip())
    if found is None:
        return None
    numbers = [int(part) for part in found["numbers"].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    rest = found["rest"]
    if before := _BEFORE.match(rest):
        return tuple(numbers), _RANKS[before["word"].lower()], int(before["number"] or 0)
    if rest and not _SEPARATED.match(rest):
        return None
    return tuple(numbers), _RELEASED, 0


def plain_version(text: str) -> str:
    """Return the part of *text* that is compared, as a person should write it; "" if there is none."""
    found = _FORM.match(text.strip())
    if found is None:
        return ""
    before = _BEFORE.match(found["rest"])
    return found["numbers"] + (before[0] if before else "")
