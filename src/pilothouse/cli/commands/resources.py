"""`pilothouse volume|network|secret|config-file ls`: what there is beside apps and tasks."""

from collections.abc import Callable

import click

from pilothouse.cli import options, output
from pilothouse.cli.command import command

Row = Callable[[dict[str, object]], tuple[str, ...]]


@click.group()
def volume() -> None:
    """Look at the named volumes of apps."""


@click.group()
def network() -> None:
    """Look at the networks of apps."""


@click.group()
def secret() -> None:
    """Look at which secrets apps have; contents are never shown."""


@click.group("config-file")
def config_file() -> None:
    """Look at which config files apps have (for the loaded Compose model see `pilothouse config`)."""


def _lister(group: click.Group, noun: str, word: str, heads: tuple[str, ...], row: Row) -> None:
    """Hang `ls [APP]` on *group*."""
    name = str(group.name)

    def ls(*, as_json: bool, app: str) -> None:
        found = options.client().plain(noun, app)
        if as_json:
            output.json(found)
        else:
            output.table(heads, [row(each) for each in found if isinstance(each, dict)])

    ls.__doc__ = f"List the {word}, of one app if APP is given."
    decorated = options.as_json(options.app_argument(ls))
    example = (f"pilothouse {name} ls shop", f"the {word} of one app")
    command("ls", group=group, examples=[example])(decorated)


def _text(of: dict[str, object], *path: str) -> str:
    found: object = of
    for part in path:
        found = found.get(part, "") if isinstance(found, dict) else ""
    return str(found)


def _volume(of: dict[str, object]) -> tuple[str, ...]:
    return _text(of, "id"), _text(of, "spec", "name"), _text(of, "spec", "driver") or "local", _going(of)


def _network(of: dict[str, object]) -> tuple[str, ...]:
    return _text(of, "id"), _text(of, "spec", "name"), _text(of, "spec", "driver") or "bridge", _going(of)


def _file(of: dict[str, object]) -> tuple[str, ...]:
    return _text(of, "id"), _text(of, "content_version"), _going(of)


def _going(of: dict[str, object]) -> str:
    return "going" if of.get("removing") else "there"


_lister(volume, "volumes", "volumes", ("VOLUME", "ENGINE NAME", "DRIVER", "STATE"), _volume)
_lister(network, "networks", "networks", ("NETWORK", "ENGINE NAME", "DRIVER", "STATE"), _network)
_lister(secret, "secrets", "secrets", ("SECRET", "VERSION", "STATE"), _file)
_lister(config_file, "configs", "config files", ("CONFIG FILE", "VERSION", "STATE"), _file)
