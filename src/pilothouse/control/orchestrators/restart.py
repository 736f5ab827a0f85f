"""What follows a dead task in its slot: another one now, another one later, none until somebody acts, or none at all.

The history a decision needs is in the dead task itself (`failures`, its times), so it survives a restart of the server.
"""

import enum
import zlib

from pilothouse.backoff import delay_seconds
from pilothouse.control.orchestrators.endings import duration, given_up, how_it_ended, run_seconds
from pilothouse.model.base import Value
from pilothouse.model.counts import in_a_row
from pilothouse.model.objects import Task
from pilothouse.model.spec import RestartCondition, RestartPolicy
from pilothouse.model.states import TaskState

PARKED_AFTER = 50
STABLE_SECONDS = 600.0
CLEAN_EXIT_GAP_SECONDS = 1.0
"""The least time between two starts in one slot after a clean exit, so that a program that ends at once is no storm."""


class Next(enum.Enum):
    """What to do with a slot whose task is dead."""

    NOW = "now"
    LATER = "later"
    PARKED = "parked"
    LEAVE = "leave"


class Verdict(Value, frozen=True, kw_only=True):
    """The answer for one slot.

    Attributes:
        failures: Consecutive failures so far, to be kept by the replacement.
        not_before: The earliest start of the replacement.
        reason: Why the replacement is made, or why there is none.
    """

    next: Next
    failures: int = 0
    not_before: float = 0.0
    reason: str = ""


def after(task: Task, policy: RestartPolicy, now: float) -> Verdict:
    """Return what follows *task*, which is dead and was made from the service's present spec."""
    ended = how_it_ended(task)
    if task.desired_state is TaskState.SHUTDOWN:
        return Verdict(next=Next.NOW, reason=f"the task before it was stopped on purpose: {task.desired_reason}")
    clean = task.state is TaskState.COMPLETE
    if policy.condition is RestartCondition.NONE or (clean and policy.condition is RestartCondition.ON_FAILURE):
        return Verdict(next=Next.LEAVE, reason=f"it {ended} and its restart policy is {policy.condition.value!r}")
    if given_up(task):
        # It waits as long as the one before it would have, and not longer.
        waits = task.not_before if task.status.started_at is None and task.not_before > now else 0.0
        return Verdict(
            next=Next.LATER if waits else Next.NOW,
            failures=task.failures,
            not_before=waits,
            reason=f"the task before it {ended}",
        )
    failures = 0 if clean or worked(task, policy) else task.failures + 1
    if failures >= limit(policy):
        return Verdict(
            next=Next.PARKED,
            failures=failures,
            reason=f"failed {'once' if failures == 1 else f'{failures} times in a row'}; last it {ended}",
        )
    wait = _wait(task, policy, failures, clean=clean)
    not_before = min(now, _ended_at(task, now)) + wait
    return Verdict(
        next=Next.NOW if not_before <= now else Next.LATER,
        failures=failures,
        not_before=not_before,
        reason=f"the task before it {ended}",
    )


def forgiving(task: Task, policy: RestartPolicy, resumed_at: float, now: float) -> Verdict:
    """Return what follows *task*, as `after` does; a person who has the app go on since forgives how it ended."""
    verdict = after(task, policy, now)
    if task.state is TaskState.COMPLETE or task.created_at >= resumed_at:
        return verdict
    if verdict == Verdict(next=Next.NOW, reason=verdict.reason):
        return verdict
    return Verdict(next=Next.NOW, reason=f"it {how_it_ended(task)}, and a person asked to go on")


def worked(task: Task, policy: RestartPolicy) -> bool:
    """Tell whether a dead *task* ran long enough to count as having worked."""
    if task.status.started_at is None:
        return False
    if policy.window_seconds is not None:
        return run_seconds(task) >= policy.window_seconds
    start = max(0.0, task.status.started_at - max(task.created_at, task.not_before))
    return run_seconds(task) >= max(STABLE_SECONDS, 2 * start)


def limit(policy: RestartPolicy) -> int:
    """Return the number of consecutive failures that parks a slot; *max_attempts* counts restarts, not the start."""
    return policy.max_attempts + 1 if policy.max_attempts else PARKED_AFTER


def waiting_reason(failures: int, wait_seconds: float) -> str:
    """Return what a replacement in back-off waits for."""
    if not failures:
        return f"waits {duration(wait_seconds)} before the next start, because the one before it ended well"
    return f"waits {duration(wait_seconds)} before the next attempt, after {in_a_row(failures)}"


def _wait(task: Task, policy: RestartPolicy, failures: int, *, clean: bool) -> float:
    if policy.delay_seconds is not None:
        return policy.delay_seconds
    if clean:
        return max(0.0, CLEAN_EXIT_GAP_SECONDS - run_seconds(task))
    # Ids are random, so a checksum of one is chance enough for jitter, and repeatable: deciding twice decides the same.
    return delay_seconds(failures, fraction=zlib.crc32(task.id.encode()) / 2**32)


def _ended_at(task: Task, now: float) -> float:
    return task.status.finished_at or task.status.since or now
