"""What happened to releases, from what a commit changed: pure, a part of `history`."""

from collections.abc import Iterator

from pilothouse.model.base import Object
from pilothouse.model.objects import App, Service
from pilothouse.model.release import Release, ReleaseState
from pilothouse.model.rollout import RolloutState, Stage

EVENTS: dict[str, str] = {
    "release.created": "Something that changes an app was asked for; the sentence says what and by whom.",
    "release.stable": "Every service is as the release says, and stayed so.",
    "release.failed": "A release failed and nothing is restored; what runs is left as it is.",
    "release.rolling_back": "A release failed; the one before is being restored.",
    "release.rolled_back": "A release failed, and another one that restores what was before was made.",
    "release.superseded": "A newer release came before it was stable.",
    "release.resumed": "A release that was paused or had failed goes on, because a person asked for it.",
    "release.paused": "A person paused the rollout of an app.",
    "release.step": "A canary or blue/green release began a step; the sentence says which, and its share of traffic.",
    "release.judged": "The judge said what becomes of a step, with the numbers it goes by.",
    "release.promoted": "A canary or blue/green release was found good: its new tasks take over.",
    "release.forgotten": "A release is too old to be kept; it cannot be gone back to any more.",
    "rollout.waiting": "The rollout of a service has yet to begin; the sentence says what it waits for.",
    "rollout.rolling": "Tasks of a service are being replaced, or the first ones made.",
    "rollout.held": "A service has its canary or green tasks, which are being judged.",
    "rollout.monitoring": "Every task of a service is new; they are watched for the monitor window.",
    "rollout.paused": "The rollout of a service stands still, because a person paused it.",
    "rollout.failed": "The rollout of a service failed; the sentence says why.",
    "rollout.done": "A service is as the release says.",
}
"""Every name of such an event, with what it means."""

_ENDS = {
    ReleaseState.STABLE: "release.stable",
    ReleaseState.FAILED: "release.failed",
    ReleaseState.ROLLING_BACK: "release.rolling_back",
    ReleaseState.ROLLED_BACK: "release.rolled_back",
    ReleaseState.SUPERSEDED: "release.superseded",
    ReleaseState.ROLLING: "release.resumed",
}
_PLAIN = {
    RolloutState.WAITING: "has yet to begin",
    RolloutState.ROLLING: "its tasks are being replaced",
    RolloutState.HELD: "its new tasks are being judged",
    RolloutState.MONITORING: "every task is new; they are watched for the monitor window",
    RolloutState.PAUSED: "stands still",
    RolloutState.FAILED: "it failed",
    RolloutState.DONE: "it is as the release says",
}


def tell_release(before: Object | None, after: Object | None) -> Iterator[tuple[str, str]]:
    """Yield what happened to a release."""
    if not isinstance(after, Release):
        number = before.number if isinstance(before, Release) else 0
        yield "release.forgotten", f"release {number} is too old to be kept"
        return
    name = f"release {after.number}"
    if not isinstance(before, Release):
        yield "release.created", f"{name}: {_asked(after)}"
        return
    if before.state is not after.state:
        yield _ENDS[after.state], f"{name}: {after.sentence}" if after.sentence else name
    for service, stage in sorted(after.stages.items()):
        yield from _stage(f"{name}: {service}", before.stages.get(service), stage)
    for verdict in after.verdicts:
        if verdict not in before.verdicts:
            said = f"step {verdict.step + 1}: {verdict.outcome}: {verdict.sentence}"
            yield "release.judged", f"{name}: {verdict.service} {said}"


def tell_pause(before: App, after: App) -> Iterator[tuple[str, str]]:
    """Yield whether a person paused the rollout of an app or had it go on; a new deployment ends a pause unsaid."""
    name = f"release {after.revision}"
    if after.paused and not before.paused:
        yield "release.paused", f"{name}: {after.paused_by or 'somebody unknown'} paused it"
    elif before.paused and not after.paused and before.revision == after.revision:
        yield "release.resumed", f"{name}: goes on, as a person asked"


def tell_rollout(before: Service, after: Service) -> Iterator[tuple[str, str]]:
    """Yield a turn in the rollout of a service."""
    old, new = before.rollout, after.rollout
    # A service that a release does not touch has nothing to tell.
    untouched = new.state in {RolloutState.DONE, RolloutState.WAITING} and old.state is RolloutState.DONE
    if (old.release, old.state) == (new.release, new.state) or (untouched and not new.sentence):
        return
    yield f"rollout.{new.state.value}", f"release {new.release}: {new.sentence or _PLAIN[new.state]}"


def _asked(release: Release) -> str:
    what = release.kind.value
    if release.copies:
        what += f" to release {release.copies}"
    if release.undoes and not release.message:
        what += f", because release {release.undoes} failed"
    said = f": {release.message}" if release.message else ""
    return f"{what}, by {release.created_by or 'somebody unknown'}{said}"


def _stage(name: str, before: Stage | None, after: Stage) -> Iterator[tuple[str, str]]:
    if after.promoted:
        if before is None or not before.promoted:
            yield "release.promoted", f"{name}: its new tasks take over"
    elif before is None or (before.step, before.weight) != (after.step, after.weight):
        yield "release.step", f"{name} step {after.step + 1}: {after.weight} % of the traffic goes to its new tasks"
