"""How many files Envoy can watch on this host.

It takes an inotify instance for each, and ends itself if it gets none.
"""

import contextlib
import pathlib

from pilothouse import log
from pilothouse.agent.proxy.clusters import cluster_names
from pilothouse.agent.proxy.protocols import manner_of
from pilothouse.agent.proxy.shares import Served

WANTED = 8192
"""What the limit is raised to; enough for two thousand ports."""
_OWN = 8
_LIMIT = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")


def needed(port: Served) -> int:
    """Return how many files there are for one port."""
    return len(cluster_names(port)) + (1 if manner_of(port).http else 0)


def allowed() -> int:
    """Return how many files may be watched for ports, after raising the host's limit if that is low and can be."""
    limit = _read()
    if limit < WANTED:
        with contextlib.suppress(OSError):
            _LIMIT.write_text(f"{WANTED}\n")
            log.event("info", "host.limit-raised", limit="fs.inotify.max_user_instances", was=limit, now=WANTED)
        limit = _read()
    return limit - _OWN


def too_many(ports: tuple[Served, ...], limit: int) -> tuple[Served, ...]:
    """Return those of *ports* that are beyond *limit*; the first ones have precedence."""
    found, used = [], 0
    for port in ports:
        if used + needed(port) > limit:
            found.append(port)
        else:
            used += needed(port)
    return tuple(found)


def _read() -> int:
    try:
        return int(_LIMIT.read_text())
    except (OSError, ValueError):
        return 128
