"""What this machine remembers of the cluster it is in: DATA/membership.json. A platform on one host has none."""

import os
import pathlib
import tempfile

import msgspec

from pilothouse.errors import InvalidRequestError
from pilothouse.model.base import Value
from pilothouse.model.cluster import Role
from pilothouse.model.skew import Codec

FILE = "membership.json"


class Membership(Value, frozen=True, kw_only=True):
    """This machine's place in a cluster.

    Attributes:
        role: What it runs: a manager that waits for approval runs what an agent runs.
        cluster: The cluster's id.
        managers: "HOST:PORT" of the managers' listeners for agents, as last heard.
        advertise: "HOST:PORT" of a manager's own API; an agent's host, or "".
    """

    role: Role
    node_id: str
    cluster: str
    managers: tuple[str, ...] = ()
    advertise: str = ""


_KNOWN = Codec(Membership, json=True)


def load(data: str | pathlib.Path) -> Membership | None:
    """Return what is remembered in a data directory, or None.

    Raises:
        InvalidRequestError: The file cannot be read or is damaged.
    """
    path = pathlib.Path(data, FILE)
    try:
        return _KNOWN.decode(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise InvalidRequestError(f"{path} cannot be read: run the command with sudo") from error
    except (OSError, InvalidRequestError) as error:
        raise InvalidRequestError(
            f"{path} is damaged ({error}): restore it, or leave the cluster and join again"
        ) from (error)


def save(data: str | pathlib.Path, membership: Membership) -> None:
    """Remember *membership*, whole and durable or not at all; for the owner's eyes only."""
    directory = pathlib.Path(data)
    descriptor, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=directory)  # mode 0600
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(membership), indent=2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(name, directory / FILE)
    folder = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def forget(data: str | pathlib.Path) -> None:
    """Remember nothing; does nothing where there is nothing."""
    pathlib.Path(data, FILE).unlink(missing_ok=True)
