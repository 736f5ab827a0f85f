"""Names: what an app, a service or a key may be called, and what the engine's objects are called after them.

Containers are found again by name, never by label: an image can bring labels of its own, but not a container name.
"""

import re

from pilothouse.errors import InvalidRequestError
from pilothouse.model.objects import Task

PREFIX = "ph"
TASK_LABEL = "io.pilothouse.task"
APP_LABEL = "io.pilothouse.app"
INSTALLATION_LABEL = "io.pilothouse.installation"
RESERVED_LABEL_PREFIX = "io.pilothouse."

_APP = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_KEY = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}\Z")
_CONTAINER = re.compile(
    r"ph\.(?P<app>[a-z0-9][a-z0-9_-]*)\.(?P<service>.+)\.(?P<slot>\d+)\.(?P<task>[a-z][a-z0-9]{11})\Z"
)


def check_app_name(name: str) -> str:
    """Return *name* if an app may be called that.

    Raises:
        InvalidRequestError: It is not 1 to 63 of a-z, 0-9, "-" and "_", beginning with a letter or digit.
    """
    if not _APP.match(name):
        raise InvalidRequestError(
            f"{name[:80]!r} cannot be the name of an app: use 1 to 63 of a-z, 0-9, '-' and '_', "
            "beginning with a letter or a digit"
        )
    return name


def check_key(kind: str, key: str) -> str:
    """Return *key* if a *kind* ("service", "volume" …) may be called that.

    Raises:
        InvalidRequestError: It is not 1 to 128 of letters, digits, ".", "_" and "-", beginning with a letter or digit.
    """
    if not _KEY.match(key):
        raise InvalidRequestError(
            f"{key[:80]!r} cannot be the name of a {kind}: use 1 to 128 letters, digits, '.', '_' and '-', "
            "beginning with a letter or a digit"
        )
    return key


def container_name(task: Task) -> str:
    """Return the engine name of *task*'s container: the one thing the agent recognises it by."""
    return f"{PREFIX}.{task.app}.{task.service}.{task.slot}.{task.id}"


def task_id_of(name: str) -> str | None:
    """Return the task id in a container's name, or None if the container is not one of ours."""
    found = _CONTAINER.match(name.removeprefix("/"))
    return found["task"] if found else None


def display_name(task: Task) -> str:
    """Return what people call *task*: "SERVICE.SLOT", "SERVICE" in global modes, or "SERVICE:pre_start.INDEX"."""
    if task.step >= 0:
        return step_name(task.service, task.step)
    return f"{task.service}.{task.slot}" if task.slot else task.service


def step_name(service: str, index: int) -> str:
    """Return what people call step *index* of *service*: "SERVICE:pre_start.INDEX"."""
    return f"{service}:pre_start.{index}"
