"""Options that several commands share, and what they stand for."""

import functools
import os
from collections.abc import Callable
from typing import TypeVar

import click
import msgspec

from pilothouse.cli.client import Client
from pilothouse.cli.places import manifest_above, places
from pilothouse.cli.transport import Transport
from pilothouse.errors import InvalidRequestError
from pilothouse.model.base import Value

F = TypeVar("F", bound=Callable[..., object])
R = TypeVar("R")
Decorator = Callable[[F], F]


class Chosen(Value, frozen=True, kw_only=True):
    """What a user said on the command line about which project; "" and () are "not said"."""

    files: tuple[str, ...] = ()
    name: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    directory: str = ""
    readable: tuple[str, ...] = ()


def as_json(function: F) -> F:
    """Add --json."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, and errors as RFC 9457 problems.")(
        function
    )


def directories(function: F) -> F:
    """Add --data and --run."""
    run = click.option(
        "--run", metavar="DIRECTORY", help="Sockets, pid file, log. Default: $PILOTHOUSE_RUN or /run/pilothouse."
    )
    data = click.option(
        "--data", metavar="DIRECTORY", help="The platform's state. Default: $PILOTHOUSE_DATA or /var/lib/pilothouse."
    )
    return data(run(function))


def app_argument(function: F) -> F:
    """Add an optional APP; `app_name` says which one it is."""
    return click.argument("app", required=False, default="")(function)


def manifest(function: Callable[..., R]) -> Callable[..., R]:
    """Add the options that say which Compose files to load; the command gets them as one `chosen`."""
    options = (
        click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            metavar="FILE",
            help="A Compose file; several are merged in order. Default: the one in this directory or above it.",
        ),
        click.option(
            "-p", "--project-name", "name", default="", metavar="NAME", help="The app's name, over `name:` in the file."
        ),
        click.option("--profile", "profiles", multiple=True, metavar="NAME", help="Enable a profile; repeatable."),
        click.option(
            "--env-file",
            "env_files",
            multiple=True,
            metavar="FILE",
            help="Variables for interpolation, instead of .env; repeatable.",
        ),
        click.option(
            "--project-directory",
            "directory",
            default="",
            metavar="DIRECTORY",
            help="Where relative paths start. Default: the directory of the first file.",
        ),
        click.option(
            "--allow-path",
            "readable",
            multiple=True,
            metavar="DIRECTORY",
            help="A directory outside of the project that its files may name; repeatable.",
        ),
    )

    @functools.wraps(function)
    def gathered(**given: object) -> R:
        said = {field: given.pop(field) for field in Chosen.__struct_fields__}
        return function(chosen=msgspec.convert(said, Chosen), **given)

    whole: Callable[..., R] = gathered
    for option in reversed(options):
        whole = option(whole)
    return whole


def transport() -> Transport:
    """Return the way to the server that --socket or the environment names."""
    root = click.get_current_context().find_root()
    return Transport(places(os.environ, socket=root.params.get("socket")).socket)


def client() -> Client:
    """Return a client of the server that --socket or the environment names."""
    return Client(transport())


def app_name(given: str) -> str:
    """Return *given*, else the name of the project in the current directory.

    Raises:
        InvalidRequestError: Nothing was given and there is no project here.
    """
    if given:
        return given
    found = project_here()
    if not found:
        raise InvalidRequestError(
            f"no APP was given and there is no Compose file in {os.getcwd()} or above it: name the app, or go to its "
            "directory; `pilothouse ps` lists the apps"
        )
    return found


def project_here() -> str:
    """Return the name of the project in the current directory, or "" if there is no Compose file."""
    if named := os.environ.get("COMPOSE_PROJECT_NAME"):
        return named
    if not os.environ.get("COMPOSE_FILE") and not manifest_above(os.getcwd()):
        return ""
    from pilothouse.cli import project  # noqa: PLC0415 - reading YAML is for those who left the name out

    return project.name_here()
