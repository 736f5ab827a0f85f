"""Which files, directory, name, profiles and variables a load starts from, when the caller did not say."""

import os
import re
from collections.abc import Mapping

from pilothouse.compose import files, include, layers
from pilothouse.compose.problems import Mark, broken

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
STANDARD_INPUT = "-"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_TRUE, _FALSE = (
    frozenset({"1", "t", "T", "TRUE", "true", "True"}),
    frozenset({"0", "f", "F", "FALSE", "false", "False"}),
)


def directory_of(chosen: list[str], project_directory: str, current: str) -> str:
    """Return the directory that relative paths are relative to."""
    if project_directory:
        return files.absolute(project_directory, current)
    first = next((file for file in chosen if file != STANDARD_INPUT), "")
    return files.absolute(first, current).rsplit("/", 1)[0] or "/" if first else current


def files_of(environment: Mapping[str, str], start: str, current: str, session: layers.Session) -> list[str]:
    """Return the files of COMPOSE_FILE, or those with a default name in start or the nearest directory above it.

    Raises:
        InvalidManifestError: If there is none.
    """
    if "COMPOSE_FILE" in environment:
        separator = environment.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        return [
            name if name == STANDARD_INPUT else files.absolute(name, current)
            for name in environment["COMPOSE_FILE"].split(separator)
        ]
    directory = start
    while True:
        found = [f"{directory.rstrip('/')}/{name}" for name in NAMES if _exists(directory, name)]
        if found:
            overrides = [f"{directory.rstrip('/')}/{name}" for name in OVERRIDES if _exists(directory, name)]
            for several, what in ((found, "config"), (overrides, "override")):
                if len(several) > 1:
                    session.warn(f"Found multiple {what} files with supported names: {', '.join(several)}")
                    session.warn(f"Using {several[0]}")
            return [found[0], *overrides[:1]]
        above = directory.rsplit("/", 1)[0] or "/"
        if above == directory:
            wanted = ", ".join(NAMES)
            raise broken(Mark(start, 0, 0), (), f"no Compose file here or above ({wanted}); name one with -f FILE")
        directory = above


def variables(
    session: layers.Session, given: Mapping[str, str], env_files: list[str], directory: str, current: str
) -> dict[str, str]:
    """Return the caller's variables, and below them those of its environment files or the directory's `.env`."""
    chosen = [files.absolute(file, current) for file in env_files]
    if not chosen:
        off = given.get("COMPOSE_DISABLE_ENV_FILE")
        if off is not None and off not in _TRUE | _FALSE:
            raise broken(Mark("COMPOSE_DISABLE_ENV_FILE", 0, 0), (), f"{off!r} is not a boolean; write true or false")
        default = f"{directory.rstrip('/')}/.env"
        if off not in _TRUE and files.is_file(default):
            chosen = [default]
    known = dict(given)
    mark = Mark(chosen[0] if chosen else directory, 0, 0)
    return {**include.read_environment(session, chosen, known, given=True, mark=mark, path=()), **known}


def profiles_of(given: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the active profiles: those given, else those of COMPOSE_PROFILES."""
    return given or tuple(name.strip() for name in environment.get("COMPOSE_PROFILES", "").split(","))


def checked_name(name: str) -> str:
    """Return a project name that was given as such.

    Raises:
        InvalidManifestError: If it is none.
    """
    if not _NAME.fullmatch(name):
        form = "lower-case letters, digits, `-` and `_`, and start with a letter or a digit"
        raise broken(Mark("project name", 0, 0), (), f"{name!r} is not a project name; use {form}")
    return name


def plain_name(name: str) -> str:
    """Return what of a directory's or a file's name can be a project name."""
    return re.sub(r"[^a-z0-9_-]", "", name.lower()).lstrip("_-")


def _exists(directory: str, name: str) -> bool:
    return os.path.exists(f"{directory.rstrip('/')}/{name}")
