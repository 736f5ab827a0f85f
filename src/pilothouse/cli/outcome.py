"""How the release that is waited for ended, from what the server says of it: pure, so that every end can be shown.

A release that failed has ended only when the one that restores what was before has, one way or the other.
"""

from pilothouse.errors import DeployFailedError, RolledBackError, SupersededError
from pilothouse.model.counts import count
from pilothouse.model.objects import FieldChange
from pilothouse.model.release import ReleaseState
from pilothouse.model.release_api import ReleaseView
from pilothouse.model.rollout import Evidence

LOG_LINES = 10
_CHANGES = 10


def is_stable(newest: ReleaseView, followed: ReleaseView) -> bool:
    """Return whether *followed* did what was asked, or False while that is still open.

    Args:
        newest: The app's newest release.
        followed: The one that is waited for, as it is now.

    Raises:
        RolledBackError: It failed, and a later release has restored what was before.
        SupersededError: A newer release came before it was stable.
        DeployFailedError: It failed, and nothing was restored.
    """
    if followed.state is ReleaseState.STABLE:
        return True
    if followed.state is ReleaseState.FAILED:
        raise DeployFailedError(failed(followed))
    if newest.number == followed.number:
        if followed.state is ReleaseState.SUPERSEDED:
            raise SupersededError(superseded(followed, None))
        return False
    if newest.undoes != followed.number:
        raise SupersededError(superseded(followed, newest))
    if newest.state is ReleaseState.STABLE:
        raise RolledBackError(rolled_back(followed, newest))
    if newest.state is ReleaseState.FAILED:
        raise DeployFailedError(not_restored(followed, newest))
    return False


def rolled_back(release: ReleaseView, undo: ReleaseView) -> str:
    """Return what became of *release*, which *undo* has undone: cause, last lines, what it had changed."""
    head = f"{_name(release)} failed and was rolled back: {_runs(undo)}"
    return "\n".join((head, *_why(release), *_changed(release), _more(release)))


def not_restored(release: ReleaseView, undo: ReleaseView) -> str:
    """Return that *release* failed, and *undo*, which was to restore what was before, failed as well."""
    head = (
        f"{_name(release)} failed, and so did release {undo.number}, which was to restore release {undo.copies}: "
        f"what runs is a mixture; `pilothouse ps {release.app}` shows it"
    )
    second = [f"then {line}" if n == 0 else line for n, line in enumerate(_why(undo))]
    return "\n".join((head, *_why(release), *second, *_changed(release), _more(undo)))


def failed(release: ReleaseView) -> str:
    """Return why *release* failed, what is left running, and how to go on."""
    again = "correct the cause and run `pilothouse up` again"
    if release.base:
        head = f"{_name(release)} failed; tasks of the release before it are left running"
        advice = f"{again}, or go on as it is with `pilothouse resume {release.app}`"
    else:
        head, advice = f"{_name(release)} failed", f"the platform goes on trying; {again}"
    return "\n".join((head, *_why(release), *_changed(release), advice, _more(release)))


def superseded(release: ReleaseView, by: ReleaseView | None) -> str:
    """Return which release took the place of *release*, and whose it is."""
    head = f"{_name(release)} was superseded before it was stable"
    if by is None:
        return f"{head}; {_more(release)}"
    who = f" by {by.created_by}" if by.created_by else ""
    said = f" ({by.message})" if by.message else ""
    return f"{head}: release {by.number} was made{who}{said}; `pilothouse watch {by.app}` shows how that one gets on"


def sentence(release: ReleaseView) -> str:
    """Return where *release* stands as one line."""
    state = "paused" if release.paused else release.state.value.replace("-", " ")
    return f"{_name(release)} {'is ' * release.paused}{state}{f': {release.sentence}' * bool(release.sentence)}"


def change_line(change: FieldChange) -> str:
    """Return one field before and after as people read it."""
    return f"{change.path}: {change.before or 'nothing'} → {change.after or 'nothing'}"


def evidence_lines(evidence: Evidence) -> list[str]:
    """Return what shows that a release failed: the task, the cause, and its last lines."""
    who = evidence.task or evidence.service
    lines = [evidence.cause if who in evidence.cause else ": ".join(filter(None, (who, evidence.cause)))]
    tail = evidence.log_tail[-LOG_LINES:]
    return lines + ([f"the last lines of {who}:", *(f"  | {line}" for line in tail)] if tail else [])


def _name(release: ReleaseView) -> str:
    return f"{release.app} release {release.number}"


def _runs(undo: ReleaseView) -> str:
    return f"release {undo.number} runs, which repeats release {undo.copies}"


def _why(release: ReleaseView) -> list[str]:
    if release.evidence is None:
        return [release.sentence] if release.sentence else []
    lines = evidence_lines(release.evidence)
    judged = [verdict.sentence for verdict in release.verdicts if verdict.outcome == "roll-back"]
    return [*lines, *(f"the judge: {text}" for text in judged if text not in lines[0])]


def _changed(release: ReleaseView) -> list[str]:
    if not release.changes:
        return []
    shown = [f"  {change_line(change)}" for change in release.changes[:_CHANGES]]
    rest = len(release.changes) - len(shown)
    more = [f"  and {count(rest, 'field')} more"] if rest else []
    return [f"what release {release.number} had changed:", *shown, *more]


def _more(release: ReleaseView) -> str:
    return f"`pilothouse releases show {release.app} {release.number}` says more"
