"""Waiting for an app: until a release of it is stable, has failed or was undone, it is gone, or the time is up."""

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import click

from pilothouse.cli import output, times
from pilothouse.cli.client import Client, Gone
from pilothouse.cli.command import EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, EXIT_ROLLED_BACK
from pilothouse.cli.outcome import LOG_LINES, is_stable
from pilothouse.cli.progress import Progress
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import DeployFailedError, NotFoundError, ServerUnavailableError
from pilothouse.model.api import AppView, ServiceView
from pilothouse.model.counts import count
from pilothouse.model.release_api import ReleaseView

F = TypeVar("F", bound=Callable[..., object])

_SILENCE_SECONDS = 45.0
"""The server says every 15 seconds that it lives; after three missed ones the connection is given up."""
_RETURN_SECONDS = 30.0
"""How long a server that went away may take to come back."""
_BETWEEN_TRIES_SECONDS = 0.2
_LONGEST_HOLD_SECONDS = 6.0
"""Clocks may differ; nothing that nobody checks is waited for any longer."""


EXITS = {
    EXIT_DONE: "the release is stable",
    EXIT_ROLLED_BACK: "the release failed, and what was before runs again",
    EXIT_FAILED: "the release failed and was not rolled back, was superseded by a newer one, or is not over in time",
    EXIT_REFUSED: "refused; nothing was changed",
}
"""What commands that wait for a release end with."""


def timeout_option(function: F) -> F:
    """Add --timeout."""
    return click.option(
        "--timeout",
        default="10m",
        show_default=True,
        metavar="DURATION",
        help="How long to wait, such as 90s or 10m; what was asked goes on after it.",
    )(function)


def timeout_seconds(text: str) -> float:
    """Return the seconds of a --timeout."""
    return times.parse_duration(text)


def until_stable(
    client: Client, app: str, number: int, seconds: float, *, as_json: bool, progress: Progress | None = None
) -> int:
    """Show progress until release *number* of *app* is stable; say so and return 0.

    Raises:
        RolledBackError: It failed, and what was before was restored.
        SupersededError: A newer release came before it was stable.
        DeployFailedError: It failed otherwise, or the time was up. Each message has cause and last lines.
    """
    clock = SystemClock()
    begun = clock.monotonic()
    progress = progress or Progress(quiet=as_json)
    try:
        view = wait_stable(client, app, number, seconds, progress, clock)
    except KeyboardInterrupt:
        output.note(f"interrupted; release {number} of {app} goes on: `pilothouse watch {app}` shows how it gets on")
        raise
    finally:
        progress.rest()
    if as_json:
        output.json(view)
    else:
        output.line(done_sentence(view, clock.monotonic() - begun))
    return 0


def wait_stable(client: Client, app: str, number: int, seconds: float, progress: Progress, clock: Clock) -> AppView:
    """Show progress and return the view in which release *number* is stable; raises as `until_stable` does.

    A release that was stable before anybody looked changed nothing; then the app itself is waited for.
    """
    last: AppView | None = None
    was_stable = False
    end = clock.monotonic() + seconds
    for view in views(client, app, seconds, clock):
        if isinstance(view, Gone):
            raise DeployFailedError(
                f"{app} was taken down while it was waited for: `pilothouse events {app}` says by whom"
            )
        if view is None or view.revision < number:
            continue
        progress.show(view)
        followed = _followed(client, view, number)
        stable = view.release is not None and is_stable(view.release, followed)
        was_stable = was_stable or (last is None and stable)
        last = view
        first_ever = not followed.base and view.revision == number
        if view.failed and (first_ever or stable):
            raise DeployFailedError(_failure(client, view, "is not what the manifest says"))
        settled = not first_ever or (stable and _stays(client, view, end, clock))
        if stable and settled and (view.converged or not was_stable):
            return view
    if last is None:
        raise DeployFailedError(f"{app} was not seen in {seconds:g} s: `pilothouse ps {app}` shows how it is now")
    raise DeployFailedError(_failure(client, last, _late(last, seconds)))


def _followed(client: Client, view: AppView, number: int) -> ReleaseView:
    """Return release *number* as it is now."""
    if view.release is None:
        raise ServerUnavailableError(
            "the server knows no releases: is it of another version? `pilothouse version` says"
        )
    return view.release if view.release.number == number else client.release(view.name, number)


def _late(view: AppView, seconds: float) -> str:
    release = view.release
    how = f" (release {release.number} is {'paused' if release.paused else release.state.value})" if release else ""
    return f"is not what the manifest says after {seconds:g} s{how}; the platform goes on trying"


def _stays(client: Client, view: AppView, end: float, clock: Clock) -> bool:
    """Whether *view* stays converged until its tasks that nothing checks have run long enough to be believed."""
    settles = max((service.settles_at for service in view.services), default=0.0)
    hold = min(settles - clock.now(), _LONGEST_HOLD_SECONDS, end - clock.monotonic())
    if hold <= 0:
        return True
    return all(
        isinstance(now, AppView) and now.converged for now in views(client, view.name, hold, clock) if now is not None
    )


def wait_gone(client: Client, app: str, seconds: float, progress: Progress, clock: Clock) -> None:
    """Show progress until nothing is left of *app*.

    Raises:
        DeployFailedError: The time was up.
    """
    last: AppView | None = None
    try:
        for view in views(client, app, seconds, clock):
            if isinstance(view, Gone):
                return
            if view is not None:
                last = view
                progress.show(view)
    except NotFoundError:
        return
    left = ", ".join(service.name for service in last.services) if last else ""
    raise DeployFailedError(
        f"{app} is not gone after {seconds:g} s{f' (left: {left})' if left else ''}; the platform goes on: "
        f"`pilothouse ps -a {app}` shows what is left"
    )


def views(client: Client, app: str, seconds: float, clock: Clock) -> Iterator[AppView | Gone | None]:
    """Yield what a watch of *app* says for *seconds*; a server that goes away may come back meanwhile."""
    end = clock.monotonic() + seconds
    lost_at: float | None = None

    def left() -> float:
        return max(0.01, min(_SILENCE_SECONDS, end - clock.monotonic()))

    while clock.monotonic() < end:
        try:
            for view in client.watch_app(app, left):
                lost_at = None
                yield view
                if isinstance(view, Gone):
                    return
                if clock.monotonic() >= end:
                    return
        except ServerUnavailableError:
            if clock.monotonic() >= end:
                return
            lost_at = lost_at or clock.monotonic()
            if clock.monotonic() - lost_at > _RETURN_SECONDS:
                raise
        threading.Event().wait(_BETWEEN_TRIES_SECONDS)


def done_sentence(view: AppView, seconds: float) -> str:
    """Return the last line of a deployment that worked."""
    return (
        f"{view.name}: {count(len(view.services), 'service')} as the manifest says "
        f"(release {view.revision}, {seconds:.1f} s)"
    )


def _failure(client: Client, view: AppView, what: str) -> str:
    """Return what failed and why: a sentence for each service, and the last lines of the worst one."""
    wrong = [s for s in view.services if s.failed] or [s for s in view.services if not s.converged]
    said = [f"{view.name} {what}"]
    said += [f"{service.name}: {service.sentence or 'it is not settled'}" for service in wrong]
    if not wrong and view.sentence:
        said.append(view.sentence)
    tail = _log_tail(client, view.name, wrong)
    said += tail
    said.append(f"`pilothouse explain {view.name}{f'/{wrong[0].name}' if wrong else ''}` says more")
    return "\n".join(said)


def _log_tail(client: Client, app: str, wrong: list[ServiceView]) -> list[str]:
    for service in wrong:
        try:
            tail = client.explain(f"{app}/{service.name}").log_tail
        except (NotFoundError, ServerUnavailableError):
            continue
        if tail:
            return [f"the last lines of {service.name}:", *(f"  | {line}" for line in tail[-LOG_LINES:])]
    return []
