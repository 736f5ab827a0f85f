"""What is sent to a machine that has no package index: this installation, every package it needs, as one archive.

Wheels are unpacked archives that may be moved, so what runs here runs on a machine of the same architecture with the
same version of Python. The programs that packages install beside themselves are left out: nothing of ours calls them.
"""

import hashlib
import importlib.metadata
import pathlib
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

import pilothouse
from pilothouse.errors import NotFoundError
from pilothouse.model.base import Value

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LEFT_OUT = ("__pycache__", ".pyc")


class Bundle(Value, frozen=True, kw_only=True):
    """Files to send.

    Attributes:
        name: Version and a hash of the contents: two with one name are the same.
        files: Name below site-packages to where it is here, in order.
        size_bytes: Of all of them.
    """

    name: str
    files: tuple[tuple[str, str], ...]
    size_bytes: int


def bundle() -> Bundle:
    """Return the files of this installation.

    Raises:
        NotFoundError: A package that Pilothouse needs is not installed here.
    """
    found = dict(_own())
    for name in sorted(needed("pilothouse")):
        found.update(_files(importlib.metadata.distribution(name)))
    digest, size = hashlib.sha256(), 0
    for name, path in sorted(found.items()):
        content = path.read_bytes()
        size += len(content)
        digest.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return Bundle(
        name=f"{pilothouse.__version__}-{digest.hexdigest()[:12]}",
        files=tuple((name, str(path)) for name, path in sorted(found.items())),
        size_bytes=size,
    )


def needed(name: str) -> set[str]:
    """Return the names of the packages that *name* needs, and those need, without itself.

    Raises:
        NotFoundError: One of them is not installed.
    """
    found: set[str] = set()
    pending = [(name, "")]
    while pending:
        each, condition = pending.pop()
        try:
            requirements = importlib.metadata.requires(each) or ()
        except importlib.metadata.PackageNotFoundError as error:
            # What a condition asks for and is not there was not wanted on this platform.
            if condition:
                continue
            raise NotFoundError(
                f"the package {each}, which Pilothouse needs, is not installed here, so this installation cannot be "
                "sent: install Pilothouse anew"
            ) from error
        found.add(each)
        for requirement in requirements:
            wanted, _, condition = requirement.partition(";")
            matched = _NAME.match(wanted.strip())
            if matched and "extra ==" not in condition and matched[0] not in found:
                pending.append((matched[0], condition.strip()))
    return found - {name}


def write(made: Bundle, archive: BinaryIO) -> None:
    """Write *made* as a compressed archive; the same files give the same owner, mode and time whoever calls."""
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for name, path in made.files:
            source = pathlib.Path(path)
            entry = tarfile.TarInfo(name)
            entry.size = source.stat().st_size
            entry.mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
            with source.open("rb") as content:
                tar.addfile(entry, content)


def _own() -> Iterator[tuple[str, pathlib.Path]]:
    """Yield the files of the package itself, wherever it is imported from."""
    root = pathlib.Path(pilothouse.__file__).parent
    for path in sorted(root.rglob("*")):
        name = f"pilothouse/{path.relative_to(root)}"
        if path.is_file() and _wanted(name):
            yield name, path


def _files(package: importlib.metadata.Distribution) -> Iterator[tuple[str, pathlib.Path]]:
    for each in package.files or ():
        path = pathlib.Path(str(package.locate_file(each)))
        if _wanted(str(each)) and path.is_file():
            yield str(each), path


def _wanted(name: str) -> bool:
    return not name.startswith(("..", "/")) and not any(part in name for part in _LEFT_OUT)
