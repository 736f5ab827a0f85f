"""How a release of a service is rolled out: what is written, and the platform's choice where nothing is. Pure.

`policy` is the whole of it, for the updater, for plans and for explanations alike. Nothing here looks at tasks but the
four questions about one task's readiness at the end.
"""

import enum
from collections.abc import Iterable

from pilothouse.control.orchestrators.scene import Scene, is_ready
from pilothouse.model.base import Value
from pilothouse.model.container import ContainerSpec
from pilothouse.model.exclusive import in_the_way
from pilothouse.model.objects import Health, Service, Task
from pilothouse.model.ports import must_give_way
from pilothouse.model.spec import CutOffAction, ServiceSpec, TaskSpec, UpdateOrder, UpdatePolicy

SETTLE_SECONDS = 5.0
"""How long a task that nothing checks must run before it is believed, where nothing else says so."""

FIRST_RUN_SECONDS = 0.3
"""A program that cannot run at all, such as one without its settings, has ended by then."""

STABLE_SETTLE_SECONDS = 10.0
MONITOR_SECONDS = 10.0
DEADLINE_SECONDS = 600.0


class FailureAction(enum.Enum):
    """What becomes of a rollout in which too many new tasks failed."""

    ROLLBACK = "rollback"
    PAUSE = "pause"
    CONTINUE = "continue"


class Policy(Value, frozen=True, kw_only=True):
    """How one release of one service is rolled out.

    Attributes:
        parallelism: Slots worked on at once, at least 1.
        delay_seconds: Between the moment a slot has settled and the beginning of the next ones.
        settle_seconds: How long a new task must have been ready before the next slots are begun and its old one goes.
        unchecked_seconds: The least of that for a task that nothing checks.
        monitor_seconds: A new task that ends within this after it became ready has failed; it gates no step.
        max_failure_ratio: The share of slots that may fail, from 0 to 1.
        deadline_seconds: A new task that takes longer to become ready has failed.
        guarded: There is a stable release before this one, so that a single failure is enough to tell, and a rollout
            that failed stays so. Without one the platform goes on trying: three failures in a row stop it.
    """

    order: UpdateOrder
    parallelism: int
    delay_seconds: float = 0.0
    settle_seconds: float = 0.0
    unchecked_seconds: float = SETTLE_SECONDS
    monitor_seconds: float = 0.0
    max_failure_ratio: float = 0.0
    failure_action: FailureAction = FailureAction.PAUSE
    deadline_seconds: float = DEADLINE_SECONDS
    guarded: bool = False


def policy(service: Service, slots: int, *, base: int = 0, undoes: int = 0, replaces: Iterable[Task] = ()) -> Policy:
    """Return how a release of *service* is rolled out over so many *slots*.

    Args:
        service: As the release has it; `rolling_back` makes `rollback_config` count instead of `update_config`.
        slots: How many it has.
        base: `Release.base`: the stable release to go back to, 0 if there is none.
        undoes: `Release.undoes`: the failed release it repairs, 0 if it repairs none.
        replaces: The tasks of the service that live; one of them may hold a port that only one container can have.
    """
    spec, written = service.spec, written_policy(service)
    guarded = base > 0
    return Policy(
        order=UpdateOrder.STOP_FIRST if _holds_a_port(spec, replaces) else update_order(spec, written),
        parallelism=parallelism(spec, slots, written),
        delay_seconds=written.delay_seconds or 0.0,
        settle_seconds=_settle(spec, written, stable_before=guarded and not undoes),
        unchecked_seconds=0.0 if guarded or written.monitor_seconds is not None else SETTLE_SECONDS,
        monitor_seconds=_or(written.monitor_seconds, MONITOR_SECONDS) if guarded else 0.0,
        max_failure_ratio=written.max_failure_ratio or 0.0,
        failure_action=_action(service, written, guarded=guarded),
        deadline_seconds=_or(spec.release.deadline_seconds, DEADLINE_SECONDS),
        guarded=guarded,
    )


def policy_of(scene: Scene, slots: int) -> Policy:
    """Return how the newest release of the service in *scene* is rolled out over so many *slots*."""
    release = scene.release
    base, undoes = (release.base, release.undoes) if release else (0, 0)
    return policy(scene.service, slots, base=base, undoes=undoes, replaces=scene.tasks)


def written_policy(service: Service) -> UpdatePolicy:
    """Return what the manifest says of the way its newest release is rolled out: forwards or back."""
    return service.spec.rollback if service.rolling_back else service.spec.update


def update_order(spec: ServiceSpec, written: UpdatePolicy | None = None) -> UpdateOrder:
    """Return whether old tasks of *spec* go before or after new ones: as *written* where that can work."""
    container = spec.task.container
    order = (spec.update if written is None else written).order
    if spec.cut_off is not None and spec.cut_off.action is CutOffAction.FENCE:
        # Who writes that two live copies must never exist means during an update, too.
        return UpdateOrder.STOP_FIRST
    if order is UpdateOrder.START_FIRST and _one_host_port(container):
        return UpdateOrder.STOP_FIRST
    if order is not None:
        return order
    return UpdateOrder.STOP_FIRST if in_the_way(container) else UpdateOrder.START_FIRST


def _holds_a_port(spec: ServiceSpec, tasks: Iterable[Task]) -> bool:
    """Whether the engine publishes a port for one of *tasks* that the proxy is to serve for those that come."""
    ports = spec.task.container.ports
    return any(must_give_way(task.ports, ports) for task in tasks if not task.state.terminal and task.ports)


def parallelism(spec: ServiceSpec, count: int, written: UpdatePolicy | None = None) -> int:
    """Return how many of *count* slots are worked on at once."""
    at_once = (spec.update if written is None else written).parallelism
    if at_once is None:
        return max(1, count // 4)
    return at_once or max(1, count)


def ready_since(task: Task) -> float | None:
    """Return since when *task* is ready and fails no check, or None if it is not."""
    if not is_ready(task):
        return None
    status = task.status
    if status.ready_since is not None:
        return status.ready_since
    return status.since if status.started_at is None else status.started_at


def settled_at(task: Task, rule: Policy) -> float | None:
    """Return from when on the rollout may go on after *task*, or None if it is not ready."""
    since = ready_since(task)
    if since is None:
        return None
    return since + max(rule.settle_seconds, 0.0 if is_checked(task) else rule.unchecked_seconds)


def believed_at(task: Task) -> float | None:
    """Return from when on a ready *task* is taken to work where no release was stable before; None if not ready."""
    since = ready_since(task)
    if since is None or task.status.health is not Health.NONE:
        return since
    return since + (SETTLE_SECONDS if task.failures else FIRST_RUN_SECONDS)


def is_checked(task: Task) -> bool:
    """Whether anything but its running says that *task* works."""
    return task.status.health is not Health.NONE or _is_checked(task.spec)


def _settle(spec: ServiceSpec, written: UpdatePolicy, *, stable_before: bool) -> float:
    if spec.release.settle_seconds is not None:
        return spec.release.settle_seconds
    # What a failed release is rolled back to has proved itself: waiting would only prolong the failure.
    if not stable_before:
        return 0.0
    return min(_or(written.monitor_seconds, STABLE_SETTLE_SECONDS), STABLE_SETTLE_SECONDS)


def _action(service: Service, written: UpdatePolicy, *, guarded: bool) -> FailureAction:
    if written.failure_action == FailureAction.CONTINUE.value:
        return FailureAction.CONTINUE
    paused = written.failure_action == FailureAction.PAUSE.value
    # A rollback is never rolled back itself, and without a stable release there is nothing to go back to.
    return FailureAction.PAUSE if paused or service.rolling_back or not guarded else FailureAction.ROLLBACK


def _one_host_port(container: ContainerSpec) -> bool:
    engine_ports = (port.published for port in container.ports if not port.ingress)
    return any(published is not None and published[0] == published[1] for published in engine_ports)


def _is_checked(spec: TaskSpec) -> bool:
    check = spec.container.healthcheck
    probed = spec.probes.startup or spec.probes.ready
    return probed is not None or (check is not None and check.test not in {(), ("NONE",)})


def _or(written: float | None, otherwise: float) -> float:
    return otherwise if written is None else written
