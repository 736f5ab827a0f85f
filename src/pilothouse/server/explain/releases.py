"""Why a release is as it is, and what an explanation of its app or service says of it."""

from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.model.api import Explanation
from pilothouse.model.objects import App, FieldChange, Service
from pilothouse.model.release import Release, ReleaseKind, ReleaseState
from pilothouse.model.rollout import RolloutState
from pilothouse.server.explain.words import ago, sentence
from pilothouse.server.rollouts import rollout_view

_STATES = {
    ReleaseState.ROLLING: "is being rolled out",
    ReleaseState.STABLE: "is stable",
    ReleaseState.FAILED: "has failed",
    ReleaseState.ROLLING_BACK: "has failed, and what was before is being restored",
    ReleaseState.ROLLED_BACK: "failed, and what was before was restored",
    ReleaseState.SUPERSEDED: "was superseded",
}


def explain_release(scenes: Scenes, release: Release, now: float) -> Explanation:
    """Return why *release* is as it is."""
    app = scenes.app(release.app)
    evidence = release.evidence
    return Explanation(
        object=f"release/{release.app}/{release.number}",
        sentence=sentence(_state(release, app), release.sentence, _made(release, now), _what_next(release, app)),
        causes=(*_judged(release), *_services(scenes, release, app, now)),
        facts=facts(release),
        log_tail=evidence.log_tail if evidence else (),
        changes=changed(release),
    )


def release_cause(scenes: Scenes, app: App, now: float) -> tuple[str, ...]:
    """Return what the newest release of *app* is, how it stands and what was judged of it; () if it has none."""
    release = scenes.release(app)
    if release is None:
        return ()
    said = sentence(_state(release, app), release.sentence, _made(release, now))
    return (said, *_judged(release))


def rollout_cause(scenes: Scenes, service: Service, now: float) -> tuple[str, ...]:
    """Return how far *service* is in a release that is not over; () if there is nothing to say of it."""
    app = scenes.app(service.app)
    release = scenes.release(app) if app is not None else None
    if release is None or release.state.over or service.removing:
        return ()
    view = rollout_view(scenes, service, release, [], now)
    if view.state is RolloutState.DONE:
        return ()
    counts = f"{view.updated} of {view.wanted} new, {view.starting} starting, {view.old} old"
    step = f"step {view.step} of {view.steps} with {view.weight} % of the traffic" if view.step else ""
    waits = f"waits for {view.waits_for}" if view.waits_for and view.state is not RolloutState.FAILED else ""
    why = view.waits_for if view.state is RolloutState.FAILED else ""
    return (sentence(f"Rollout of {service.name}: {view.state.value}: {counts}", step, waits, why),)


def facts(release: Release) -> tuple[tuple[str, str], ...]:
    """Return the details of *release* worth seeing."""
    every = (
        ("release", f"{release.number} ({_kind(release)})"),
        ("release state", release.state.value),
        ("falls back to", f"release {release.base}" if release.base else "nothing"),
        ("message", release.message),
    )
    return tuple((name, value) for name, value in every if value)


def changed(release: Release, service: str = "") -> tuple[str, ...]:
    """Return what *release* changed; with *service*, only what it changed there."""
    start = f"services.{service}."
    return tuple(_change(each) for each in release.changes if not service or each.path.startswith(start))


def _state(release: Release, app: App | None) -> str:
    paused = app is not None and app.paused and release.number == app.revision and not release.state.over
    state = f"is paused by {app.paused_by or 'somebody unknown'}" if paused and app else _STATES[release.state]
    return f"Release {release.number} of {release.app} {state}"


def _made(release: Release, now: float) -> str:
    said = f": {release.message}" if release.message else ""
    return f"{release.created_by or 'somebody unknown'} made it {ago(release.created_at, now)} ({_kind(release)}){said}"


def _kind(release: Release) -> str:
    if release.kind is ReleaseKind.ROLLBACK:
        # The platform's own message names the release that failed, and why.
        undoes = f", because release {release.undoes} failed" if release.undoes and not release.message else ""
        return f"rollback to release {release.copies}{undoes}"
    return "restart" if release.kind is ReleaseKind.RESTART else "deploy"


def _what_next(release: Release, app: App | None) -> str:
    if app is None or release.number != app.revision:
        return f"`pilothouse rollback {release.app} {release.number}` makes it what runs again"
    if app.paused and not release.state.over:
        return f"`pilothouse resume {release.app}` has it go on"
    if release.state is ReleaseState.FAILED:
        return f"correct the cause and deploy again, or `pilothouse resume {release.app}` has it go on"
    if release.state is ReleaseState.STABLE:
        return "it is what the next release falls back to"
    return ""


def _judged(release: Release) -> tuple[str, ...]:
    return tuple(
        sentence(f"The judge of {each.service}, step {each.step + 1}: {each.outcome}: {each.sentence}")
        for each in release.verdicts
    )


def _services(scenes: Scenes, release: Release, app: App | None, now: float) -> tuple[str, ...]:
    if app is None or release.number != app.revision:
        return ()
    return tuple(said for service in scenes.services(app.id) for said in rollout_cause(scenes, service, now))


def _change(change: FieldChange) -> str:
    return f"{change.path}: {change.before or 'nothing'} → {change.after or 'nothing'}"
