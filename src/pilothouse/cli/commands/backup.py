"""`pilothouse backup`: a copy of the platform's own state."""

import os
import pathlib

import click

from pilothouse.cli import options, output
from pilothouse.cli.command import command
from pilothouse.errors import InvalidRequestError


@command(
    "backup",
    examples=[("pilothouse backup /backup/pilothouse.backup", "copy the state while the server runs")],
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.argument("file", type=click.Path(dir_okay=False))
def backup(*, force: bool, file: str) -> None:
    """Write a consistent copy of the platform's own state to FILE, while the server runs.

    It holds apps, tasks, grants, audit records and sealed secrets, not the volumes of apps. FILE appears only when it
    is complete, readable for its owner only. `pilothouse restore` puts it back.
    """
    target = pathlib.Path(file)
    if target.exists() and not force:
        raise InvalidRequestError(f"{file} exists: choose another name, or replace it with --force")
    if not target.absolute().parent.is_dir():
        raise InvalidRequestError(f"{target.absolute().parent} is no directory: make it, or choose another place")
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    size = 0
    try:
        with options.client().backup() as stream, open(part, "xb", opener=_private) as out:
            while block := stream.read(1 << 20):
                size += out.write(block)
            out.flush()
            os.fsync(out.fileno())
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    output.line(f"{file}: {size} bytes")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
