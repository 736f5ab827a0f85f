"""The only reader of files that a manifest names, and the rule which files those may be.

A manifest may name files below the project directory, and below directories the caller allows. A path that leaves
them, through `..`, an absolute path, `~` or a symbolic link, is refused before anything is read, and so is anything
that is not a regular file. Files that the caller names on the command line are read wherever they are.
"""

import os
import posixpath
import stat

from pilothouse.compose import limits

_ALLOW = "move it below the project directory, or allow its directory with --allow-path"


class FileError(ValueError):
    """The file cannot be read; the message says why and what to do."""


class FileMissingError(FileError):
    """There is no such file."""


class Reader:
    """Reads files for one load.

    Args:
        roots: Directories that manifests may read below; the project directory is the first.
        home: What `~` stands for; "" leaves it alone.
    """

    def __init__(self, roots: tuple[str, ...], home: str = "") -> None:
        self._roots = tuple(os.path.realpath(root) for root in roots)
        self._home = home
        self._left = limits.MAX_FILES

    def named(self, path: str) -> bytes:
        """Return the content of a file that a manifest names.

        Raises:
            FileMissingError: If there is none.
            FileError: If it is outside of what may be read, too large, or no regular file.
        """
        self.check(path)
        return self.given(path)

    def check(self, path: str) -> None:
        """Return if a manifest may name this path.

        Raises:
            FileError: If not.
        """
        if "\0" in path:
            raise FileError("the path has a NUL character in it; remove it")
        real = os.path.realpath(path)
        if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in self._roots):
            raise FileError(f"{path} is outside of the project directory {self._roots[0]}; {_ALLOW}")

    def given(self, path: str) -> bytes:
        """Return the content of a file that the caller names.

        Raises:
            FileMissingError: If there is none.
            FileError: If it is too large or no regular file, or too many were read.
        """
        self._left -= 1
        if self._left < 0:
            raise FileError(f"more than {limits.MAX_FILES} files; include fewer")
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise FileMissingError(f"{path} does not exist; create it, or correct the path") from None
        except (OSError, ValueError) as error:
            raise FileError(f"{path!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise FileError(f"{path} is not a regular file; write the path of a file")
            content = _read(handle)
        finally:
            os.close(handle)
        if len(content) > limits.MAX_BYTES:
            raise FileError(f"{path} is larger than {limits.MAX_BYTES} bytes; make it smaller")
        return content

    def absolute(self, path: str, base: str) -> str:
        """Return path as seen from base, with `~` replaced."""
        return absolute(self.expanded(path), base)

    def expanded(self, path: str) -> str:
        """Return path with a leading `~` replaced by the home directory."""
        return clean(self._home + "/" + path[1:]) if path.startswith("~") and self._home else path


def _read(handle: int) -> bytes:
    """Return what the file holds, one byte more than allowed at most."""
    parts: list[bytes] = []
    left = limits.MAX_BYTES + 1
    while left and (part := os.read(handle, left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def absolute(path: str, base: str) -> str:
    """Return path as seen from base; an absolute path stays as written."""
    return path if path.startswith("/") else clean(f"{base}/{path}")


def clean(path: str) -> str:
    """Return path without `.`, `..` and doubled slashes."""
    cleaned = posixpath.normpath(path)
    return "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned


def is_file(path: str) -> bool:
    """Return whether path is a file that can be looked at."""
    return "\0" not in path and os.path.isfile(path)
