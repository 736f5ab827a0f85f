"""How far a canary or blue/green release lets one service go now: by what is ready, and by what the judge says. Pure.

A step has two parts. First its new tasks are made beside the old ones, with the weight of the step before. Once they
are ready and have settled (the service's rollout is HELD) they get the weight of the step, and are watched until it is
over. Everything that decides what comes next is in the `Stage` that is stored.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from pilothouse.model.counts import count
from pilothouse.model.objects import Service
from pilothouse.model.release import Release, ReleaseKind, Traffic, Verdict
from pilothouse.model.rollout import Counted, Rollout, RolloutState, Stage
from pilothouse.model.spec import ReleaseStep
from pilothouse.model.strategy import goes_in_stages, steps_of, tasks_of
from pilothouse.release.judge import ALPHA, Case, Opinion, judge
from pilothouse.release.measured import after, counted, reported_until, reports

LOOK_SECONDS = 2.0
"""Between two looks at a step that is being watched; about as often as proxies report."""

LONGEST_HOLDS = 3
"""A step that cannot be judged when its hold is over is watched for so many holds at most."""

WARM_SECONDS = 5.0
"""The first requests of new tasks fill caches and pools, so their latency is not held against them."""

REPEAT_SECONDS = 10.0
"""A verdict that is still to wait is written anew so often, for people who watch."""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at one service comes to.

    Attributes:
        stage: As it should be; None if the service goes without.
        verdict: To be kept, or None.
        guilty: Why the new tasks are worse than the manifest allows; "" if they are not found to be.
        wake_at: When to look again in any case, or None.
    """

    stage: Stage | None = None
    verdict: Verdict | None = None
    guilty: str = ""
    wake_at: float | None = None


def progress(
    release: Release,
    service: Service,
    rollout: Rollout | None,
    traffic: Sequence[Traffic],
    now: float,
    *,
    base: Release | None = None,
    paused: bool = False,
) -> Progress:
    """Return how far *service* may go in *release*.

    Args:
        release: The newest of the app, still rolling.
        service: As the release has it.
        rollout: What the orchestrator says of it for this release, or None if it has not answered.
        traffic: All of the app's.
        now: The time.
        base: The release that *release* would go back to, if it is kept.
        paused: A person paused the app: nothing goes further, and nobody is judged.
    """
    stage = release.stages.get(service.name)
    if rollout is None or not goes_in_stages(release, base, service.name):
        return Progress(stage=stage)
    if stage is None or rollout.state is RolloutState.DONE:
        return Progress(stage=_opened(release, service, rollout, now))
    if stage.promoted or paused or rollout.state not in {RolloutState.HELD, RolloutState.ROLLING}:
        return Progress(stage=stage)
    return _staged(release, service, stage, rollout, reports(release, service, traffic), now)


def stopped(stage: Stage) -> Stage:
    """Return a stage whose new tasks get no traffic any more; they stay where they are."""
    return stage if stage.promoted or not stage.weight else replace(stage, weight=0)


def _opened(release: Release, service: Service, rollout: Rollout, now: float) -> Stage | None:
    """Return the stage of a service that has none, or is through."""
    stage = release.stages.get(service.name)
    if rollout.state is RolloutState.DONE:
        return stage if stage is None or stage.promoted else replace(stage, promoted=True, since=now)
    if release.kind is ReleaseKind.RESTART:
        # It runs already, so it is known to work.
        return Stage(promoted=True, since=now)
    return Stage(tasks=tasks_of(service.spec.release, 0, service.spec.replicas), since=now)


def _staged(
    release: Release, service: Service, stage: Stage, rollout: Rollout, found: Sequence[Traffic], now: float
) -> Progress:
    """Return what comes after *stage*: its weight once its tasks are ready and have settled, then a verdict."""
    step = steps_of(service.spec.release)[stage.step]
    if stage.weight != step.weight:
        # What was written before the orchestrator saw this stage is about the tasks of the one before.
        if rollout.state is not RolloutState.HELD or rollout.held < stage.tasks:
            return Progress(stage=stage)
        return _watched(_weighted(stage, step, found, now), step, now)
    if stage.warmed is None and now >= stage.since + min(WARM_SECONDS, step.hold_seconds / 3):
        stage = replace(stage, warmed=counted(found))
    return _judged(release, service, stage, found, now, ready=rollout.state is RolloutState.HELD)


def _judged(
    release: Release, service: Service, stage: Stage, found: Sequence[Traffic], now: float, *, ready: bool
) -> Progress:
    """Return what the judge says; while a new task is being made again (not *ready*) it can only be that it is bad."""
    steps = steps_of(service.spec.release)
    step = steps[stage.step]
    case = _case(service, stage, found, ALPHA / len(steps))
    opinion = judge(case)
    if opinion.guilty:
        why = f"the new tasks are worse: {opinion.sentence}"
        verdict = _verdict(service, stage, case, opinion, "roll-back", why, now)
        return Progress(stage=stopped(stage), verdict=verdict, guilty=f"{service.name}: {why}")
    watched = _watched(stage, step, now)
    if not ready:
        return watched
    if why := _why_promoted(service, stage, case, opinion, reported_until(found), now):
        verdict = _verdict(service, stage, case, opinion, "promote", why, now)
        return replace(_next(service, stage, found, now), verdict=verdict)
    if now < stage.since + step.hold_seconds or _said(release, service, stage, now):
        return watched
    why = _why_longer(service, case, opinion)
    return replace(watched, verdict=_verdict(service, stage, case, opinion, "wait", why, now))


def _why_promoted(service: Service, stage: Stage, case: Case, opinion: Opinion, reported: float, now: float) -> str:
    """Return why the step is over in favour of the new tasks, or "" if it is not."""
    hold = steps_of(service.spec.release)[stage.step].hold_seconds
    if now < stage.since + hold:
        return ""
    if not any(port.ingress for port in service.spec.task.container.ports):
        return "no port of it goes through the proxy, so it was judged by task failures alone"
    enough = case.new.requests >= case.judge.requests
    if enough and not opinion.suspicious and reported >= stage.since + hold - LOOK_SECONDS:
        return f"the new tasks are no worse: {opinion.sentence}"
    if now < stage.since + LONGEST_HOLDS * hold:
        return ""
    if enough:
        return f"the new tasks were not found to be worse in {LONGEST_HOLDS} times the hold: {opinion.sentence}"
    return f"judged by task failures alone: {_too_few(case)}"


def _why_longer(service: Service, case: Case, opinion: Opinion) -> str:
    if opinion.suspicious:
        return f"watched for longer, because the new tasks look worse: {opinion.sentence}"
    if case.new.requests < case.judge.requests:
        return f"watched for longer: {_too_few(case)}"
    return f"watched for longer, because the counts of {service.name} are late"


def _too_few(case: Case) -> str:
    return f"the new tasks got {count(case.new.requests, 'request')}, and a verdict needs {case.judge.requests}"


def _next(service: Service, stage: Stage, found: Sequence[Traffic], now: float) -> Progress:
    """Return the step after one that ended well, or the end of all steps."""
    policy = service.spec.release
    steps = steps_of(policy)
    if stage.step + 1 == len(steps):
        return Progress(stage=replace(stage, promoted=True, since=now, counted=None, warmed=None))
    tasks = tasks_of(policy, stage.step + 1, service.spec.replicas)
    following = Stage(step=stage.step + 1, tasks=tasks, weight=stage.weight, since=now)
    if tasks > stage.tasks:
        return Progress(stage=following)
    step = steps[following.step]
    return _watched(_weighted(following, step, found, now), step, now)


def _weighted(stage: Stage, step: ReleaseStep, found: Sequence[Traffic], now: float) -> Stage:
    """Return *stage* with its weight of the traffic, from now on watched."""
    return replace(stage, weight=step.weight, since=now, counted=counted(found), warmed=None)


def _watched(stage: Stage, step: ReleaseStep, now: float) -> Progress:
    over = stage.since + step.hold_seconds
    return Progress(stage=stage, wake_at=min(now + LOOK_SECONDS, over) if now < over else now + LOOK_SECONDS)


def _case(service: Service, stage: Stage, found: Sequence[Traffic], alpha: float) -> Case:
    before = stage.counted or Counted()
    step = after(found, before, stage.since)
    # Until the new tasks are warm nothing is known of latencies.
    warm = after(found, stage.warmed, stage.since) if stage.warmed is not None else Counted()
    return Case(
        judge=service.spec.release.judge,
        weight=stage.weight,
        old=step.old,
        new=step.new,
        warm_old=warm.old,
        warm_new=warm.new,
        before=before.old,
        alpha=alpha,
    )


def _said(release: Release, service: Service, stage: Stage, now: float) -> bool:
    """Whether people were told a moment ago that this step takes longer."""
    return any(
        each.service == service.name and each.step == stage.step and now - each.at < REPEAT_SECONDS
        for each in release.verdicts
    )


def _verdict(
    service: Service, stage: Stage, case: Case, opinion: Opinion, outcome: str, sentence: str, now: float
) -> Verdict:
    return Verdict(
        service=service.name,
        step=stage.step,
        at=now,
        outcome=outcome,
        sentence=sentence,
        old=case.old,
        new=case.new,
        error_p=opinion.error_p,
        latency_p=opinion.latency_p,
        old_p95_ms=opinion.old_p95_ms,
        new_p95_ms=opinion.new_p95_ms,
    )
