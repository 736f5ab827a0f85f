"""The life of one task on this node, as pure functions: what was asked and what was seen → what to do next.

The worker calls `decide`, carries out the instruction, hands what came of it to `after`, and tells the manager what
`report` says. Nothing here does I/O or reads a clock, so that everything difficult can be tested without an engine.
"""

import enum

import msgspec

from pilothouse.agent.runtime.interface import ContainerState
from pilothouse.backoff import delay_seconds
from pilothouse.model.base import Value
from pilothouse.model.objects import Ending, Health, Task, TaskStatus
from pilothouse.model.states import TaskState
from pilothouse.model.wire import TaskReport

RETRY_CAP_SECONDS = 30.0
DRAIN_SECONDS = 15.0
FAILING_DRAIN_SECONDS = 1.0


class Do(enum.Enum):
    """An instruction to the worker; each may be carried out again after it was done."""

    NOTHING = "nothing"
    PREPARE = "prepare"
    PRE_START = "pre-start"
    START = "start"
    POST_START = "post-start"
    DRAIN = "drain"
    PRE_STOP = "pre-stop"
    STOP = "stop"
    COLLECT = "collect"
    CLEAN = "clean"


_DONE = {
    Do.PRE_START: "pre_started",
    Do.POST_START: "post_started",
    Do.DRAIN: "drained",
    Do.PRE_STOP: "pre_stopped",
    Do.CLEAN: "cleaned",
}


class Checks(Value, frozen=True, kw_only=True):
    """What all probes and the engine's own check say together.

    Attributes:
        failing: Why the task must be stopped, or "".
        note: What else a person should read of them while the task runs, or "".
    """

    health: Health = Health.NONE
    ready: bool = True
    failing: str = ""
    note: str = ""


class Cut(Value, frozen=True, kw_only=True):
    """That a task must end although the manager did not say so, because it cannot.

    Attributes:
        at_once: It is killed, without a stop signal and whatever comes before one.
    """

    reason: str
    at_once: bool = False


class Seen(Value, frozen=True, kw_only=True):
    """The task's container as it was last seen, or None, and what its checks say.

    Attributes:
        held: Why it may not be started now, or "".
        cut: Why it must end, or None.
    """

    container: ContainerState | None = None
    checks: Checks = Checks()
    held: str = ""
    cut: Cut | None = None

    @property
    def phase(self) -> str:
        """The container's phase: "gone", "created", "running" or "ended"."""
        if self.container is None:
            return "gone"
        known = {"created": "created", "running": "running", "paused": "running"}
        return known.get(self.container.phase, "ended")


class Life(Value, frozen=True, kw_only=True):
    """What the agent remembers of a task between two instructions; a restart begins anew from what is stored.

    Attributes:
        failing: Why the platform itself stops the task, which then has failed; or "".
        cut: Why it ends although nobody who may wants that; or None.
        unhealthy: It is stopped because its checks fail.
        ready: It was ready when it was last looked at.
        ready_since: When it last became so; None if it never did.
        attempts, retry_at: Of the present instruction: temporary failures in a row, and when to try again.
        prepared: The container was made whole. A crash can come between making it and connecting its networks, so one
            that was found is prepared again.
        pre_started, post_started, pre_stopped: These hooks are over.
        opened: The proxy may have sent it traffic.
        leaving: It is being stopped, so it gets nothing new.
        drained: What the proxy had sent it is over, or was given up.
        touched: Something may exist on the node that belongs to the task.
        cleaned: Nothing of it is left.
        last: The newest container seen; it outlives the container.
    """

    state: TaskState
    since: float = 0.0
    message: str = ""
    failing: str = ""
    cut: Cut | None = None
    unhealthy: bool = False
    ready: bool = False
    ready_since: float | None = None
    attempts: int = 0
    retry_at: float = 0.0
    prepared: bool = False
    pre_started: bool = False
    post_started: bool = False
    pre_stopped: bool = False
    opened: bool = False
    leaving: bool = False
    drained: bool = False
    touched: bool = False
    cleaned: bool = False
    ending: Ending | None = None
    last: ContainerState | None = None


class Step(Value, frozen=True, kw_only=True):
    """What to do now; with NOTHING, *wake_at* is when to look again at the latest, or None."""

    do: Do
    life: Life
    wake_at: float | None = None


class Outcome(Value, frozen=True, kw_only=True):
    """How an instruction went.

    Attributes:
        error: One sentence, or "" if it was carried out.
        retryable: The same instruction may succeed later.
        delay_seconds: How long the driver advises to wait, or None.
        fraction: Where in the jitter the next wait falls.
        ending: Of COLLECT, and of a `pre_start` hook that failed.
    """

    error: str = ""
    retryable: bool = False
    delay_seconds: float | None = None
    fraction: float = 0.5
    ending: Ending | None = None


def begin(task: Task, container: ContainerState | None) -> Life:
    """Return the life of *task* as an agent takes it up, with what it found on the node."""
    status = task.status
    return Life(
        state=task.state,
        since=status.since,
        message=status.message,
        ready=status.ready,
        # A version before this one did not say since when.
        ready_since=_or(status.ready_since, status.started_at if status.ready else None),
        # RUNNING is reported only after the post_start hooks, so a task that was not yet there gets them (again).
        post_started=task.state >= TaskState.RUNNING,
        pre_started=container is not None and container.phase != "created",
        # Whatever an earlier agent reported last, its proxy may have sent traffic to what runs.
        opened=container is not None and behind_proxy(task),
        touched=container is not None,
        ending=status.ending,
        last=container,
    )


def decide(task: Task, life: Life, seen: Seen, now: float) -> Step:
    """Return the next instruction for *task*, and its life after the moves that need none."""
    life = _replace(life, last=seen.container or life.last, touched=life.touched or seen.container is not None)
    life = _replace(life, cut=life.cut or seen.cut)
    if life.state.terminal:
        return _after_the_end(life, now)
    if seen.phase == "ended":
        return Step(do=Do.COLLECT, life=life)
    # A task is started once; a container that went, or was made anew by somebody else, is not its container any more.
    lost_from = {"gone": TaskState.STARTING, "created": TaskState.RUNNING}.get(seen.phase)
    if lost_from is not None and life.state >= lost_from:
        return _after_the_end(_conclude(task, life, None, now), now)
    if life.failing or life.cut or task.desired_state >= TaskState.SHUTDOWN:
        return _stop(task, life, seen, now)
    if now < life.retry_at:
        return Step(do=Do.NOTHING, life=life, wake_at=life.retry_at)
    return _go_on(task, life, seen, now)


def after(task: Task, life: Life, do: Do, outcome: Outcome, now: float) -> Life:
    """Return the life of *task* after *do* went as *outcome* says."""
    if not outcome.error:
        return _succeeded(task, _replace(life, attempts=0, retry_at=0.0), do, outcome, now)
    if do in {Do.DRAIN, Do.PRE_STOP}:
        return _replace(life, **{_DONE[do]: True}, message=outcome.error)
    if outcome.retryable or do in {Do.STOP, Do.CLEAN}:
        return _postpone(life, outcome, now)
    if do is Do.PREPARE and life.state < TaskState.STARTING:
        return _move(life, TaskState.REJECTED, outcome.error, now)
    if do is Do.POST_START:
        return _replace(life, failing=outcome.error, attempts=0, retry_at=0.0)
    return _move(_replace(life, ending=outcome.ending), TaskState.FAILED, outcome.error, now)


def report(task: Task, life: Life, seen: Seen, network_keys: dict[str, str]) -> TaskReport:
    """Return what to tell the manager; *network_keys* gives the app's key of each engine network."""
    running = life.state is TaskState.RUNNING
    last = life.last
    exited = last.exit if last else None
    status = TaskStatus(
        message=f"{life.message} ({seen.checks.note})" if running and seen.checks.note else life.message,
        since=life.since,
        started_at=_or(
            last.started_at if last else None, exited.started_at if exited else None, task.status.started_at
        ),
        finished_at=_or(exited.finished_at if exited else None, task.status.finished_at),
        container_id=last.id if last else task.status.container_id,
        image_id=last.image_id if last else task.status.image_id,
        addresses={network_keys.get(name, name): at for name, at in last.addresses.items()} if last and running else {},
        health=seen.checks.health if running else Health.UNHEALTHY if life.unhealthy else Health.NONE,
        ready=running and seen.checks.ready and not life.leaving,
        ready_since=life.ready_since,
        ending=life.ending,
    )
    return TaskReport(task_id=task.id, state=life.state, status=status)


def behind_proxy(task: Task) -> bool:
    """Whether the proxy serves a port of *task*."""
    return any(port.ingress for port in task.ports)


def _go_on(task: Task, life: Life, seen: Seen, now: float) -> Step:
    """Return the next instruction of a task that nobody wants stopped."""
    if life.state < TaskState.ACCEPTED:
        life = _move(life, TaskState.ACCEPTED, "accepted by the node", now)
    if seen.phase == "gone" or (seen.phase == "created" and not life.prepared):
        if life.state < TaskState.PREPARING:
            life = _move(life, TaskState.PREPARING, "being prepared", now)
        return Step(do=Do.PREPARE, life=_replace(life, touched=True))
    if seen.phase == "running":
        return _greet(task, life, seen, now)
    if life.state < TaskState.READY:
        life = _move(life, TaskState.READY, "prepared", now)
    if life.state is TaskState.READY:
        if task.desired_state < TaskState.STARTING:
            return Step(do=Do.NOTHING, life=_say(life, f"prepared; {task.desired_reason or 'waits to be started'}"))
        if now < task.not_before or seen.held:
            # What the node itself waits for is said as it is: nobody else knows when it is over.
            why = seen.held or f"prepared; {task.desired_reason or 'waits before it is started again'}"
            wake_at = task.not_before if now < task.not_before else None
            return Step(do=Do.NOTHING, life=_say(life, why), wake_at=wake_at)
        life = _move(life, TaskState.STARTING, "starting", now)
    hooks = any(hook.per_replica for hook in task.spec.pre_start) and not life.pre_started
    return Step(do=Do.PRE_START if hooks else Do.START, life=life)


def _greet(task: Task, life: Life, seen: Seen, now: float) -> Step:
    """Return the next instruction for a task whose container runs."""
    if life.state < TaskState.STARTING:
        life = _move(life, TaskState.STARTING, "starting", now)
    if task.spec.post_start and not life.post_started:
        return Step(do=Do.POST_START, life=_say(life, "started; its post_start hooks run"))
    if life.state < TaskState.RUNNING:
        life = _move(life, TaskState.RUNNING, "running", now)
    if seen.checks.ready is not life.ready:
        life = _replace(life, ready=seen.checks.ready, ready_since=now if seen.checks.ready else life.ready_since)
    opened = life.opened or (seen.checks.ready and behind_proxy(task))
    life = _replace(life, opened=opened, failing=seen.checks.failing, unhealthy=bool(seen.checks.failing))
    return _stop(task, life, seen, now) if life.failing else Step(do=Do.NOTHING, life=life)


def _stop(task: Task, life: Life, seen: Seen, now: float) -> Step:
    if seen.phase != "running":
        return _after_the_end(_conclude(task, life, None, now), now)
    if now < life.retry_at and life.pre_stopped:
        return Step(do=Do.NOTHING, life=life, wake_at=life.retry_at)
    cut = life.cut.reason if life.cut else ""
    why = life.failing or cut or task.desired_reason or "it is not wanted any more"
    life = _replace(life, leaving=True)
    if life.cut and life.cut.at_once:
        return Step(do=Do.STOP, life=_replace(_say(life, f"killing: {why}"), pre_stopped=True, retry_at=0.0))
    if life.opened and not life.drained:
        return Step(do=Do.DRAIN, life=_say(life, f"draining, {drain_seconds(life):g} s at most: {why}"))
    life = _say(life, f"stopping: {why}")
    if task.spec.pre_stop and not life.pre_stopped:
        return Step(do=Do.PRE_STOP, life=life)
    # A wait left over from failed starts does not hold back the stop.
    return Step(do=Do.STOP, life=_replace(life, pre_stopped=True, retry_at=0.0))


def drain_seconds(life: Life) -> float:
    """Return how long what the proxy has sent to a task may take to end; a broken task rarely answers it anyway."""
    return FAILING_DRAIN_SECONDS if life.failing else DRAIN_SECONDS


def _after_the_end(life: Life, now: float) -> Step:
    if life.cleaned or not life.touched:
        return Step(do=Do.NOTHING, life=life)
    if now < life.retry_at:
        return Step(do=Do.NOTHING, life=life, wake_at=life.retry_at)
    return Step(do=Do.CLEAN, life=life)


def _conclude(task: Task, life: Life, ending: Ending | None, now: float) -> Life:
    """Return the life of a task whose container ended (with *ending*), vanished, or never started."""
    life = _replace(life, ending=ending or life.ending, attempts=0, retry_at=0.0)
    if life.failing:
        return _move(life, TaskState.FAILED, life.failing, now)
    if stopped := _stopped(task, life, ending):
        return _move(life, TaskState.SHUTDOWN, stopped, now)
    if ending is None:
        return _move(life, TaskState.FAILED, "its container is gone: something else removed it from the engine", now)
    if ending.oom:
        return _move(life, TaskState.FAILED, f"ran out of memory{_limit(task)}", now)
    if ending.exit_code == 0:
        return _move(life, TaskState.COMPLETE, "finished with exit code 0", now)
    code = "an unknown exit code" if ending.exit_code is None else f"exit code {ending.exit_code}"
    killed = f" (killed by {ending.signal})" if ending.signal else ""
    return _move(life, TaskState.FAILED, f"ended with {code}{killed}", now)


def _stopped(task: Task, life: Life, ending: Ending | None) -> str:
    """Return why a task was stopped without having failed, "" if it was not."""
    if task.desired_state >= TaskState.SHUTDOWN:
        return f"stopped: {task.desired_reason}" if task.desired_reason else "stopped"
    # What ended well at the last moment has ended well.
    ended_well = ending is not None and ending.exit_code == 0
    return life.cut.reason if life.cut and not (life.cut.at_once and ended_well) else ""


def _limit(task: Task) -> str:
    limit = task.spec.container.limits.memory_bytes
    return f": it may use {limit / (1 << 20):g} MiB" if limit else ""


def _succeeded(task: Task, life: Life, do: Do, outcome: Outcome, now: float) -> Life:
    if do is Do.PREPARE:
        life = _replace(life, prepared=True)
        return _move(life, TaskState.READY, "prepared", now) if life.state < TaskState.READY else life
    if do is Do.COLLECT:
        return _conclude(task, life, outcome.ending or Ending(), now)
    return _replace(life, **{_DONE[do]: True}) if do in _DONE else life


def _postpone(life: Life, outcome: Outcome, now: float) -> Life:
    attempts = life.attempts + 1
    wait = delay_seconds(attempts, fraction=outcome.fraction, cap=RETRY_CAP_SECONDS)
    wait = max(wait, outcome.delay_seconds or 0.0)
    postponed = _replace(life, attempts=attempts, retry_at=now + wait)
    # What a dead task said last is worth more than why its container could not be removed yet.
    return postponed if life.state.terminal else _say(postponed, outcome.error)


def _move(life: Life, state: TaskState, message: str, now: float) -> Life:
    return _replace(life, state=state, since=now, message=message, attempts=0, retry_at=0.0)


def _say(life: Life, message: str) -> Life:
    return _replace(life, message=message)


def _replace(life: Life, **changes: object) -> Life:
    return msgspec.structs.replace(life, **changes)


def _or(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
