"""`pilothouse rollback`: make an earlier release what runs."""

import click

from pilothouse.cli import follow, options, outcome, output
from pilothouse.cli.client import Client
from pilothouse.cli.command import command
from pilothouse.cli.commands.releases import newest
from pilothouse.cli.progress import Progress
from pilothouse.errors import NotFoundError
from pilothouse.ids import SystemIds
from pilothouse.model.release import ReleaseState
from pilothouse.model.release_api import ReleaseDiff, ReleaseView, RollbackRequest


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
    difference = client.release_diff(app, release, present.number) if release is not None else target_of(client, found)
    target = difference.after
    progress = Progress(quiet=as_json)
    for change in difference.changes:
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


def target_of(client: Client, found: list[ReleaseView]) -> ReleaseDiff:
    """Return what going back changes when nobody says where to: to the newest stable release with another content.

    Args:
        client: The server.
        found: The kept releases, newest first; not empty.

    Raises:
        NotFoundError: None was stable before the present one.
    """
    present = found[0]
    for each in found[1:]:
        if each.state is ReleaseState.STABLE:
            difference = client.release_diff(present.app, each.number, present.number)
            if difference.changes:
                return difference
    raise NotFoundError(
        f"no release of {present.app} before release {present.number} was stable and differs from it: `pilothouse "
        f"releases ls {present.app}` shows those that are kept; name one to go back to it all the same"
    )
