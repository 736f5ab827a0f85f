"""What crosses between manager and agent. On one host it crosses inside a process, and is the same values."""

import enum

from pilothouse.model.base import Value
from pilothouse.model.objects import Network, Task, TaskStatus, Volume
from pilothouse.model.rollout import Golden
from pilothouse.model.spec import CutOff
from pilothouse.model.states import TaskState


class FileContent(Value, frozen=True, kw_only=True):
    """The content of one version of a secret or config; *id* is "APP/KEY"."""

    id: str
    version: str
    content: bytes

    def __repr__(self) -> str:
        """Leave the content out, so that no log line can hold it."""
        return f"FileContent(id={self.id!r}, version={self.version!r}, {len(self.content)} bytes)"


class Split(Value, frozen=True, kw_only=True):
    """How a service's traffic is divided while two of its releases run side by side, by intention.

    Attributes:
        fingerprint: Of the new tasks.
        weight: Percent of the traffic that goes to them; the rest goes to all others of the service.
    """

    app: str
    service: str
    fingerprint: str
    weight: int


class Assignment(Value, frozen=True, kw_only=True):
    """Everything one node must have, whole: what is not in it does not belong on the node.

    Attributes:
        revision: The store revision it was taken from; of two assignments the greater is the newer.
        tasks: Every task placed on the node that the reaper has not deleted, dead ones included.
        networks, volumes: Those the node's tasks use and those that must be removed (`removing`).
        secrets, configs: Only those a task on this node was granted, in each version one of them was made for.
        splits: Of services whose new tasks are being judged; a service without one divides by task.
        cut_offs: What to do with each service's tasks when no manager can be reached, by "APP/SERVICE", the platform's
            choice filled in; a service that is missing keeps its tasks.
    """

    revision: int
    tasks: tuple[Task, ...] = ()
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    secrets: tuple[FileContent, ...] = ()
    configs: tuple[FileContent, ...] = ()
    splits: tuple[Split, ...] = ()
    cut_offs: dict[str, CutOff] = {}


class TaskReport(Value, frozen=True, kw_only=True):
    """What the agent saw of one task; a report with an older state than the stored one is dropped."""

    task_id: str
    state: TaskState
    status: TaskStatus


class TrafficReport(Value, frozen=True, kw_only=True):
    """What the proxy counted for one split since *measured_from*; see `model.release.Traffic`."""

    app: str
    service: str
    fingerprint: str
    measured_from: float
    measured_at: float
    old: Golden
    new: Golden


class ResourceReport(Value, frozen=True, kw_only=True):
    """That a network or volume which had to go is gone from the node; *kind* is "network" or "volume"."""

    kind: str
    id: str


class ImageProgress(Value, frozen=True, kw_only=True):
    """One step of making an image present on a node.

    Attributes:
        phase: "present", "pulling", "waiting" (before the next attempt), "resolved" or "failed".
        done_bytes, total_bytes: Of the layers known so far; 0 if unknown.
        message: One sentence; for "failed", what to do about it.
        id, digest, platform: Set with "resolved": see `model.objects.ResolvedImage`.
    """

    ref: str
    phase: str
    done_bytes: int = 0
    total_bytes: int = 0
    message: str = ""
    id: str = ""
    digest: str = ""
    platform: str = ""


class LogQuery(Value, frozen=True, kw_only=True):
    """Which lines of one task's output are wanted.

    Attributes:
        since, until: Wall-clock seconds; None is unbounded.
        tail: At most this many of the newest lines; None is all.
        follow: Go on with new lines until the task ends or the reader leaves.
    """

    task_id: str
    since: float | None = None
    until: float | None = None
    tail: int | None = None
    follow: bool = False


class Stream(enum.Enum):
    """Where a line was written."""

    OUT = "stdout"
    ERR = "stderr"


class LogLine(Value, frozen=True, kw_only=True):
    """One line a task wrote, without its line end; *at* is the engine's time stamp."""

    task_id: str
    at: float
    stream: Stream
    text: str


class TaskUsage(Value, frozen=True, kw_only=True):
    """What one running task uses, read from its control group.

    Attributes:
        cpu_nano_total: CPU time since its start, in nanoseconds; two readings give a rate.
        memory_bytes: Working set: usage without inactive file cache.
        memory_limit_bytes: 0 if unlimited.
        pids: Processes and threads.
    """

    task_id: str
    at: float
    cpu_nano_total: int
    memory_bytes: int
    memory_limit_bytes: int
    pids: int


class ForeignContainer(Value, frozen=True, kw_only=True):
    """A container on the node that Pilothouse does not manage, as far as `adopt` needs to know it.

    Attributes:
        labels: All of them; `com.docker.compose.*` say which project and service it is of.
        one_off: Started by `compose run`; never adopted.
    """

    id: str
    name: str
    image: str
    image_id: str
    project: str = ""
    service: str = ""
    number: int = 0
    config_hash: str = ""
    running: bool = False
    one_off: bool = False
    labels: dict[str, str] = {}
    started_at: float | None = None
