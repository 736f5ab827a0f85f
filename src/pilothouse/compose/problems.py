"""Where something is wrong in a manifest, and collecting several such findings into one error."""

from collections.abc import Iterable
from typing import NamedTuple

from pilothouse.errors import InvalidManifestError

MAX_REPORTED = 20


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


#: A place in a manifest: keys and list indices from the top.
Path = tuple[str | int, ...]
Marks = dict[Path, Mark]


def dotted(path: Path) -> str:
    """Return a path as a user reads it."""
    return ".".join(str(part) for part in path)


def nearest(marks: Marks, path: Path, file: str) -> Mark:
    """Return the mark of path, or of the closest thing around it that has one."""
    for length in range(len(path), -1, -1):
        if path[:length] in marks:
            return marks[path[:length]]
    return Mark(file, 0, 0)


class Problems:
    """Findings of one stage of loading, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[str, Mark] = {}

    def add(self, mark: Mark, path: Path, message: str) -> None:
        """Record that what lies at path is wrong; saying the same twice counts once."""
        where = f"{mark}: {dotted(path)}: {message}" if path else f"{mark}: {message}"
        self._found.setdefault(where, mark)

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_any(self) -> None:
        """Raise one error that holds every finding, or return when there is none.

        Raises:
            InvalidManifestError: If anything was found.
        """
        if self._found:
            order = {mark.file: number for number, mark in reversed(list(enumerate(self._found.values())))}
            ranked = sorted(self._found.items(), key=lambda item: (order[item[1].file], item[1].line, item[1].column))
            raise invalid([text for text, _ in ranked])


def invalid(found: Iterable[str]) -> InvalidManifestError:
    """Return one error for these findings; a long list is cut in the message, never in its `errors`."""
    errors = tuple(found)
    shown = list(errors[:MAX_REPORTED])
    if len(errors) > MAX_REPORTED:
        shown.append(f"and {len(errors) - MAX_REPORTED} more")
    return InvalidManifestError("\n".join(shown), errors)


def broken(mark: Mark, path: Path, message: str) -> InvalidManifestError:
    """Return the error for one finding after which loading cannot go on."""
    return invalid([f"{mark}: {dotted(path)}: {message}" if path else f"{mark}: {message}"])
