"""Host paths that no container may have, whoever allows it: one spelling for a path, and who lies below whom.

Nothing here looks at a file system: symbolic links are the node's to resolve (`agent.refusal`).
"""

import posixpath
from collections.abc import Iterable

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


def below(path: str, top: str) -> bool:
    """Whether *path* is *top* or lies in it; both normal."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def sealed(path: str, places: Iterable[str] = SEALED_PATHS) -> bool:
    """Whether *path* is, lies below, or contains one of *places*."""
    asked = normal(path)
    return any(below(asked, normal(place)) or below(normal(place), asked) for place in places)
