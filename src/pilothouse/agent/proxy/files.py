"""The files that Envoy watches: swapped whole, written only when their content changes."""

import contextlib
import os
import pathlib

import msgspec

from pilothouse.agent.proxy.document import LISTENERS, Json, resource_file, version_of

_FILE_MODE = 0o640


class Files:
    """The resource files of one proxy directory; their group is that of Envoy's user (-1 leaves it)."""

    def __init__(self, directory: pathlib.Path, group: int) -> None:
        self._directory = directory
        self._group = group
        self._known: dict[str, bytes] = {}

    def write(self, files: dict[str, list[Json]], nonce: int = 0) -> dict[str, str]:
        """Write those *files* whose content is another than before; return the versions of those that were.

        Args:
            files: Resources by path.
            nonce: A new one has listeners tried again that could not be taken over.
        """
        changed = {}
        for path, resources in files.items():
            content = resource_file(resources, nonce if path == LISTENERS else 0)
            if self.read(path) != content:
                self.swap(path, content)
                changed[path] = version_of(content)
        return changed

    def read(self, path: str) -> bytes | None:
        """Return what a file holds, or None."""
        if path not in self._known:
            try:
                self._known[path] = (self._directory / path).read_bytes()
            except FileNotFoundError:
                return None
        return self._known[path]

    def swap(self, path: str, content: bytes) -> None:
        """Put a file in place whole."""
        whole = self._directory / path
        part = whole.with_name(f".{whole.name}.part")
        part.write_bytes(content)
        part.chmod(_FILE_MODE)
        if self._group >= 0:
            os.chown(part, -1, self._group)
        part.rename(whole)
        self._known[path] = content

    def forget(self) -> None:
        """Look at the disk again instead of trusting what was written."""
        self._known.clear()

    def versions(self, paths: list[str]) -> dict[str, str]:
        """Return the versions that are on disk."""
        found = {path: self.read(path) for path in paths}
        return {path: version_of(content) for path, content in found.items() if content is not None}

    def keep(self, paths: set[str]) -> None:
        """Remove every resource file that is not among *paths*."""
        for file in (self._directory / "config").glob("*ds-*.json"):
            path = f"config/{file.name}"
            if path not in paths:
                with contextlib.suppress(FileNotFoundError):
                    file.unlink()
                self._known.pop(path, None)

    def resources(self, path: str) -> list[Json]:
        """Return the resources that a file holds; () if it is not there or not ours."""
        content = self.read(path)
        if content is None:
            return []
        try:
            return msgspec.json.decode(content, type=_Resources).resources
        except msgspec.MsgspecError:
            return []


class _Resources(msgspec.Struct):
    resources: list[Json]
