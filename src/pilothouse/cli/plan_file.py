"""A plan kept in a file, so that what was looked at is what is deployed, or nothing.

The file holds no content of a secret or config: what was asked for stands in it as the server's digest.
"""

import os
import pathlib
import tempfile

import msgspec

from pilothouse.cli.foretold import differences, moved_images
from pilothouse.errors import InvalidRequestError, PlanStaleError
from pilothouse.model.base import Value
from pilothouse.model.release_api import PlanView

FORMAT = 1
_MAX_BYTES = 16 << 20


class PlanFile(Value, frozen=True, kw_only=True):
    """What the file holds; *format* changes when an older reader would misread it."""

    plan: PlanView
    format: int = 0


def write(path: str, plan: PlanView) -> None:
    """Write *plan* to *path*, whole or not at all, readable by its owner alone.

    Raises:
        InvalidRequestError: It cannot be written there.
    """
    target = pathlib.Path(path)
    data = msgspec.json.format(msgspec.json.encode(PlanFile(plan=plan, format=FORMAT)), indent=2) + b"\n"
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            pathlib.Path(name).replace(target)
        except OSError:
            pathlib.Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InvalidRequestError(f"the plan cannot be written to {path}: {error.strerror or error}") from error


def read(path: str) -> PlanView:
    """Return the plan in the file at *path*.

    Raises:
        InvalidRequestError: It cannot be read, or holds no plan this version knows.
    """
    try:
        with pathlib.Path(path).open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        found = msgspec.json.decode(data, type=PlanFile)
    except OSError as error:
        raise InvalidRequestError(f"the plan {path} cannot be read: {error.strerror or error}") from error
    except msgspec.DecodeError as error:
        raise InvalidRequestError(
            f"{path} is not a plan that this version wrote ({error}); make one with `pilothouse plan --out FILE`"
        ) from error
    if found.format != FORMAT:
        raise InvalidRequestError(
            f"the plan {path} has format {found.format}, and this version knows {FORMAT}; make it again with "
            "`pilothouse plan --out FILE`"
        )
    return found.plan


def check_fresh(planned: PlanView, now: PlanView) -> None:
    """Accept a deployment that does what was *planned*; *now* is what it would do.

    Raises:
        PlanStaleError: It would do something else, or the app has changed since; nothing was changed.
    """
    same = planned.app == now.app and planned.digest == now.digest
    moved = moved_images(planned, now)
    if same and planned.base == now.base and not moved:
        return
    said = [*differences(planned, now), *moved]
    if planned.base != now.base:
        then = f"release {planned.base}" if planned.base else "a time when there was no such app"
        said.insert(0, f"the app's newest release is {now.base or 'none'}, and the plan is of {then}")
    if not same and not said:
        said.append("the file, a secret or a config differs in a value that is not shown")
    raise PlanStaleError(
        "\n".join((f"the plan of {planned.app} is stale, and nothing was changed; make it again and look at it", *said))
    )


def check_same(planned: PlanView, now: PlanView, why: str) -> None:
    """Accept a plan made anew because the app was changed in between, if the same request still does the same.

    Nor is there anything to refuse if what is asked for has come about already.

    Raises:
        PlanStaleError: It does something else; the message is *why* the first plan was refused, and what differs.
    """
    found = (*differences(planned, now), *moved_images(planned, now))
    if found and now.release != now.base:
        raise PlanStaleError("\n".join((why, *found)))
