"""The composition root of `pilothouse agent run`: an agent whose manager is elsewhere.

One process, one event loop, one term at a time, as the server has it: session, agent and renewal live and die together,
and are begun again after a while. Whatever ends the process, containers, the proxy and the guard go on.
"""

import asyncio
import os
import pathlib
import signal
from collections.abc import Mapping

import uvloop

from pilothouse import log
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.backoff import delay_seconds
from pilothouse.cli import membership, share
from pilothouse.cli.agent_process import ready_file
from pilothouse.cli.emptying import empty_removed
from pilothouse.cli.notify import notify
from pilothouse.cli.pidfile import PidFile
from pilothouse.cli.places import Places, engine_socket
from pilothouse.cli.remote_agent import agent_loops
from pilothouse.cli.turning import turn_into
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import NodeRemovedError, NotClusteredError
from pilothouse.ids import Ids, SystemIds
from pilothouse.model.cluster import Role
from pilothouse.supervise import Loop, run_term

_TERMS = 5
"""So many terms in a row may die young before the process gives up and says so."""
_YOUNG_SECONDS = 60.0


def main(places: Places, environment: Mapping[str, str]) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Raises:
        NotClusteredError: This machine joined no cluster.
        NodeRemovedError: It was removed from its cluster; what ran here was stopped and removed.
        ConflictError: A server or another agent runs in this run directory.
    """
    os.umask(0o022)
    known = membership.load(places.data)
    if known is None:
        raise NotClusteredError(
            f"this machine is in no cluster (there is no {membership.FILE} in {places.data}): pilothouse join"
        )
    candidate = known.role is Role.MANAGER
    if not candidate and share.configured(places.data):
        # It was a manager, and its process ended while it gave that up.
        from pilothouse.cli.stepping_down import step_down  # noqa: PLC0415 - an agent need not pay for etcd's protocol

        asyncio.run(step_down(pathlib.Path(places.data), environment, SystemClock()))
    if not candidate or not share.complete(places.data):
        with PidFile(places.pid_file), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ready_file(places).unlink(missing_ok=True)
            became = asyncio.Event()
            loops = _becoming(places, environment, became) if candidate else {}
            serving = _serve(places, engine_socket(environment), environment.get("NOTIFY_SOCKET", ""), became, loops)
            if not runner.run(serving):
                return
            ready_file(places).unlink(missing_ok=True)
    turn_into(places, "server")


def _becoming(places: Places, environment: Mapping[str, str], became: asyncio.Event) -> Mapping[str, Loop]:
    """Return what runs beside the agent of a machine that is to be a manager; *became* is set once it is one."""
    from pilothouse.cli.becoming import Becoming  # noqa: PLC0415 - an agent need not pay for etcd's protocol

    return {"becoming": Becoming(places, environment, SystemClock(), became.set).run}


async def _serve(
    places: Places, engine: str, notify_socket: str, became: asyncio.Event, beside: Mapping[str, Loop]
) -> bool:
    """Run terms until somebody asks the process to end, or this machine became a manager: then return True."""
    clock, ids = SystemClock(), SystemIds()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, asked.set)
    ending = loop.create_task(_first_of(asked, became))
    log.event("info", "agent.starting", data=places.data, engine=engine, pid=os.getpid())
    deaths, removed = 0, ""
    while not ending.done() and not removed:
        begun = clock.monotonic()
        try:
            await _term(places, engine, clock, ids, notify_socket, ending, beside)
        except* NodeRemovedError as group:
            removed = str(_leaf(group))
        except* Exception as group:
            deaths = 1 if clock.monotonic() - begun > _YOUNG_SECONDS else deaths + 1
            if deaths >= _TERMS:
                raise
            log.event("error", "term.died", error=repr(group.exceptions[0]), deaths=deaths)
            await clock.sleep(delay_seconds(deaths, fraction=ids.fraction(), cap=10.0))
    if removed:
        await empty_removed(places, engine, clock, ids, asked, removed)
    elif not asked.is_set():
        return True
    notify(notify_socket, "STOPPING=1")
    log.event("info", "agent.ended", pid=os.getpid())
    return False


async def _first_of(*events: asyncio.Event) -> None:
    """Return once one of them is set."""
    waiting = [asyncio.ensure_future(each.wait()) for each in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


def _leaf(group: BaseExceptionGroup[NodeRemovedError]) -> NodeRemovedError:
    found = group.exceptions[0]
    return _leaf(found) if isinstance(found, BaseExceptionGroup) else found


async def _term(
    places: Places,
    engine_path: str,
    clock: Clock,
    ids: Ids,
    notify_socket: str,
    ending: "asyncio.Task[None]",
    beside: Mapping[str, Loop],
) -> None:
    """Run the agent, and what runs *beside* it, until *ending* is done; what dies is raised."""

    def heard() -> None:
        ready_file(places).write_text(f"{os.getpid()}\n")
        notify(notify_socket, "READY=1")

    engine = DockerEngine(engine_path, clock, ids)
    loops = agent_loops(places, engine, clock, ids, heard, renews=True)
    try:
        async with asyncio.TaskGroup() as group:
            term = group.create_task(run_term({**loops, **beside}), name="term")
            await asyncio.wait([ending])
            log.event("info", "agent.stopping")
            term.cancel()
    finally:
        await engine.close()
