"""What dead tasks wrote, kept after their containers are gone: one compressed file for each task.

A file holds at most LINES lines and BYTES bytes, the newest; it appears whole or not at all.
"""

import gzip
import os
import pathlib
import zlib
from collections.abc import Collection, Iterable

import msgspec

from pilothouse import log
from pilothouse.model.skew import Codec
from pilothouse.model.wire import LogLine, LogQuery

LINES = 10_000
BYTES = 4 << 20
_SUFFIX = ".log.gz"
_LINE = Codec(LogLine, json=True)


class LogArchive:
    """Logs of dead tasks in one directory."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory

    def has(self, task_id: str) -> bool:
        """Return whether the log of the task was saved."""
        return self._path(task_id).exists()

    def save(self, task_id: str, lines: Iterable[LogLine]) -> None:
        """Keep the newest of *lines*; what was saved before under this id is replaced."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        encoded = [msgspec.json.encode(line) for line in lines]
        kept, size = [], 0
        for line in reversed(encoded[-LINES:]):
            size += len(line) + 1
            if size > BYTES:
                break
            kept.append(line)
        new = self._path(task_id).with_suffix(".new")
        with new.open("wb") as file:
            file.write(gzip.compress(b"\n".join(reversed(kept)), compresslevel=1))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path(task_id))

    def read(self, query: LogQuery) -> tuple[LogLine, ...]:
        """Return the saved lines *query* asks for, oldest first; none if nothing was saved."""
        try:
            data = gzip.decompress(self._path(query.task_id).read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, EOFError, zlib.error) as error:
            log.event("warning", "log.unreadable", task=query.task_id, error=repr(error))
            return ()
        low, high = query.since or 0.0, float("inf") if query.until is None else query.until
        lines = [line for line in map(_LINE.decode, data.splitlines()) if low <= line.at <= high]
        return tuple(lines if query.tail is None else lines[max(0, len(lines) - query.tail) :])

    def forget(self, task_id: str) -> None:
        """Delete the log of a task; none is fine."""
        self._path(task_id).unlink(missing_ok=True)

    def drop_oldest(self, disk: str) -> bool:
        """Delete the log that was saved first, if the logs are on the same disk as the path *disk* and there is one."""
        try:
            if os.stat(self._directory).st_dev != os.stat(disk).st_dev:
                return False
            oldest = min(self._directory.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime, default=None)
            if oldest is not None:
                oldest.unlink()
        except FileNotFoundError:  # no log was ever saved, or its task was forgotten meanwhile
            return False
        return oldest is not None

    def sweep(self, keep: Collection[str]) -> None:
        """Delete the logs of every task that is not in *keep*."""
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                if path.name.partition(".")[0] not in keep:
                    path.unlink(missing_ok=True)

    def _path(self, task_id: str) -> pathlib.Path:
        return self._directory / f"{task_id}{_SUFFIX}"
