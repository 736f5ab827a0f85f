"""Host paths: one spelling, who covers whom, and those no grant opens.

The server cannot see a node's symbolic links; paths are compared as written, after normalisation.
"""

import posixpath

from pilothouse.errors import InvalidRequestError

READ_ONLY = ":ro"

# A container that reaches one of these controls the host or this platform, whatever its other limits are.
ENGINE_SOCKETS = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/docker",
    "/run/podman",
    "/run/containerd",
    "/run/crio",
    "/run/user",
    "/run/pilothouse",
)
OWN_DATA = ("/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", "/var/lib/pilothouse")
SEALED_PATHS = ENGINE_SOCKETS + OWN_DATA


def normal(path: str) -> str:
    """Return *path* without "." and ".." and doubled slashes, and with /var/run as the /run it is."""
    flat = posixpath.normpath("/" + path.lstrip("/"))
    return flat.removeprefix("/var") if flat == "/var/run" or flat.startswith("/var/run/") else flat


def clean_grant(value: str) -> str:
    """Return the spelling of a granted path.

    Raises:
        InvalidRequestError: It is not absolute, or no grant can open it.
    """
    path, read_only = split(value)
    if not path.startswith("/"):
        raise InvalidRequestError(f"{value[:80]!r} is not a host path: write it from the root, e.g. /srv/data:ro")
    if sealed(path):
        raise InvalidRequestError(
            f"{path[:80]!r} holds, or contains, an engine's socket or this platform's own data; no grant opens it"
        )
    return normal(path) + (READ_ONLY if read_only else "")


def split(value: str) -> tuple[str, bool]:
    """Return a granted or asked value's path, and whether it is for reading only."""
    return (value.removesuffix(READ_ONLY), True) if value.endswith(READ_ONLY) else (value, False)


def covers(granted: str, asked: str) -> bool:
    """Whether a grant of *granted* allows *asked*: the same path or one below it, and no more than reading if ":ro"."""
    granted_path, granted_reading = split(granted)
    asked_path, asked_reading = split(asked)
    return _below(normal(asked_path), normal(granted_path)) and (asked_reading or not granted_reading)


def sealed(path: str) -> bool:
    """Whether no grant opens *path*: it is, lies below, or contains a place that controls the host or this platform."""
    asked = normal(path)
    return any(_below(asked, normal(place)) or _below(normal(place), asked) for place in SEALED_PATHS)


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")
