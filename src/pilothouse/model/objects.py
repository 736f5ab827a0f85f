"""What the store keeps: each object has a spec (what the user wants) and fields for what was decided and seen.

Who may write which field is `model.ownership`; who may move a task along which arrow is `model.states`.
All times are wall-clock seconds since the epoch.
"""

import enum

from pilothouse.model.base import Object, Value
from pilothouse.model.rollout import Rollout, StepRecord
from pilothouse.model.spec import AppSpec, FileSpec, NetworkSpec, ServiceSpec, TaskSpec, VolumeSpec
from pilothouse.model.states import TaskState


class App(Object, frozen=True, kw_only=True):
    """A Compose project once deployed; its id is its name.

    Attributes:
        revision: The number of its newest release, from 1.
        paused: A person paused its rollout: no further task is replaced; what died is made anew.
        paused_by: Who paused it, or "".
        resumed_at: When a person last had its rollout go on; failures of tasks made before do not count any more.
        removing: It is being taken down; the reaper deletes it when nothing of it is left.
        remove_volumes: Its volumes go with it.
    """

    spec: AppSpec
    revision: int = 1
    deployed_at: float = 0.0
    deployed_by: str = ""
    paused: bool = False
    paused_by: str = ""
    resumed_at: float = 0.0
    removing: bool = False
    remove_volumes: bool = False


class ResolvedImage(Value, frozen=True, kw_only=True):
    """What an image reference meant when the service was deployed.

    Attributes:
        id: The engine's content id of the image ("sha256:…").
        digest: "NAME@sha256:…" if the image came from a registry, else "".
        platform: "OS/ARCHITECTURE" the image is for, or "" if nobody said.
        nodes: The nodes that have it, if no other can get it (it came from no registry, or must not be pulled); () if
            every node can, or nobody knows.
    """

    ref: str
    id: str = ""
    digest: str = ""
    platform: str = ""
    nodes: tuple[str, ...] = ()


class Service(Object, frozen=True, kw_only=True):
    """One service of a deployed app; its id is "APP/NAME".

    Attributes:
        image: What the spec's image reference resolved to.
        restarts_requested: The number of the release that last asked for its tasks to be replaced as they are, or 0.
        rolling_back: The newest release is a rollback, so `rollback_config` says how it is rolled out.
        removing: It left the manifest; its tasks are stopped, then the reaper deletes it.
        notice: One sentence that somebody should read, or "" (a parked slot, a change that does not converge).
        updated_at: When its spec last changed.
        rollout: How far the newest release has come here.
        steps: The once-per-release steps that ended, newest last, at most 20 fingerprints.
        step_images: What the image references of those steps resolved to when it was deployed, by reference.
    """

    app: str
    name: str
    spec: ServiceSpec
    image: ResolvedImage
    restarts_requested: int = 0
    rolling_back: bool = False
    removing: bool = False
    updated_at: float = 0.0
    notice: str = ""
    rollout: Rollout = Rollout()
    steps: tuple[StepRecord, ...] = ()
    step_images: dict[str, ResolvedImage] = {}


class Health(enum.Enum):
    """What the checks say of a running task."""

    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Ending(Value, frozen=True, kw_only=True):
    """Why and how a task ended, kept with it.

    Attributes:
        exit_code: As the engine gave it; 128 + N usually means killed by signal N. None if it never ran.
        signal: "SIGKILL" and so on, or "".
        oom: The kernel killed it for using more memory than it may.
        log_tail: The last lines it wrote, at most 50, each cut at 1,000 characters.
    """

    exit_code: int | None = None
    signal: str = ""
    oom: bool = False
    log_tail: tuple[str, ...] = ()


class TaskStatus(Value, frozen=True, kw_only=True):
    """What the agent saw of a task; the agent alone writes it.

    Attributes:
        message: One plain sentence about the present state.
        since: When the present state was entered.
        started_at, finished_at: Of the container, or None.
        image_id: The content id the container was made from.
        addresses: The container's address on each network, by the network's key.
        health: NONE if nothing checks it; UNHEALTHY of a dead one if its checks are why it was stopped.
        ready: It may get traffic: it runs, its startup and ready probes pass, and its health check is not failing.
        ready_since: When it last became ready; None if it never was. It stays when the task is not ready any more.
    """

    message: str = ""
    since: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    container_id: str = ""
    image_id: str = ""
    addresses: dict[str, str] = {}
    health: Health = Health.NONE
    ready: bool = False
    ready_since: float | None = None
    ending: Ending | None = None


class PortBinding(Value, frozen=True, kw_only=True):
    """A host port that was given to a task.

    Attributes:
        ingress: The proxy listens on it for every task of the service; otherwise the engine does for this task alone.
    """

    target: int
    host_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    ingress: bool = False


class Task(Object, frozen=True, kw_only=True):
    """One attempt to run one container on one node; never moved, never restarted, only replaced.

    Attributes:
        slot: From 1 in replicated modes; 0 in global modes, where the node takes its place.
        fingerprint: What the task was made from (`model.fingerprint`); differs from its service's once outdated.
        secret_versions, config_versions: The version of each file it was given, by key.
        release: Number of the app's newest release when it was made, 0 if there was none; tells what came first
            whatever the clock said then.
        failures: Consecutive failed tasks in this slot before this one; drives the back-off.
        not_before: The earliest time it may start.
        reason: One sentence: why this task was made.
        replaces: The id of the task whose slot it took, or "".
        step: The index of the `pre_start` hook that it runs, once for its fingerprint, in no slot; -1 otherwise.
        adopts: The engine's id of the container it takes over instead of making one (`pilothouse adopt`), or "".
        desired_state: READY = get everything ready and wait; RUNNING = run; SHUTDOWN = stop.
        desired_reason: One sentence: why it should be in that state (for READY: what it waits for).
        resource_message: Why it cannot have a host port yet, "" if it has all it needs.
        placement_message: Where it was placed and why, or why no node suits.
        ports: Host ports it was given.
    """

    app: str
    service: str
    slot: int
    spec: TaskSpec
    image: ResolvedImage
    fingerprint: str
    secret_versions: dict[str, str] = {}
    config_versions: dict[str, str] = {}
    created_at: float = 0.0
    release: int = 0
    failures: int = 0
    not_before: float = 0.0
    reason: str = ""
    replaces: str = ""
    step: int = -1
    adopts: str = ""
    desired_state: TaskState = TaskState.RUNNING
    desired_reason: str = ""
    state: TaskState = TaskState.NEW
    resource_message: str = ""
    placement_message: str = ""
    node_id: str = ""
    ports: tuple[PortBinding, ...] = ()
    status: TaskStatus = TaskStatus()

    @property
    def service_id(self) -> str:
        """The id of the service it belongs to."""
        return f"{self.app}/{self.service}"


class Network(Object, frozen=True, kw_only=True):
    """A network of an app; its id is "APP/KEY"."""

    app: str
    spec: NetworkSpec
    removing: bool = False


class Volume(Object, frozen=True, kw_only=True):
    """A named volume of an app; its id is "APP/KEY". It outlives the app unless a person says otherwise.

    Attributes:
        nodes: Where it was made: its data is there and nowhere else, so tasks that use it go there.
    """

    app: str
    spec: VolumeSpec
    removing: bool = False
    nodes: tuple[str, ...] = ()


class Secret(Object, frozen=True, kw_only=True):
    """A secret's newest content, sealed; its id is "APP/KEY".

    Attributes:
        content_version: Changes if and only if the content changes; tells nothing about it.
        sealed: The content encrypted under the platform's key.
    """

    app: str
    spec: FileSpec
    content_version: str = ""
    sealed: bytes = b""
    removing: bool = False


class Config(Object, frozen=True, kw_only=True):
    """A config's newest content; its id is "APP/KEY"."""

    app: str
    spec: FileSpec
    content_version: str = ""
    content: bytes = b""
    removing: bool = False


class Grant(Object, frozen=True, kw_only=True):
    """A recorded permission to do what the safe defaults forbid.

    Attributes:
        app: The app it is for.
        service: The service it is for; "" means every service of the app.
        kind: A name from governance.policy, e.g. "host-path", "cap-add", "network-host".
        value: What exactly is allowed, e.g. "/srv/data:ro" or "NET_ADMIN"; "" where the kind says it all.
        granted_by, granted_at, reason: Who, when, why.
        until: When it ends, or None.
        revoked_at: When it was taken back, or None.
    """

    app: str
    kind: str
    value: str = ""
    service: str = ""
    granted_by: str = ""
    granted_at: float = 0.0
    reason: str = ""
    until: float | None = None
    revoked_at: float | None = None


class FieldChange(Value, frozen=True, kw_only=True):
    """One field before and after, both as short text; never the content of a secret."""

    path: str
    before: str = ""
    after: str = ""


class AuditRecord(Object, frozen=True, kw_only=True):
    """Who did what to which object; append only, written in the transaction of the change it records.

    Attributes:
        id: A sequence number, 12 digits, so that ids sort by time whatever the clock did.
        principal: "uid:1000(alice)" for a caller on the Unix socket, "system" for the platform itself.
        action: `noun.verb`, e.g. "app.deploy", "grant.create".
        object: "KIND/ID".
        outcome: "done" or "refused".
        request_id: The id the API answered with, to find the request in the log.
    """

    at: float
    principal: str
    action: str
    object: str
    outcome: str = "done"
    summary: str = ""
    changes: tuple[FieldChange, ...] = ()
    request_id: str = ""
