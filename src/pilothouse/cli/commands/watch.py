"""`pilothouse watch`: how the newest release gets on, until it is over."""

from pilothouse.cli import follow, options
from pilothouse.cli.command import command


@command(
    "watch",
    examples=[("pilothouse watch shop", "what is new, what is old, and what the rollout waits for, until it is over")],
    exits=follow.EXITS,
)
@follow.timeout_option
@options.as_json
@options.app_argument
def watch(*, timeout: str, as_json: bool, app: str) -> int:
    """Show how the newest release of an app gets on, whoever made it, until it is over.

    It ends as the `pilothouse up` that made the release does. Interrupting it changes nothing.
    """
    seconds = follow.timeout_seconds(timeout)
    client = options.client()
    name = options.app_name(app)
    return follow.until_stable(client, name, client.app(name).revision, seconds, as_json=as_json)
