"""What is done to the platform's state while no server runs: the only part of the command line that opens a store."""

import os
import pathlib

from pilothouse.cli import lifecycle, output, times
from pilothouse.cli.backend import Moved, uses_members
from pilothouse.cli.places import Places
from pilothouse.errors import ConflictError, InvalidRequestError
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
    """Move the state into etcd or into a file, and say what was moved.

    Raises:
        ConflictError: A server runs, or the state is there already.
        StoreUnavailableError: etcd is not installed, does not start, or most members do not answer.
        StoreCorruptError: What is there is damaged; nothing was changed.
    """
    _check_stopped(places)
    data = pathlib.Path(places.data)
    if to == "etcd" and not (data / STORE_FILE).exists() and not uses_members(data):
        raise InvalidRequestError(f"{data} holds no state: name the data directory of a server with --data")
    from pilothouse.cli import moving  # noqa: PLC0415 - one host need not pay for etcd's protocol

    if to == "etcd":
        moved = moving.to_members(data, os.environ, advertise or "")
        _say(places, "was moved into etcd:", moved)
    else:
        _say(places, "was moved into store.db:", moving.to_file(data, os.environ))


def become_manager(places: Places) -> None:
    """Give this machine a member of the replicated store, and say so.

    Raises:
        ConflictError: An agent or a server runs, or the machine is not approved as a manager yet.
        NotClusteredError: It did not join as a manager.
        ServerUnavailableError, StoreUnavailableError: No manager answers, or etcd does not start.
    """
    _check_stopped(places)
    from pilothouse.cli import becoming  # noqa: PLC0415 - one host need not pay for etcd's protocol

    node = becoming.become_manager(pathlib.Path(places.data), os.environ)
    output.line(f"{node} is a manager: `pilothouse server start` starts its server")


def _check_stopped(places: Places) -> None:
    pid = lifecycle.running_pid(places)
    if pid is not None:
        raise ConflictError(
            f"a server or an agent runs (process {pid}): stop it first with `pilothouse server stop` or "
            "`pilothouse agent stop`"
        )


def _say(places: Places, said: str, moved: Moved) -> None:
    output.line(
        f"{places.data} {said} revision {moved.revision}, {count(moved.objects, 'object')}, "
        f"{count(moved.commits, 'kept commit')}; `pilothouse server start` starts the server on it"
    )
