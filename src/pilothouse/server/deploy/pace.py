"""How a service is rolled out, in one sentence: the same settings that the updater goes by, put into words. Pure."""

from pilothouse.control.orchestrators.endings import duration
from pilothouse.control.orchestrators.rollout import FailureAction, Policy, policy, written_policy
from pilothouse.model.counts import count
from pilothouse.model.release_api import PlannedAction
from pilothouse.model.spec import Strategy, UpdateOrder
from pilothouse.model.strategy import steps_of, tasks_of
from pilothouse.server.deploy.prospect import Prospect


def rollout_sentence(prospect: Prospect, base: int) -> str:
    """Return how *prospect* comes about; *base* is the stable release to go back to, 0 if there is none."""
    said = _SENTENCES[prospect.action]
    return said(prospect, base)


def rule_of(prospect: Prospect, base: int) -> Policy:
    """Return the policy that the updater will go by; *prospect* is of a service that stays or comes."""
    assert prospect.after is not None, "what goes is not rolled out"
    return policy(prospect.after, len(prospect.wanted), base=base)


def is_staged(prospect: Prospect, base: int) -> bool:
    """Whether new tasks run beside the old ones to be judged; that takes a stable release to compare with."""
    return bool(base and steps_of(prospect.spec.release)) and not prospect.spec.mode.job


def at_once(prospect: Prospect, base: int) -> int:
    """Return how many slots get a new task before any other is done."""
    if is_staged(prospect, base):
        return tasks_of(prospect.spec.release, 0, len(prospect.wanted))
    return rule_of(prospect, base).parallelism


def _create(prospect: Prospect, base: int) -> str:
    number = len(prospect.missing)
    if not number:
        return "its tasks are as it says already" if prospect.wanted else "no task is made"
    made = f"{count(number, 'task')} {'is' if number == 1 else 'are'} made at once"
    if prospect.spec.mode.job:
        return f"{made} and run until {'it has' if number == 1 else 'each has'} completed"
    return f"{made}; {_failure(prospect, base)}"


def _replace(prospect: Prospect, base: int) -> str:
    spec = prospect.spec
    if spec.mode.job:
        stopped = "what runs of it is stopped, and " if prospect.stops else ""
        return f"{stopped}the job is run again"
    if not prospect.outdated:
        return _create(prospect, base)
    rule = rule_of(prospect, base)
    staged = _stages(prospect, base)
    if staged and spec.release.strategy is Strategy.BLUE_GREEN:
        return _joined(*staged, *_more_or_fewer(prospect), _watched(rule), _failure(prospect, base))
    turns = _turns(prospect, rule)
    then = (f"once they are promoted {turns[0]}", *turns[1:]) if staged else turns
    return _joined(*staged, *then, *_more_or_fewer(prospect), _settled(rule), _watched(rule), _failure(prospect, base))


def _joined(*clauses: str) -> str:
    return "; ".join(filter(None, clauses))


def _stages(prospect: Prospect, base: int) -> tuple[str, ...]:
    """Return what is judged before anything old is stopped."""
    if not is_staged(prospect, base):
        return ()
    first, *more = steps_of(prospect.spec.release)
    hold = f"for at least {duration(first.hold_seconds)}"
    number = count(len(prospect.wanted), "new task")
    if prospect.spec.release.strategy is Strategy.BLUE_GREEN:
        return (f"blue/green: all of {number} beside the old ones, then the whole traffic {hold}, then judged",)
    then = " and ".join(f"{step.weight} % for {duration(step.hold_seconds)}" for step in more)
    begin = (
        f"canary: {at_once(prospect, base)} of {number} beside the old ones with {first.weight} % of the traffic {hold}"
    )
    return (f"{begin}, then more with {then}, each step judged" if then else f"{begin}, then judged",)


def _turns(prospect: Prospect, rule: Policy) -> tuple[str, ...]:
    """Return in which order and how many at once."""
    order = (
        "start-first, each old task is stopped once its new one is ready"
        if rule.order is UpdateOrder.START_FIRST
        else "stop-first, each old task is stopped before its new one, which is prepared by then, is started"
    )
    width = min(rule.parallelism, prospect.outdated)
    said = f"rolling, {width} of {count(prospect.outdated, 'task')} at a time: {order}"
    if current := len(prospect.wanted) - prospect.outdated - len(prospect.missing):
        said += f"; {count(current, 'other task')} {'is' if current == 1 else 'are'} as it says already"
    delay = rule.delay_seconds
    return (said, f"{duration(delay)} between two batches") if delay else (said,)


def _settled(rule: Policy) -> str:
    if rule.settle_seconds:
        return f"the next ones are begun after they have been ready for {duration(rule.settle_seconds)}"
    said = "the next ones are begun as soon as they are ready"
    unchecked = rule.unchecked_seconds
    return f"{said}, or have run for {duration(unchecked)} if nothing checks them" if unchecked else said


def _watched(rule: Policy) -> str:
    if not rule.monitor_seconds:
        return ""
    return f"a task that fails within {duration(rule.monitor_seconds)} of being ready counts as failed"


def _failure(prospect: Prospect, base: int) -> str:
    rule, number = rule_of(prospect, base), len(prospect.wanted)
    spared = int(rule.max_failure_ratio * number)
    allowed = f" (more than {count(spared, 'slot')})" if spared else ""
    written = prospect.after is not None and written_policy(prospect.after).failure_action == FailureAction.PAUSE.value
    if rule.failure_action is FailureAction.CONTINUE:
        then = "is tried again while the others are replaced"
    elif rule.failure_action is FailureAction.ROLLBACK:
        then = f"has the app rolled back to release {base}"
    elif written and base:
        then = "stops the rollout, and a person decides how it goes on"
    elif prospect.outdated:
        then = "is tried again, as there is no stable release to go back to"
    else:
        then = "is tried again"
    return f"one that fails or is not ready in {duration(rule.deadline_seconds)}{allowed} {then}"


def _scale(prospect: Prospect, base: int) -> str:
    del base
    return _joined(*_more_or_fewer(prospect), "the others run on")


def _more_or_fewer(prospect: Prospect) -> tuple[str, ...]:
    """Return how many tasks are made where none was, and how many are stopped for good."""
    more, fewer = len(prospect.missing), len(prospect.stops) - prospect.outdated
    parts = [f"{count(more, 'task')} more made at once"] if more > 0 else []
    return (*parts, f"{count(fewer, 'task')} stopped") if fewer > 0 else tuple(parts)


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
