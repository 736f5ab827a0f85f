"""A release and how far each service of it is, as people watch it: pure functions of a snapshot and a time.

What a rollout may do next is decided elsewhere; this only counts tasks and says what is being waited for.
"""

import msgspec

from pilothouse.control.orchestrators.rollout import Policy, policy, ready_since, settled_at
from pilothouse.control.orchestrators.scene import Key, Slot, place_name
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.model.counts import count
from pilothouse.model.objects import App, ResolvedImage, Service, Task
from pilothouse.model.release import Release, ReleaseState, Traffic
from pilothouse.model.release_api import ReleaseView, RolloutView
from pilothouse.model.rollout import Rollout, RolloutState, Stage
from pilothouse.model.spec import Strategy
from pilothouse.model.states import TaskState
from pilothouse.model.strategy import steps_of
from pilothouse.store.interface import ReadTx

_ID_CHARACTERS = len("sha256:") + 12


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollout waits for; *since* and *until* as in `RolloutView`."""

    what: str = ""
    since: float = 0.0
    until: float | None = None


def newest_release(tx: ReadTx, scenes: Scenes, app: App, now: float) -> ReleaseView | None:
    """Return the newest release of *app* with how far each service is, or None if it has none."""
    release = scenes.release(app)
    if release is None:
        return None
    services = tuple(
        rollout_view(scenes, service, release, tx.find(Traffic, app=app.id, service=service.name), now)
        for service in scenes.services(app.id)
        if not service.removing
    )
    return release_view(release, paused=app.paused and not release.state.over, services=services)


def release_view(
    release: Release, *, paused: bool = False, rolled_back_by: int = 0, services: tuple[RolloutView, ...] = ()
) -> ReleaseView:
    """Return *release* as `releases` shows it; the rest as in `ReleaseView`."""
    return ReleaseView(
        app=release.app,
        number=release.number,
        kind=release.kind,
        state=release.state,
        sentence=release.sentence,
        since=release.since or release.created_at,
        paused=paused,
        base=release.base,
        copies=release.copies,
        undoes=release.undoes,
        rolled_back_by=rolled_back_by,
        created_at=release.created_at,
        created_by=release.created_by,
        message=release.message,
        changes=release.changes,
        images={name: _image_text(image) for name, image in release.images.items()},
        evidence=release.evidence,
        verdicts=release.verdicts,
        services=services,
    )


def rollout_view(
    scenes: Scenes, service: Service, release: Release, measured: list[Traffic], now: float
) -> RolloutView:
    """Return how far *service* is in *release*, the newest one of its app.

    Args:
        scenes: The snapshot.
        service: Not being removed.
        release: The newest release of the app.
        measured: What proxies counted of the service.
        now: Wall-clock seconds.
    """
    fingerprint = scenes.fingerprint(service)
    by_key = scenes.slots(service)
    wanted = [by_key.get(key) or Slot(key=key) for key in scenes.wanted(service)]
    rule = policy(service, len(wanted), base=release.base, undoes=release.undoes)
    unfinished = [slot for slot in wanted if not _is_updated(slot, rule, now)]
    done = len(wanted) - len(unfinished)
    started = [slot.current for slot in unfinished if slot.current is not None]
    old = [task for slot in by_key.values() for task in slot.live if task.fingerprint != fingerprint]
    app = scenes.app(service.app)
    paused = app is not None and app.paused and not release.state.over
    rollout = _rollout(service, release, paused=paused)
    stage = _stage(service, release)
    wait = _wait(service, rule, rollout, stage, wanted, now, paused_by=app.paused_by if app and paused else "")
    counted = [each for each in measured if each.fingerprint == fingerprint] if stage is not None else []
    return RolloutView(
        service=service.name,
        state=rollout.state,
        strategy=service.spec.release.strategy if release.base else Strategy.ROLLING,
        wanted=len(wanted),
        updated=done,
        starting=sum(1 for task in started if task.desired_state is not TaskState.READY),
        old=len(old),
        step=stage.step + 1 if stage else 0,
        steps=len(steps_of(service.spec.release)) if stage else 0,
        weight=stage.weight if stage else None,
        waits_for=wait.what,
        since=wait.since or rollout.since,
        until=wait.until,
        requests=sum(each.new.requests for each in counted) if counted else None,
        errors=sum(each.new.errors for each in counted) if counted else None,
    )


def _rollout(service: Service, release: Release, *, paused: bool) -> Rollout:
    """Return what the orchestrator wrote of *release*; until it has looked, nothing is being replaced."""
    written = service.rollout
    if written.release == release.number:
        going = written.state not in {RolloutState.DONE, RolloutState.FAILED}
        return Rollout(release=written.release, state=RolloutState.PAUSED) if paused and going else written
    if release.state is ReleaseState.STABLE:
        return Rollout(release=release.number, state=RolloutState.DONE, since=release.since)
    state = RolloutState.PAUSED if paused else RolloutState.WAITING
    return Rollout(release=release.number, state=state, since=release.created_at)


def _stage(service: Service, release: Release) -> Stage | None:
    """Return the stage that holds *service* back, or None if none does."""
    stage = release.stages.get(service.name)
    return stage if stage is not None and not stage.promoted and not release.state.over else None


def _is_updated(slot: Slot, rule: Policy, now: float) -> bool:
    """Whether a slot has its new task, which is ready and has settled, or has ended well where that is meant."""
    if slot.current is None:
        return slot.completed
    settled = settled_at(slot.current, rule)
    return settled is not None and settled <= now and slot.current.desired_state is TaskState.RUNNING


def _wait(
    service: Service,
    rule: Policy,
    rollout: Rollout,
    stage: Stage | None,
    wanted: list[Slot],
    now: float,
    *,
    paused_by: str,
) -> Wait:
    match rollout.state:
        case RolloutState.DONE:
            found = Wait()
        case RolloutState.PAUSED:
            who = f" ({paused_by} paused it)" if paused_by else ""
            found = Wait(what=f"`pilothouse resume {service.app}`{who}")
        case RolloutState.HELD if stage is not None:
            found = _judged(service, stage)
        case RolloutState.ROLLING:
            found = _next_task(service, rule, wanted, now) or Wait()
        case RolloutState.MONITORING:
            until = _monitored_until(rule, wanted)
            over = until is not None and until <= now
            found = Wait(what="the old tasks to stop") if over else Wait(what="the monitor window", until=until)
        case RolloutState.FAILED:
            found = Wait(what=rollout.sentence)
        case _:
            found = Wait(what=_awaited(rollout.sentence))
    return found


def _awaited(sentence: str) -> str:
    """Return what a rollout that has yet to begin waits for, from its sentence: "waits for db to be healthy"."""
    what = sentence.removeprefix("waits for ")
    return what if what != sentence or not sentence else f"a change: {sentence}"


def _judged(service: Service, stage: Stage) -> Wait:
    hold = steps_of(service.spec.release)[stage.step].hold_seconds
    return Wait(what="the judge", since=stage.since, until=stage.since + hold if stage.since else None)


def _next_task(service: Service, rule: Policy, wanted: list[Slot], now: float) -> Wait | None:
    """Return which new task the rollout waits for: one that starts, else one that settles, else one that is held."""
    new = [(slot, slot.current) for slot in wanted if slot.current is not None]
    at_of = [(slot, task, settled_at(task, rule)) for slot, task in new]
    unready = [(slot, task) for slot, task, at in at_of if at is None]
    held = [pair for pair in unready if pair[1].desired_state is TaskState.READY]
    starting = [pair for pair in unready if pair[1].desired_state is not TaskState.READY]
    settling = [(slot, at) for slot, _, at in at_of if at is not None and at > now]
    leaving = [(slot, task) for slot in wanted for task in slot.stopping]
    if starting:
        return _to_become_ready(service, rule, *min(starting, key=_age))
    if settling:
        slot, at = max(settling, key=lambda pair: (pair[1], pair[0].key))
        ready = (ready_since(slot.current) if slot.current else None) or now
        return Wait(what=f"{place_name(service, slot.key)} to settle", since=ready, until=at)
    if leaving:
        slot, task = leaving[0]
        return Wait(what=f"the old {place_name(service, slot.key)} to stop", since=task.status.since)
    if held:
        slot, task = min(held, key=lambda pair: pair[0].key)
        return Wait(what=_held_back(place_name(service, slot.key), task.desired_reason), since=task.created_at)
    return None


def _age(pair: tuple[Slot, Task]) -> tuple[float, Key]:
    return pair[1].created_at, pair[0].key


def _monitored_until(rule: Policy, wanted: list[Slot]) -> float | None:
    """Return when the last new task will have been ready for the monitor window; None if one is not ready."""
    since = [ready_since(slot.current) for slot in wanted if slot.current is not None]
    known = [at for at in since if at is not None]
    return max(known) + rule.monitor_seconds if known and len(known) == len(since) else None


def _to_become_ready(service: Service, rule: Policy, slot: Slot, task: Task) -> Wait:
    name = place_name(service, slot.key)
    started = task.status.started_at
    again = f" ({count(task.failures, 'failure')} before)" if task.failures else ""
    return Wait(
        what=f"{name} to become ready{again}",
        since=task.created_at,
        until=started + rule.deadline_seconds if started is not None else None,
    )


def _held_back(name: str, reason: str) -> str:
    """Return what a prepared task waits for, from the reason it was given: "db to be healthy, for web.4"."""
    what = reason.removeprefix("waits for ")
    return f"{what}, for {name}" if what != reason else f"{name}, which {reason}"


def _image_text(image: ResolvedImage) -> str:
    """Return what an image reference resolved to: its digest, or the reference with the start of its content's id."""
    if image.digest:
        return image.digest
    return f"{image.ref} ({image.id[:_ID_CHARACTERS]})" if image.id else image.ref
