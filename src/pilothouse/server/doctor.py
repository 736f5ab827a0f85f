"""What `pilothouse doctor` finds: pure judgements of what was looked up, each with what to do about it."""

import msgspec

from pilothouse.control.nodes.words import MANAGERS_CLOCK
from pilothouse.model.api import Finding
from pilothouse.model.node import Node, NodeState

OK, WARNING, ERROR = "ok", "warning", "error"
LOW_BYTES = 2 * 1024**3
LOW_SHARE = 0.10
FULL_BYTES = 256 * 1024**2
OLDEST_DOCKER = (20, 10)
_OTHERS_WRITE = 0o007
_MIB = 1024**2


class DiskSeen(msgspec.Struct, frozen=True):
    """How full the file system of a directory is."""

    path: str
    total_bytes: int
    free_bytes: int


class FileSeen(msgspec.Struct, frozen=True):
    """A file's owner and permissions; *mode* without the file type."""

    path: str
    mode: int
    uid: int


def findings(
    nodes: tuple[Node, ...],
    connected: tuple[str, ...],
    disks: tuple[DiskSeen, ...],
    files: tuple[FileSeen, ...],
    members: tuple[Finding, ...] = (),
) -> tuple[Finding, ...]:
    """Return everything worth saying, errors first; a subject that is fine gets one line too.

    *members* is what the store's members are said to be like.
    """
    found = [
        *members,
        *(one for node in nodes for one in node_findings(node, connected=node.id in connected)),
        *(disk(seen) for seen in disks),
        *(permissions(seen) for seen in files),
    ]
    if any(node.message == MANAGERS_CLOCK for node in nodes):
        advice = "set it on the manager that leads: 'chronyc makestep', or 'timedatectl set-ntp true'"
        message = "most nodes' clocks agree with each other and not with the manager's"
        found.append(Finding(level=ERROR, subject="the manager's clock", message=message, advice=advice))
    if not nodes:
        advice = "look at the server's log; is the engine running?"
        found.append(Finding(level=ERROR, subject="node", message="no node has registered yet", advice=advice))
    rank = {ERROR: 0, WARNING: 1, OK: 2}
    return tuple(sorted(found, key=lambda finding: rank[finding.level]))


def node_findings(node: Node, *, connected: bool) -> list[Finding]:
    """Return what is to be said about one node and its engine."""
    subject = f"node {node.description.hostname or node.id}"
    found = []
    if not connected or not node.ready:
        why = node.message or "its agent has no session"
        level, advice = _cure(node)
        found.append(Finding(level=level, subject=subject, message=f"is not ready: {why}", advice=advice))
    found += [Finding(level=WARNING, subject=subject, message=text) for text in node.description.warnings]
    found.append(engine(subject, node.description.engine))
    return found


_CURES = {
    "engine": "restart the engine; with live-restore on its containers run on",
    "disk": "make room: 'docker system df' says what images and volumes use",
    "clock": "set its clock: 'chronyc makestep', or 'timedatectl set-ntp true'; what runs there is not touched",
    "memory": "stop something there, or drain the node",
    "guard": "look at the agent's log: nothing that must run only once starts there",
}


def _cure(node: Node) -> tuple[str, str]:
    """Return how bad it is that *node* is not ready, and what to do about it."""
    if node.state is NodeState.DOWN:
        return ERROR, "start the machine or its agent again, or take it out with 'pilothouse node remove'"
    if node.state is NodeState.READY and node.pressure:
        return ERROR, "; ".join(_CURES[kind] for kind in sorted(node.pressure) if kind in _CURES)
    if node.state is NodeState.READY and node.held_until is not None:
        return WARNING, "nothing, if it stays; else find out why it comes and goes"
    return ERROR, "tasks that run there go on; start the agent again"


def engine(subject: str, text: str) -> Finding:
    """Return whether an engine is one that Pilothouse is tested with."""
    name, _, version = text.partition(" ")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if not text or len(numbers) < 2:
        advice = "use Docker Engine 20.10 or newer, or Podman"
        return Finding(
            level=WARNING, subject=subject, message=f"the engine {text or '(none)'} is not known", advice=advice
        )
    if name == "docker" and numbers < OLDEST_DOCKER:
        message = f"{text} is older than Docker Engine 20.10"
        return Finding(level=ERROR, subject=subject, message=message, advice="install a newer docker.io or docker-ce")
    return Finding(level=OK, subject=subject, message=f"runs {text}")


def disk(seen: DiskSeen) -> Finding:
    """Return whether there is room where the platform keeps its state."""
    subject = f"disk at {seen.path}"
    message = f"{seen.free_bytes // _MIB} MiB of {seen.total_bytes // _MIB} MiB are free"
    if seen.free_bytes < FULL_BYTES:
        return Finding(
            level=ERROR, subject=subject, message=message, advice="make room now: writes are about to be refused"
        )
    if seen.free_bytes < LOW_BYTES or seen.free_bytes < LOW_SHARE * seen.total_bytes:
        advice = "make room: 'docker system df' says what images and volumes use"
        return Finding(level=WARNING, subject=subject, message=message, advice=advice)
    return Finding(level=OK, subject=subject, message=message)


def permissions(seen: FileSeen) -> Finding:
    """Return whether nobody but its owner and group can use a file that guards the platform."""
    subject = f"permissions of {seen.path}"
    shown = f"{seen.mode:04o}, owner uid {seen.uid}"
    if seen.mode & _OTHERS_WRITE:
        advice = f"run: chmod o= {seen.path}"
        return Finding(
            level=ERROR, subject=subject, message=f"{shown}: everybody on this machine can use it", advice=advice
        )
    return Finding(level=OK, subject=subject, message=shown)
