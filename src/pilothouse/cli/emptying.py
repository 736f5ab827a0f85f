"""How a machine that leaves its cluster, or was removed from it, is emptied: part of the composition roots."""

import asyncio
import os
import pathlib

from pilothouse import log
from pilothouse.agent.emptying import Emptied, empty
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.backoff import delay_seconds
from pilothouse.cli.places import Places, engine_socket
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import NodeRemovedError, PilothouseError, RuntimeUnavailableError
from pilothouse.ids import Ids, SystemIds
from pilothouse.model.counts import count


def empty_machine(places: Places) -> Emptied:
    """Empty this machine once; no agent may run.

    Raises:
        RuntimeUnavailableError: The engine does not answer, or refuses something; what is left can be tried again.
    """
    try:
        return asyncio.run(_empty(places, engine_socket(os.environ), SystemClock(), SystemIds()))
    except PilothouseError as error:
        raise RuntimeUnavailableError(
            f"this machine is not empty: {error}; repeat the command once the engine answers, or "
            "leave the containers to themselves with --keep-running"
        ) from error


def sentence(emptied: Emptied | None) -> str:
    """Return what a person should read of what became of the machine; None is that it was left as it is."""
    if emptied is None:
        return "containers run on, and nobody looks after them"
    kept = f", {count(len(emptied.volumes), 'named volume')} kept" if emptied.volumes else ""
    return f"{count(emptied.containers, 'container')} and {count(emptied.networks, 'network')} removed{kept}"


async def empty_removed(places: Places, engine: str, clock: Clock, ids: Ids, asked: asyncio.Event, reason: str) -> None:
    """Empty this machine because it was removed from its cluster, however often that has to be tried.

    Returns early if the process is *asked* to end: whatever is left is found when it starts again, or by `leave`.

    Raises:
        NodeRemovedError: It is empty.
    """
    log.event("error", "node.removed", reason=reason)
    failures = 0
    while not asked.is_set():
        try:
            await _empty(places, engine, clock, ids)
        except PilothouseError as error:
            failures += 1
            log.event("warning", "node.not_empty", error=str(error), failures=failures)
            await clock.sleep(delay_seconds(failures, fraction=ids.fraction(), cap=10.0))
        else:
            raise NodeRemovedError(f"{reason}; what ran here was stopped and removed, named volumes stay")


async def _empty(places: Places, socket: str, clock: Clock, ids: Ids) -> Emptied:
    engine = DockerEngine(socket, clock, ids)
    try:
        return await empty(engine, pathlib.Path(places.data), pathlib.Path(places.run), clock)
    finally:
        await engine.close()
