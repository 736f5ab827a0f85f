"""What a user asks for: an app and its services, networks, volumes, secrets and configs.

The system reads specs and never edits them. Decoding checks types; `model.validate` checks sense.
"""

import enum

from pilothouse.model.base import Value
from pilothouse.model.container import ContainerSpec
from pilothouse.model.placement import Placement


class Resources(Value, frozen=True, kw_only=True):
    """An amount of node capacity.

    Attributes:
        cpu_nano: CPU time, in billionths of one core.
        memory_bytes: Memory, in bytes.
        pids: Processes and threads.
        generic: Counted things a node owner declared, by kind.
    """

    cpu_nano: int = 0
    memory_bytes: int = 0
    pids: int = 0
    generic: dict[str, int] = {}


class Hook(Value, frozen=True, kw_only=True):
    """A command around a task's life: `pre_start`, `post_start` or `pre_stop`.

    Attributes:
        command: Argument list; may be empty for a `pre_start` with an image that has its own.
        environment: Added to the container's.
        image: Only for `pre_start`: run in a container of its own from this image; "" is the service's image.
        per_replica: Only for `pre_start`: once for each task instead of once for each change of the service.
    """

    command: tuple[str, ...] = ()
    user: str = ""
    privileged: bool = False
    working_dir: str = ""
    environment: dict[str, str] = {}
    image: str = ""
    per_replica: bool = False


class ProbeKind(enum.Enum):
    """How a probe asks."""

    HTTP = "http"
    TCP = "tcp"
    GRPC = "grpc"
    EXEC = "exec"


class Probe(Value, frozen=True, kw_only=True):
    """A question the agent asks a task from outside; no tool in the image is needed.

    Attributes:
        port: Of the container; required but for EXEC.
        path: HTTP only; a status of 200 to 399 passes.
        service: gRPC only: the name sent to the standard health service; "" asks for the whole server.
        command: EXEC only; exit code 0 passes.
        interval_seconds, timeout_seconds: Between two questions, and for one.
        failures: Consecutive failures that turn a passing probe into a failing one.
        successes: Consecutive passes that turn a failing probe into a passing one.
    """

    kind: ProbeKind
    port: int = 0
    path: str = "/"
    headers: dict[str, str] = {}
    service: str = ""
    command: tuple[str, ...] = ()
    interval_seconds: float = 5.0
    timeout_seconds: float = 2.0
    failures: int = 3
    successes: int = 1


class Probes(Value, frozen=True, kw_only=True):
    """The three questions, apart.

    Attributes:
        startup: Asked from 50 ms after the start, backing off to its interval; until it passes the others wait.
        live: When it fails the task has failed and is replaced.
        ready: When it fails the task gets no traffic and does not count as healthy, and is left alone.
    """

    startup: Probe | None = None
    live: Probe | None = None
    ready: Probe | None = None


class TaskSpec(Value, frozen=True, kw_only=True):
    """Everything that makes one task what it is: two tasks with equal specs are interchangeable."""

    container: ContainerSpec
    reservations: Resources = Resources()
    placement: Placement = Placement()
    probes: Probes = Probes()
    pre_start: tuple[Hook, ...] = ()
    post_start: tuple[Hook, ...] = ()
    pre_stop: tuple[Hook, ...] = ()


class Mode(enum.Enum):
    """How many tasks a service has, and whether they are meant to end."""

    REPLICATED = "replicated"
    GLOBAL = "global"
    REPLICATED_JOB = "replicated-job"
    GLOBAL_JOB = "global-job"

    @property
    def job(self) -> bool:
        """Whether tasks of this mode are meant to finish."""
        return self is Mode.REPLICATED_JOB or self is Mode.GLOBAL_JOB


class Condition(enum.Enum):
    """What a dependency must have reached before its dependents start."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


class Dependency(Value, frozen=True, kw_only=True):
    """One edge of `depends_on`.

    Attributes:
        restart: Replace the dependent's tasks after the dependency was replaced or restarted on request.
        required: If false, a dependency that is not part of the app is no error and is not waited for.
    """

    service: str
    condition: Condition = Condition.STARTED
    restart: bool = False
    required: bool = True


class RestartCondition(enum.Enum):
    """Which ends of a task call for another one in its slot."""

    NONE = "none"
    ON_FAILURE = "on-failure"
    ANY = "any"


class RestartPolicy(Value, frozen=True, kw_only=True):
    """When a dead task is followed by another.

    Attributes:
        delay_seconds: A fixed wait the user asked for; None uses the platform's back-off.
        max_attempts: None parks the slot after the platform's limit (50).
        window_seconds: A task that ran this long counts as having worked; None takes the platform's rule.
    """

    condition: RestartCondition = RestartCondition.ANY
    delay_seconds: float | None = None
    max_attempts: int | None = None
    window_seconds: float | None = None


class UpdateOrder(enum.Enum):
    """Whether the old task of a slot goes before or after the new one is healthy."""

    STOP_FIRST = "stop-first"
    START_FIRST = "start-first"


class UpdatePolicy(Value, frozen=True, kw_only=True):
    """How a change of the task spec is rolled out; None means the platform decides (docs/reference/defaults.md).

    Attributes:
        parallelism: Slots worked on at once; 0 is all.
        failure_action: "pause", "continue" or "rollback".
    """

    parallelism: int | None = None
    delay_seconds: float | None = None
    order: UpdateOrder | None = None
    failure_action: str = ""
    monitor_seconds: float | None = None
    max_failure_ratio: float | None = None


class Strategy(enum.Enum):
    """How new tasks take over from old ones (`x-pilothouse.release.strategy`).

    ROLLING: slot by slot. CANARY: a few beside the old ones, with a growing share of the traffic, then slot by slot.
    BLUE_GREEN: all of them beside the old ones, then the whole traffic at once.
    """

    ROLLING = "rolling"
    CANARY = "canary"
    BLUE_GREEN = "blue_green"


class ReleaseStep(Value, frozen=True, kw_only=True):
    """One step of a canary: *weight* percent of the traffic for at least *hold_seconds*, then the judge decides."""

    weight: int
    hold_seconds: float


class Judge(Value, frozen=True, kw_only=True):
    """What the new tasks may be worse by before they are rolled back.

    Attributes:
        error_rate: So much higher a share of failed requests is too much, from 0 to 1.
        p95_ratio: A 95th percentile of the latency this many times the old one is too much.
        requests: So many requests of the new tasks are the least that a verdict in their favour needs.
    """

    error_rate: float = 0.01
    p95_ratio: float = 1.5
    requests: int = 50


class ReleasePolicy(Value, frozen=True, kw_only=True):
    """`x-pilothouse.release`; None and () leave it to the platform (docs/reference/defaults.md).

    Attributes:
        steps: Of a canary, in ascending order of weight; of blue/green at most one, of weight 100.
        settle_seconds: How long new tasks must have been ready before the next ones are begun.
        deadline_seconds: How long a new task may take to become ready.
    """

    strategy: Strategy = Strategy.ROLLING
    steps: tuple[ReleaseStep, ...] = ()
    judge: Judge = Judge()
    settle_seconds: float | None = None
    deadline_seconds: float | None = None


class CutOffAction(enum.Enum):
    """What happens to tasks on a node that no manager can reach.

    KEEP: they run on, and go once the node is back and they were replaced. STOP: the node stops them after a time.
    FENCE: the node kills them before another may start: two live copies of a slot never exist.
    """

    KEEP = "keep"
    STOP = "stop"
    FENCE = "fence"


class CutOff(Value, frozen=True, kw_only=True):
    """A service's rule for a cut-off node; *after_seconds* is for STOP, counted from the end of the node's lease."""

    action: CutOffAction
    after_seconds: float = 0.0


class ServiceSpec(Value, frozen=True, kw_only=True):
    """One service of an app.

    Attributes:
        cut_off: None lets the platform decide: FENCE where two containers of a slot would be in each other's way, else
            KEEP (`model.strategy`).
    """

    name: str
    task: TaskSpec
    mode: Mode = Mode.REPLICATED
    replicas: int = 1
    depends_on: tuple[Dependency, ...] = ()
    restart: RestartPolicy = RestartPolicy()
    update: UpdatePolicy = UpdatePolicy()
    rollback: UpdatePolicy = UpdatePolicy()
    release: ReleasePolicy = ReleasePolicy()
    labels: dict[str, str] = {}
    endpoint_mode: str = "vip"
    cut_off: CutOff | None = None


class IpamPool(Value, frozen=True, kw_only=True):
    """One address range of a network."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    aux_addresses: dict[str, str] = {}


class NetworkSpec(Value, frozen=True, kw_only=True):
    """A network of an app; *name* is the engine-wide name, *key* the one the manifest uses."""

    key: str
    name: str
    driver: str = ""
    driver_opts: dict[str, str] = {}
    external: bool = False
    internal: bool = False
    attachable: bool = False
    enable_ipv4: bool | None = None
    enable_ipv6: bool = False
    ipam_driver: str = ""
    ipam: tuple[IpamPool, ...] = ()
    labels: dict[str, str] = {}


class VolumeSpec(Value, frozen=True, kw_only=True):
    """A named volume of an app; *name* is the engine-wide name, *key* the one the manifest uses."""

    key: str
    name: str
    driver: str = ""
    driver_opts: dict[str, str] = {}
    external: bool = False
    labels: dict[str, str] = {}


class FileSpec(Value, frozen=True, kw_only=True):
    """A secret or config of an app; its content travels beside the spec and is kept apart from it."""

    key: str
    name: str
    external: bool = False
    labels: dict[str, str] = {}


class Ownership(Value, frozen=True, kw_only=True):
    """Who answers for an app (`x-pilothouse` at the top of the manifest); all free text but *runbook*, a URL."""

    owner: str = ""
    oncall: str = ""
    tier: str = ""
    data_class: str = ""
    runbook: str = ""


class AppSpec(Value, frozen=True, kw_only=True):
    """A whole app, as one Compose project described it."""

    name: str
    services: tuple[ServiceSpec, ...] = ()
    networks: tuple[NetworkSpec, ...] = ()
    volumes: tuple[VolumeSpec, ...] = ()
    secrets: tuple[FileSpec, ...] = ()
    configs: tuple[FileSpec, ...] = ()
    ownership: Ownership = Ownership()
