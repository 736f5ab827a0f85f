"""How many of something, in words: one place, so that nothing says "1 tasks"."""

from collections.abc import Sequence


def count(number: int, noun: str) -> str:
    """Return "1 task", "2 tasks", "0 tasks"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_a_row(failures: int) -> str:
    """Return "1 failure", "2 failures in a row"."""
    return count(failures, "failure") + (" in a row" if failures > 1 else "")


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"; "" of nothing."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
