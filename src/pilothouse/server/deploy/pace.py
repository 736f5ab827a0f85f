"""How a service is rolled out, in one sentence: the same settings that the updater goes by, put into words. Pure."""

from pilothouse.control.orchestrators.endings import duration
from pilothouse.control.orchestrators.rollout import parallelism, update_order
from pilothouse.model.counts import count
from pilothouse.model.release_api import PlannedAction
from pilothouse.model.spec import ServiceSpec, Strategy, UpdateOrder
from pilothouse.server.deploy.prospect import Prospect

DEADLINE_SECONDS = 600.0
SETTLE_SECONDS = 10.0
MONITOR_SECONDS = 10.0


def rollout_sentence(prospect: Prospect, base: int) -> str:
    """Return how *prospect* comes about; *base* is the stable release to go back to, 0 if there is none."""
    said = _SENTENCES[prospect.action]
    return said(prospect, base)


def settle_seconds(spec: ServiceSpec, base: int) -> float:
    """Return how long new tasks must have been ready before the next ones are begun."""
    if spec.release.settle_seconds is not None:
        return spec.release.settle_seconds
    return SETTLE_SECONDS if base and spec.update.monitor_seconds is None else 0.0


def monitor_seconds(spec: ServiceSpec, base: int) -> float:
    """Return how long after it became ready a new task that fails counts as a failure of the update."""
    if not base:
        return 0.0
    return MONITOR_SECONDS if spec.update.monitor_seconds is None else spec.update.monitor_seconds


def _create(prospect: Prospect, base: int) -> str:
    number = len(prospect.wanted)
    if not number:
        return "no task is made"
    made = f"{count(number, 'task')} {'is' if number == 1 else 'are'} made at once"
    if prospect.spec.mode.job:
        return f"{made} and run until {'it has' if number == 1 else 'each has'} completed"
    return f"{made}; {_failure(prospect.spec, number, base)}"


def _replace(prospect: Prospect, base: int) -> str:
    spec, number = prospect.spec, len(prospect.wanted)
    if spec.mode.job:
        stopped = "what runs of it is stopped, and " if prospect.stops else ""
        return f"{stopped}the job is run again"
    if not prospect.outdated:
        return "no task runs that would be replaced" if not number else _create(prospect, base)
    return "; ".join((*_steps(spec), *_turns(prospect), _settling(spec, base), _failure(spec, number, base)))


def _steps(spec: ServiceSpec) -> tuple[str, ...]:
    release = spec.release
    if release.strategy is Strategy.ROLLING:
        return ()
    if release.strategy is Strategy.BLUE_GREEN:
        return ("blue/green: all new tasks are made beside the old ones, then get the whole traffic and are judged",)
    steps = ", ".join(f"{step.weight} % for {duration(step.hold_seconds)}" for step in release.steps)
    shares = f"of {steps}" if steps else "that grows step by step"
    return (f"canary: a few new tasks beside the old ones get a share of the traffic {shares}, and are judged",)


def _turns(prospect: Prospect) -> tuple[str, ...]:
    """Return in which order and how many at once."""
    spec, number = prospect.spec, len(prospect.wanted)
    if spec.release.strategy is Strategy.BLUE_GREEN:
        return ()
    at_once = min(parallelism(spec, number), prospect.outdated)
    start_first = update_order(spec) is UpdateOrder.START_FIRST
    order = (
        "start-first, each old task is stopped once its new one is ready"
        if start_first
        else "stop-first, each old task is stopped before its new one, which is prepared by then, is started"
    )
    part = "" if prospect.outdated == number else f" of {number}, the others being as it says already"
    said = f"rolling, {at_once} of {count(prospect.outdated, 'task')} at a time{part}: {order}"
    delay = spec.update.delay_seconds
    return (said, f"{duration(delay)} between two batches") if delay else (said,)


def _settling(spec: ServiceSpec, base: int) -> str:
    settle, monitor = settle_seconds(spec, base), monitor_seconds(spec, base)
    said = f"the next ones are begun after they have been ready for {duration(settle)}" if settle else ""
    watched = f"a task that fails within {duration(monitor)} of being ready counts as failed" if monitor else ""
    return "; ".join(filter(None, (said, watched))) or "the next ones are begun as soon as they are ready"


def _failure(spec: ServiceSpec, number: int, base: int) -> str:
    limit = spec.release.deadline_seconds
    deadline = duration(DEADLINE_SECONDS if limit is None else limit)
    ratio = spec.update.max_failure_ratio or 0.0
    allowed = f" (more than {count(int(ratio * number), 'slot')})" if int(ratio * number) else ""
    action = spec.update.failure_action or "rollback"
    if action == "continue":
        then = "is tried again while the others are replaced"
    elif action == "pause":
        then = "stops the rollout, and a person decides how it goes on"
    elif base:
        then = f"has the app rolled back to release {base}"
    else:
        then = "stops the rollout, as there is no stable release to go back to; the platform goes on trying"
    return f"one that fails or is not ready in {deadline}{allowed} {then}"


def _scale(prospect: Prospect, base: int) -> str:
    del base
    more, fewer = len(prospect.wanted) - prospect.has, len(prospect.stops) - prospect.outdated
    parts = [f"{count(more, 'task')} more made at once"] if more > 0 else []
    parts += [f"{count(fewer, 'task')} stopped"] if fewer > 0 else []
    return "; ".join([*parts, "the others run on"])


def _adjust(prospect: Prospect, base: int) -> str:
    del base
    return f"nothing restarts{_going_on(prospect)}"


def _keep(prospect: Prospect, base: int) -> str:
    del base
    return _going_on(prospect).removeprefix("; ")


def _going_on(prospect: Prospect) -> str:
    if not prospect.outdated:
        return ""
    return f"; an update to this is going on: {count(prospect.outdated, 'task')} yet to be replaced"


def _remove(prospect: Prospect, base: int) -> str:
    del base
    return f"{count(len(prospect.stops), 'task')} stopped, after those of services that depend on it"


_SENTENCES = {
    PlannedAction.CREATE: _create,
    PlannedAction.REPLACE: _replace,
    PlannedAction.SCALE: _scale,
    PlannedAction.ADJUST: _adjust,
    PlannedAction.KEEP: _keep,
    PlannedAction.REMOVE: _remove,
}
