"""`pilothouse restore`: put a copy of the platform's own state back, with no server running."""

import importlib
import os

import click

from pilothouse.cli import options
from pilothouse.cli.command import command
from pilothouse.cli.places import places

_OFFLINE = "pilothouse.cli.offline"


@command(
    "restore",
    examples=[
        ("pilothouse restore /backup/pilothouse.backup", "into an empty data directory"),
        ("pilothouse restore --force /backup/pilothouse.backup", "in place of what is there, which is kept beside it"),
        ("pilothouse restore --force --to etcd /backup/pilothouse.backup", "when most managers are lost for good"),
    ],
)
@click.option("--force", is_flag=True, help="Replace the state that is there; it is kept as store.db.replaced.")
@click.option(
    "--to",
    type=click.Choice(["sqlite", "etcd"]),
    default="sqlite",
    show_default=True,
    help="Into a file, or into a new member of etcd that is the only one of its cluster.",
)
@options.directories
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True))
def restore(*, force: bool, to: str, data: str | None, run: str | None, file: str) -> None:
    """Make the data directory hold what `pilothouse backup` wrote to FILE; stop the server first.

    An interrupted restore leaves either the old state or the new one. Once the server starts it makes what runs agree
    with the restored state: tasks that are not in it are stopped, missing ones are started.
    """
    # By name: commands know the HTTP client and nothing else; the store is known there alone.
    importlib.import_module(_OFFLINE).restore(file, places(os.environ, data=data, run=run), force=force, to=to)
