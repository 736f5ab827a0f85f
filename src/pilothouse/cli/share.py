"""Whether this machine has a share of the cluster's state, told by its files alone. Imports nothing that is slow."""

import pathlib

from pilothouse.cli.places import Places

MEMBER = "etcd"
"""The directory of this machine's member, in the data directory."""

SETTINGS = "member.json"
JOINING = "joining"
"""In the member's directory until the member has its vote for the first time."""


def configured(data: str | pathlib.Path) -> bool:
    """Whether this machine has a member, be it one that only follows so far."""
    return pathlib.Path(data, MEMBER, SETTINGS).exists()


def complete(data: str | pathlib.Path) -> bool:
    """Whether this machine's member has its vote, so that a server can run on it."""
    return configured(data) and not pathlib.Path(data, MEMBER, JOINING).exists()


PROGRESS = "becoming"
"""In the run directory: one sentence about what this machine waits for before it is a manager."""


def progress(places: Places) -> str:
    """Return what this machine waits for before it is a manager, or ""."""
    try:
        return pathlib.Path(places.run, PROGRESS).read_text()
    except OSError:
        return ""
