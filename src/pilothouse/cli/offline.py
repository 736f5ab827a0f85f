"""What is done to the platform's state while no server runs: the only part of the command line that opens a store."""

import pathlib

from pilothouse.cli import lifecycle, output, times
from pilothouse.cli.places import Places
from pilothouse.errors import ConflictError, InvalidRequestError
from pilothouse.store import backup
from pilothouse.store.directory import FILE as STORE_FILE


def restore(file: str, places: Places, *, force: bool) -> None:
    """Put a backup back and say what it holds.

    Raises:
        ConflictError: A server runs.
        InvalidRequestError: There is a store already and *force* is False, or *file* is no backup.
        StoreCorruptError: *file* is damaged; nothing was changed.
    """
    pid = lifecycle.running_pid(places)
    if pid is not None:
        raise ConflictError(f"the server runs (process {pid}): stop it first with `pilothouse server stop`")
    data = pathlib.Path(places.data)
    if not force and (data / STORE_FILE).exists():
        raise InvalidRequestError(
            f"{data} holds a store already: choose another directory with --data, or replace it with --force"
        )
    found = backup.restore(pathlib.Path(file), data, overwrite=force)
    output.line(
        f"{data} holds revision {found.revision} of {times.stamp(found.at)}: {found.objects} objects; "
        "`pilothouse server start` starts the server on it"
    )
