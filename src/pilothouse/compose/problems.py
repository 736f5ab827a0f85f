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


class Finding(NamedTuple):
    """One thing that is wrong."""

    mark: Mark
    path: Path
    message: str

    @property
    def text(self) -> str:
        """The finding as a user reads it."""
        where = f"{self.mark}: {dotted(self.path)}" if self.path else str(self.mark)
        return f"{where}: {self.message}"


class FoundError(InvalidManifestError):
    """Findings that still know their places.

    Attributes:
        final: Whether no later stage could find more.
    """

    def __init__(self, found: list[Finding], *, final: bool = False) -> None:
        plain = invalid([finding.text for finding in found])
        super().__init__(str(plain), plain.errors)
        self.found = found
        self.final = final


def ranked(found: list[Finding]) -> list[Finding]:
    """Return findings by file, in the order in which the files were first found wrong, then line and column."""
    order = {finding.mark.file: number for number, finding in reversed(list(enumerate(found)))}
    return sorted(found, key=lambda finding: (order[finding.mark.file], finding.mark.line, finding.mark.column))


class Problems:
    """Findings of one stage of loading, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(self, mark: Mark, path: Path, message: str) -> None:
        """Record that what lies at path is wrong; saying the same twice counts once."""
        finding = Finding(mark, path, message)
        self._found.setdefault(finding.text, finding)

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_any(self, *, final: bool = False) -> None:
        """Raise one error that holds every finding, or return when there is none.

        Args:
            final: Whether no later stage could find more.

        Raises:
            InvalidManifestError: If anything was found.
        """
        if self._found:
            raise FoundError(ranked(list(self._found.values())), final=final)


def invalid(found: Iterable[str]) -> InvalidManifestError:
    """Return one error for these findings; a long list is cut in the message, never in its `errors`."""
    errors = tuple(found)
    shown = list(errors[:MAX_REPORTED])
    if len(errors) > MAX_REPORTED:
        shown.append(f"and {len(errors) - MAX_REPORTED} more")
    return InvalidManifestError("\n".join(shown), errors)


def broken(mark: Mark, path: Path, message: str) -> InvalidManifestError:
    """Return the error for one finding after which loading cannot go on."""
    return FoundError([Finding(mark, path, message)])
