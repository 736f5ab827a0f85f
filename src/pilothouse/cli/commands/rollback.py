"""`pilothouse rollback`: make an earlier release what runs."""

import click

from pilothouse.cli import follow, options, outcome, output
from pilothouse.cli.command import command
from pilothouse.cli.commands.releases import newest
from pilothouse.cli.progress import Progress
from pilothouse.errors import NotFoundError
from pilothouse.ids import SystemIds
from pilothouse.model.release import ReleaseState
from pilothouse.model.release_api import ReleaseView, RollbackRequest


@command(
    "rollback",
    examples=[
        ("pilothouse rollback shop", "back to the newest release before the present one that was stable"),
        ('pilothouse rollback shop 4 -m "prices were wrong"', "back to release 4, and why"),
    ],
    exits=follow.EXITS,
)
@click.option("-m", "--message", default="", metavar="TEXT", help="Why; kept with the release.")
@click.option("-d", "--detach", is_flag=True, help="Do not wait until it runs.")
@follow.timeout_option
@options.as_json
@click.argument("app")
@click.argument("release", type=click.IntRange(min=1), required=False, metavar="[RELEASE]")
def rollback(*, message: str, detach: bool, timeout: str, as_json: bool, app: str, release: int | None) -> int:
    """Make an earlier release of APP what runs, as a new release that repeats it, and wait until it does.

    Images, contents of secrets and configs, and everything else are as they were then; volumes are left as they are.
    What will change is shown first. The new release is rolled out as `deploy.rollback_config` says.
    """
    seconds = follow.timeout_seconds(timeout)
    client = options.client()
    found = client.releases(app)
    present = newest(found, app)
    target = release if release is not None else target_of(found)
    progress = Progress(quiet=as_json)
    for change in client.release_diff(app, target, present.number).changes:
        progress.say(outcome.change_line(change))
    request = RollbackRequest(release=target, expect=present.number, message=message)
    made = client.rollback(app, request, key=SystemIds().new())
    if made.revision == present.number:
        progress.say(f"{app} is as in release {target} already; nothing was changed")
    else:
        progress.say(f"{app} release {made.revision}: repeats release {target}")
    if detach:
        if as_json:
            output.json(made)
        return 0
    return follow.until_stable(client, app, made.revision, seconds, as_json=as_json, progress=progress)


def target_of(found: list[ReleaseView]) -> int:
    """Return the release to go back to when nobody says which: the newest stable one with another content.

    Args:
        found: The kept releases, newest first; not empty.

    Raises:
        NotFoundError: None was stable before the present one.
    """
    present = found[0]
    for each in found[1:]:
        same = each.number == present.copies or (each.copies and each.copies == present.copies)
        if each.state is ReleaseState.STABLE and not same:
            return each.number
    raise NotFoundError(
        f"no release of {present.app} before release {present.number} was stable: `pilothouse releases ls "
        f"{present.app}` shows those that are kept; name one to go back to it all the same"
    )
