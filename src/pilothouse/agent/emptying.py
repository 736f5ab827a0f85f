"""A machine that is in no cluster any more is emptied: what Pilothouse runs and made there goes, data stays.

For when no agent runs. Named volumes are never touched; what belongs to another installation is not either.
"""

import asyncio
import contextlib
import os
import pathlib
import shutil
import signal

from pilothouse import log
from pilothouse.agent.guard.keeper import Keeper
from pilothouse.agent.guard.register import Register
from pilothouse.agent.installation import known_id
from pilothouse.agent.logs.archive import LogArchive
from pilothouse.agent.proxy.process import Process
from pilothouse.agent.runtime.interface import ContainerState, Engine
from pilothouse.agent.volumes.files import MemoryFiles
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError, RuntimeUnavailableError
from pilothouse.model.base import Value
from pilothouse.model.counts import count

GRACE_SECONDS = 10.0
"""What has not ended so long after it was asked to is killed."""
_AT_ONCE = 8


class Emptied(Value, frozen=True, kw_only=True):
    """What became of the machine.

    Attributes:
        containers, networks: How many were removed.
        volumes: The names of those that carry our label; they stay.
        left: What could not be removed, and why, as sentences.
    """

    containers: int = 0
    networks: int = 0
    volumes: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


async def empty(engine: Engine, data: pathlib.Path, run: pathlib.Path, clock: Clock) -> Emptied:
    """Stop and remove everything of the installation that keeps its state in *data*; repeating it is fine.

    The proxy serves until the last container has ended. The guard goes after the last one: what must not run twice is
    killed at the end of the lease, however long others take.

    Raises:
        RuntimeUnavailableError: The engine does not answer, or does not remove a container; everything else that can
            be done before is done.
    """
    installation = known_id(data)
    if not installation:
        return Emptied()
    ours, foreign = _divide(await engine.status(), installation)
    gate = asyncio.Semaphore(_AT_ONCE)
    if stays := [why for why in await asyncio.gather(*(_end(engine, name, gate) for name in ours)) if why]:
        raise RuntimeUnavailableError(f"{count(len(stays), 'container')} could not be removed: {stays[0]}")
    names = await engine.list_networks(installation)
    used = [name for name in names if not await engine.remove_network(name, installation)]
    await _end_proxy(run / "proxy", clock)
    files = MemoryFiles(run / "files")
    files.sweep(())
    files.close()
    _end_guard(run / "guard", clock)
    LogArchive(data / "logs").sweep(())
    done = Emptied(
        containers=len(ours),
        networks=len(names) - len(used),
        volumes=await engine.list_volumes(),
        left=(
            *(f"the container {name} says of no installation that it is its own" for name in foreign),
            *(f"the network {name} is used by something that is not ours" for name in used),
        ),
    )
    log.event("info", "node.emptied", containers=done.containers, networks=done.networks, left=done.left)
    return done


def _divide(states: tuple[ContainerState, ...], installation: str) -> tuple[list[str], list[str]]:
    """Return the names of our containers, and of those that may be ours.

    One that was adopted says of no installation that it is its own: it is ours unless another is on this engine.
    """
    alone = all(state.installation in {"", installation} for state in states)
    ours = [state.name for state in states if state.installation == installation or (alone and not state.installation)]
    return ours, [state.name for state in states if not state.installation and not alone]


async def _end(engine: Engine, name: str, gate: asyncio.Semaphore) -> str:
    """Stop and remove a container, and return why it could not be; "" if it is gone."""
    async with gate:
        try:
            await engine.stop(name, GRACE_SECONDS)
            await engine.remove(name)
        except PilothouseError as error:
            return str(error)
    return ""


async def _end_proxy(directory: pathlib.Path, clock: Clock) -> None:
    proxy = Process(directory, "", clock)
    for running in proxy.find():
        await proxy.end(running)
    shutil.rmtree(directory, ignore_errors=True)


def _end_guard(directory: pathlib.Path, clock: Clock) -> None:
    if not directory.is_dir():
        return
    guard = Keeper(Register(directory), clock).find()
    if guard is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(guard.pid, signal.SIGKILL)
    shutil.rmtree(directory, ignore_errors=True)
