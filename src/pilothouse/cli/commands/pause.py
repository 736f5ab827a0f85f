"""`pilothouse pause` and `pilothouse resume`: hold a rollout, and have it go on."""

from pilothouse.cli import options, output
from pilothouse.cli.command import command
from pilothouse.model.api import AppView
from pilothouse.model.counts import count


@command(
    "pause",
    examples=[("pilothouse pause shop", "no further task is replaced until `pilothouse resume shop`")],
)
@options.as_json
@options.app_argument
def pause(*, as_json: bool, app: str) -> None:
    """Hold the rollout of an app where it is: no further task is replaced or stopped for it.

    New and old tasks that run keep running, and what dies is made anew. A new deployment ends the pause.
    """
    view = options.client().pause(options.app_name(app))
    if as_json:
        output.json(view)
        return
    release = view.release
    going = release is not None and not release.state.over
    if release is None or not going:
        output.line(f"{view.name} is paused; no rollout is going on")
        return
    new, old = sum(each.updated for each in release.services), sum(each.old for each in release.services)
    output.line(
        f"{view.name} release {release.number} is paused with {count(new, 'new task')} and {count(old, 'old task')}; "
        f"`pilothouse resume {view.name}` has it go on"
    )


@command(
    "resume",
    examples=[("pilothouse resume shop && pilothouse watch shop", "have a rollout go on, and see how it ends")],
)
@options.as_json
@options.app_argument
def resume(*, as_json: bool, app: str) -> None:
    """Have a rollout go on that was paused, or that failed and left the old tasks running.

    What failed before does not count any more.
    """
    view = options.client().resume(options.app_name(app))
    if as_json:
        output.json(view)
    else:
        output.line(resumed(view))


def resumed(view: AppView) -> str:
    """Return what goes on after a `resume`."""
    if view.release is None or view.converged:
        return f"{view.name} is not paused; no rollout is going on"
    return f"{view.name} release {view.release.number} goes on; `pilothouse watch {view.name}` shows how it gets on"
