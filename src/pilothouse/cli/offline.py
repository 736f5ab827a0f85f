"""What is done to the platform's state while no server runs: the only part of the command line that opens a store."""

import os
import pathlib
from collections.abc import Mapping

from pilothouse.cli import lifecycle, output, times
from pilothouse.cli.backend import Moved, uses_members
from pilothouse.cli.places import Places
from pilothouse.errors import ConflictError, InvalidRequestError, StoreUnavailableError
from pilothouse.model.counts import count
from pilothouse.store import backup
from pilothouse.store.directory import FILE as STORE_FILE


def restore(file: str, places: Places, *, force: bool, to: str = "sqlite") -> None:
    """Put a backup back and say what it holds.

    Args:
        file: What `pilothouse backup` wrote.
        places: Of the server that will run on it.
        force: A state that is there may be replaced.
        to: "sqlite" or "etcd".

    Raises:
        ConflictError: A server runs.
        InvalidRequestError: There is a state already and *force* is False, or *file* is no backup.
        StoreCorruptError: *file* is damaged; nothing was changed.
    """
    _check_stopped(places)
    data = pathlib.Path(places.data)
    if to == "etcd":
        from pilothouse.cli import moving  # noqa: PLC0415 - one host need not pay for etcd's protocol

        _say(places, "holds", moving.restore(pathlib.Path(file), data, os.environ, overwrite=force))
        return
    if not force and ((data / STORE_FILE).exists() or uses_members(data)):
        raise InvalidRequestError(
            f"{data} holds a store already: choose another directory with --data, or replace it with --force"
        )
    found = backup.restore(pathlib.Path(file), data, overwrite=force)
    output.line(
        f"{data} holds revision {found.revision} of {times.stamp(found.at)}: {found.objects} objects; "
        "`pilothouse server start` starts the server on it"
    )


def migrate(places: Places, *, to: str, advertise: str | None) -> None:
    """Move the state into etcd or into a file, and say what was moved; a server that runs is away meanwhile.

    Raises:
        ConflictError: The state is there already.
        StoreUnavailableError: etcd is not installed, does not start, or most members do not answer.
        StoreCorruptError: What is there is damaged; nothing was changed.
    """
    data = pathlib.Path(places.data)
    if to == "etcd" and not (data / STORE_FILE).exists() and not uses_members(data):
        raise InvalidRequestError(f"{data} holds no state: name the data directory of a server with --data")
    if uses_members(data) is (to == "etcd"):
        raise ConflictError(f"the state of {data} is in {'etcd' if to == 'etcd' else STORE_FILE} already")
    if to == "etcd":
        check_installed(os.environ)
    lifecycle.check_serves(places)
    pid = lifecycle.stop(places)
    if pid is not None:
        output.line(f"stopped the server (process {pid}); containers run on")
    try:
        _move(places, to, advertise, hint=pid is None)
    finally:
        if pid is not None:
            output.line(lifecycle.start(places))


def _move(places: Places, to: str, advertise: str | None, *, hint: bool) -> None:
    from pilothouse.cli import moving  # noqa: PLC0415 - one host need not pay for etcd's protocol

    data = pathlib.Path(places.data)
    if to == "etcd":
        moved = moving.to_members(data, os.environ, advertise or "")
        _say(places, "was moved into etcd:", moved, hint=hint)
    else:
        _say(places, "was moved into store.db:", moving.to_file(data, os.environ), hint=hint)


def check_installed(environment: Mapping[str, str]) -> None:
    """Accept a machine that can run a member of the store.

    Raises:
        StoreUnavailableError: etcd is not installed.
    """
    from pilothouse.store.etcd.member import MISSING, find_binary  # noqa: PLC0415 - as above

    if not find_binary(environment):
        raise StoreUnavailableError(MISSING)


def _check_stopped(places: Places) -> None:
    pid = lifecycle.running_pid(places)
    if pid is not None:
        raise ConflictError(
            f"a server or an agent runs (process {pid}): stop it first with `pilothouse server stop` or "
            "`pilothouse agent stop`"
        )


def _say(places: Places, said: str, moved: Moved, *, hint: bool = True) -> None:
    start = "; `pilothouse server start` starts the server on it" if hint else ""
    output.line(
        f"{places.data} {said} revision {moved.revision}, {count(moved.objects, 'object')}, "
        f"{count(moved.commits, 'kept commit')}{start}"
    )
