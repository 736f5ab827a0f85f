"""What crosses between a client and the API, beside the objects themselves: requests, views and problems.

Server and command line share these values; there is no second copy of them anywhere.
"""

from typing import Generic, TypeVar

from pilothouse.model.base import Value
from pilothouse.model.container import ContainerSpec
from pilothouse.model.matrix import Matrix
from pilothouse.model.objects import Health, PortBinding
from pilothouse.model.placement_api import Survival
from pilothouse.model.refusal import Refusal as Refusal
from pilothouse.model.release_api import ReleaseView
from pilothouse.model.spec import AppSpec
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Stream

T = TypeVar("T")


class Page(Value, Generic[T], frozen=True, kw_only=True):
    """A part of a list; *next* is the `after` of the next part, or None at the end."""

    items: tuple[T, ...]
    next: str | None = None


class DeployRequest(Value, frozen=True, kw_only=True):
    """An app to deploy, whole.

    Attributes:
        secrets, configs: The content of every secret and config that is not external, by key (base64 in JSON).
        keep_orphans: Leave services alone that are deployed but no longer in the spec.
        dry_run: Check everything, change nothing.
        expect: Refuse (`PlanStaleError`) unless the app's newest release has this number, 0 being none; None does not
            care.
        message: What the caller says about the release.
    """

    spec: AppSpec
    secrets: dict[str, bytes] = {}
    configs: dict[str, bytes] = {}
    keep_orphans: bool = False
    dry_run: bool = False
    expect: int | None = None
    message: str = ""

    def __repr__(self) -> str:
        """Leave contents out, so that no log line can hold them."""
        return f"DeployRequest({self.spec.name!r}, {len(self.spec.services)} services)"


class DeployResult(Value, frozen=True, kw_only=True):
    """What a deployment changed; all names are service names.

    Attributes:
        revision: The number of the release; that of the one before if nothing changed.
        changed: Services whose tasks will be replaced.
        unchanged: Services that are left as they run.
    """

    app: str
    revision: int
    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Problem(Value, frozen=True, kw_only=True):
    """An error as RFC 9457 shapes it, with our code, and every refusal or finding if there are several.

    Attributes:
        type: The address of the code's page, relative to the documentation's root.
        instance: The request's id.
    """

    type: str
    title: str
    status: int
    detail: str
    code: str
    retryable: bool = False
    instance: str = ""
    refusals: tuple[Refusal, ...] = ()
    errors: tuple[str, ...] = ()


class TaskView(Value, frozen=True, kw_only=True):
    """One task as `ps` shows it.

    Attributes:
        name: "SERVICE.SLOT".
        sentence: Why it is as it is, short.
        failures: Consecutive failed tasks in its slot before it.
        current: Made from its service's present spec.
    """

    id: str
    app: str
    service: str
    name: str
    slot: int
    state: TaskState
    desired_state: TaskState
    health: Health
    ready: bool
    since: float
    created_at: float
    image: str
    node_id: str = ""
    sentence: str = ""
    failures: int = 0
    current: bool = True
    exit_code: int | None = None
    ports: tuple[PortBinding, ...] = ()
    addresses: dict[str, str] = {}


class ServiceView(Value, frozen=True, kw_only=True):
    """One service with its tasks counted.

    Attributes:
        wanted: How many tasks should run (for jobs: should complete).
        running, healthy, completed: How many current ones do; healthy = ready and not failing a check.
        outdated: Tasks of an older spec that have not gone yet.
        converged: It is as the manifest says, and settled.
        failed: It is parked, its update stopped, its job failed, it failed three times in a row, or a task has not
            passed its checks in 600 s; the sentence says whether the platform goes on trying.
        sentence: What it waits for or why it failed; "" if converged.
        settles_at: When its tasks that nothing checks have run long enough to be believed; 0 if all are checked.
    """

    app: str
    name: str
    mode: str
    image: str
    wanted: int
    running: int
    healthy: int
    completed: int
    outdated: int
    converged: bool
    failed: bool
    removing: bool = False
    sentence: str = ""
    ports: tuple[str, ...] = ()
    settles_at: float = 0.0


class AppView(Value, frozen=True, kw_only=True):
    """One app: converged when all its services are, failed when one is.

    Attributes:
        release: Its newest release, with how far each service is; None if it has none.
        survival: Whether it survives the loss of any one node; None where there is one node, or nothing runs.
    """

    name: str
    revision: int
    deployed_at: float
    deployed_by: str
    removing: bool
    converged: bool
    failed: bool
    sentence: str
    services: tuple[ServiceView, ...] = ()
    release: ReleaseView | None = None
    survival: Survival | None = None


class EventView(Value, frozen=True, kw_only=True):
    """One thing that happened, derived from a commit.

    Attributes:
        revision: The commit; with *index* it is the event's place in history.
        name: `noun.verb`, e.g. "task.failed", listed in docs/reference/events.md.
        object: "KIND/ID".
    """

    revision: int
    index: int
    at: float
    name: str
    object: str
    app: str = ""
    sentence: str = ""


class Explanation(Value, frozen=True, kw_only=True):
    """Why an object is as it is.

    Attributes:
        object: "KIND/ID".
        sentence: One sentence: what, why, who or what decided, since when, what would change it.
        causes: The chain behind it, nearest first; each a sentence.
        facts: Named details worth seeing, in order ("exit code": "137" …).
        log_tail: The last lines of the task that matters.
        changes: What changed since it last worked.
        effective: For a task or service: the container as the engine is told, safe defaults filled in, values of
            environment variables hidden.
        matrix: For a task that waits for a place: every rule on every node, and what would place it.
    """

    object: str
    sentence: str
    causes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    log_tail: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    effective: ContainerSpec | None = None
    matrix: Matrix | None = None


class GrantRequest(Value, frozen=True, kw_only=True):
    """A grant to record; see `model.objects.Grant`."""

    app: str
    kind: str
    reason: str
    value: str = ""
    service: str = ""
    until: float | None = None


class ImageRequest(Value, frozen=True, kw_only=True):
    """An image to make present before a deployment."""

    ref: str
    policy: str = ""
    platform: str = ""


class AdoptRequest(Value, frozen=True, kw_only=True):
    """Take over the containers `docker compose` runs for the app; the deploy request says what it should be."""

    deploy: DeployRequest


class AdoptResult(Value, frozen=True, kw_only=True):
    """What adoption did.

    Attributes:
        adopted: "CONTAINER → TASK" of each container taken over without a restart.
        replaced: Service names whose containers will be replaced, each with the reason.
    """

    deployed: DeployResult
    adopted: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()


class LogEntry(Value, frozen=True, kw_only=True):
    """One line a task wrote, with the names people know the task by; *step* as in `model.objects.Task`."""

    task_id: str
    service: str
    slot: int
    at: float
    stream: Stream
    text: str
    step: int = -1


class CheckResult(Value, frozen=True, kw_only=True):
    """What an integrity check of the store found; *message* is one sentence."""

    ok: bool
    message: str


class StoreMember(Value, frozen=True, kw_only=True):
    """One member of a replicated store.

    Attributes:
        id: In hexadecimal.
        name: Its manager's, "" until it has started for the first time.
        peers, clients: URLs where other members and managers reach it.
        learner: It follows but has no vote.
        trouble: Why it could not be asked, or "".
        leads: It leads the members, which says nothing of which manager leads.
        bytes, used_bytes: Of its file, and of what in it is needed.
        alarms: "no space" or "corrupt".
    """

    id: str
    name: str
    peers: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    learner: bool = False
    trouble: str = ""
    leads: bool = False
    version: str = ""
    bytes: int = 0
    used_bytes: int = 0
    term: int = 0
    applied: int = 0
    alarms: tuple[str, ...] = ()


class StoreStatus(Value, frozen=True, kw_only=True):
    """Where the state is kept and how that is.

    Attributes:
        kind: "sqlite", "etcd" or "memory".
        stale_since: Since when most members cannot be reached, so that answers may be old; None while they can.
        leader: The manager that leads, as far as is known, or "".
        epoch: Of its term.
        members: Of a replicated store.
        message: Why they could not be listed, or "".
    """

    kind: str
    revision: int
    stale_since: float | None = None
    leader: str = ""
    epoch: int = 0
    members: tuple[StoreMember, ...] = ()
    message: str = ""


class Finding(Value, frozen=True, kw_only=True):
    """One line of `pilothouse doctor`: *level* is "ok", "warning" or "error"."""

    level: str
    subject: str
    message: str
    advice: str = ""


class Info(Value, frozen=True, kw_only=True):
    """What a server is: version, node, engine, store revision, start time, process id."""

    version: str
    pid: int
    started_at: float
    node_id: str
    engine: str
    store: str
    revision: int
    apps: int
    tasks: int
    data_directory: str = ""
