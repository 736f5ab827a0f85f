"""What a driver's contract is tried on: images that are described by what they do, and containers of them.

Names are of the app "check", so that a failed run is easy to clean up after.
"""

import zlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import msgspec

from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.agent.runtime.interface import ContainerPlan, ContainerState, Engine
from pilothouse.errors import DriverError, PermanentError
from pilothouse.model.container import ContainerSpec
from pilothouse.model.hardening import harden
from pilothouse.model.names import RESERVED_LABEL_PREFIX

REPOSITORY = "pilothouse/test"
SLEEPER = f"{REPOSITORY}:sleeper"
DEAF = f"{REPOSITORY}:deaf"
SPEAKER = f"{REPOSITORY}:speaker"
HEALTHY = f"{REPOSITORY}:healthy"
BROKEN = f"{REPOSITORY}:broken"
HOSTILE = f"{REPOSITORY}:hostile"
SPARE = f"{REPOSITORY}:spare"
ABSENT = f"{REPOSITORY}:absent"
IMAGES = {
    SLEEPER: "runs until it is asked to stop, then exits at once; has sh, true, false and sleep",
    DEAF: "ignores the stop signal",
    SPEAKER: 'writes "one", then "two" to standard output and exits with code 3',
    HEALTHY: "as SLEEPER, with a health check that passes within a second or two",
    BROKEN: "its command does not exist",
    SPARE: "nothing is made from it, and it may be gone afterwards",
    HOSTILE: f"carries the label {RESERVED_LABEL_PREFIX}task",
}
DEADLINE_SECONDS = 30.0


def conformance_images() -> tuple[FakeImage, ...]:
    """Return the images of `IMAGES` for a FakeHost."""
    commands = {("sh", "-c", "echo said; exit 7"): (7, "said\n", 0.0), ("sleep", "20"): (0, "", 20.0)}
    return (
        FakeImage(ref=SLEEPER, commands=commands),
        FakeImage(ref=DEAF, stops_in_seconds=None),
        FakeImage(ref=SPEAKER, logs=((0.0, "one"), (0.01, "two")), exit_after_seconds=0.05, exit_code=3),
        FakeImage(ref=HEALTHY, health=((0.05, "healthy"),)),
        FakeImage(ref=BROKEN, start_error="there is no such command in the image"),
        FakeImage(ref=SPARE),
        FakeImage(ref=HOSTILE, labels={f"{RESERVED_LABEL_PREFIX}task": "somebody-else"}),
    )


def plan(name: str, image: str = SLEEPER, **changes: object) -> ContainerPlan:
    """Return the plan of a hardened container of the app "check"; *name* is its service."""
    task_id = f"c{zlib.crc32(name.encode()):011d}"
    spec = harden(ContainerSpec(image=image, stop_grace_seconds=1.0))
    full = ContainerPlan(name=f"ph.check.{name}.1.{task_id}", task_id=task_id, image=image, spec=spec)
    return msgspec.structs.replace(full, **changes)


@asynccontextmanager
async def running(engine: Engine, *plans: ContainerPlan) -> AsyncIterator[None]:
    """Have containers of *plans* run; they are removed at the end."""
    try:
        for each in plans:
            await engine.prepare(each)
            await engine.start(each.name)
        yield
    finally:
        for each in plans:
            await engine.remove(each.name)


async def state_of(engine: Engine, name: str) -> ContainerState | None:
    """Return what `status` says of one container."""
    return next((state for state in await engine.status() if state.name == name), None)


async def refused(attempt: Awaitable[object], kind: type[DriverError] = PermanentError) -> None:
    """Expect *attempt* to raise *kind*, with a message."""
    try:
        await attempt
    except kind as error:
        if str(error):
            return
    raise AssertionError(f"{kind.__name__} with a message was not raised")
