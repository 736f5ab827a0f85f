"""`pilothouse inspect`: the stored object, whole."""

import re

import click

from pilothouse.cli import options, output
from pilothouse.cli.client import Client
from pilothouse.cli.command import command
from pilothouse.errors import NotFoundError

KINDS = ("app", "service", "task", "node", "network", "volume", "secret", "config", "grant")
_TASK_ID = re.compile(r"[a-z][a-z0-9]{11}\Z")
_SLOT = re.compile(r"(?P<service>.+)\.(?P<slot>\d+)\Z")


@command(
    "inspect",
    examples=[
        ("pilothouse inspect shop/web", "the service as it is stored"),
        ("pilothouse inspect shop/web.1", "its task in slot 1"),
        ("pilothouse inspect volume/shop/data", "any object by its kind and id"),
    ],
)
@click.argument("object")
def inspect(*, object: str) -> None:
    """Show an object as JSON, as the store has it.

    OBJECT is an app, APP/SERVICE, APP/SERVICE.SLOT, the id of a task, or KIND/ID with KIND one of app, service, task,
    node, network, volume, secret, config, grant. Values of environment variables and contents of secrets are hidden.
    """
    client = options.client()
    output.json(client.inspect(*place(client, object)))


def place(client: Client, name: str) -> tuple[str, str]:
    """Return the kind and id of what a person calls *name*."""
    kind, _, rest = name.partition("/")
    if kind in KINDS and rest:
        return kind, rest
    if not rest:
        return ("task", name) if _TASK_ID.match(name) and not _is_app(client, name) else ("app", name)
    slot = _SLOT.match(rest)
    if slot is None:
        return "service", name
    newest = _newest(client, kind, slot["service"], int(slot["slot"]))
    return ("task", newest) if newest else ("service", name)


def _is_app(client: Client, name: str) -> bool:
    try:
        client.app(name)
    except NotFoundError:
        return False
    return True


def _newest(client: Client, app: str, service: str, slot: int) -> str:
    tasks = [task for task in client.tasks(app, service, dead=True) if task.slot == slot]
    tasks.sort(key=lambda task: (task.state.terminal, -task.created_at))
    return tasks[0].id if tasks else ""
