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
from msgspec.structs import replace

import pilothouse
from pilothouse import log
from pilothouse.agent.agent import Agent
from pilothouse.agent.beats import Signs
from pilothouse.agent.fence import Fence
from pilothouse.agent.guard.register import Register
from pilothouse.agent.lease import Lease
from pilothouse.agent.managers import Managers
from pilothouse.agent.proxy.binary import find_binary
from pilothouse.agent.proxy.driver import EnvoyIngress
from pilothouse.agent.remote import RemoteLink, dialler
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.backoff import delay_seconds
from pilothouse.cli import membership
from pilothouse.cli.agent_process import ready_file
from pilothouse.cli.introduced import Introduced
from pilothouse.cli.membership import Membership
from pilothouse.cli.notify import notify
from pilothouse.cli.pidfile import PidFile
from pilothouse.cli.places import Places, engine_socket
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import InvalidRequestError, NotClusteredError
from pilothouse.ids import Ids, SystemIds
from pilothouse.link.credentials import Credentials
from pilothouse.link.renewal import Renewal
from pilothouse.link.tls import client_context
from pilothouse.model.addresses import split_address
from pilothouse.supervise import run_term

_TERMS = 5
"""So many terms in a row may die young before the process gives up and says so."""
_YOUNG_SECONDS = 60.0


def main(places: Places, environment: Mapping[str, str]) -> None:
    """Run the agent until SIGTERM or SIGINT.

    Raises:
        NotClusteredError: This machine joined no cluster.
        ConflictError: A server or another agent runs in this run directory.
    """
    os.umask(0o022)
    if membership.load(places.data) is None:
        raise NotClusteredError(
            f"this machine is in no cluster (there is no {membership.FILE} in {places.data}): pilothouse join"
        )
    with PidFile(places.pid_file), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ready_file(places).unlink(missing_ok=True)
        runner.run(_serve(places, engine_socket(environment), environment.get("NOTIFY_SOCKET", "")))


async def _serve(places: Places, engine: str, notify_socket: str) -> None:
    """Run terms until somebody asks the process to end."""
    clock, ids = SystemClock(), SystemIds()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, asked.set)
    log.event("info", "agent.starting", data=places.data, engine=engine, pid=os.getpid())
    deaths = 0
    while not asked.is_set():
        begun = clock.monotonic()
        try:
            await _term(places, engine, clock, ids, notify_socket, asked)
        except* Exception as group:
            deaths = 1 if clock.monotonic() - begun > _YOUNG_SECONDS else deaths + 1
            if deaths >= _TERMS:
                raise
            log.event("error", "term.died", error=repr(group.exceptions[0]), deaths=deaths)
            await clock.sleep(delay_seconds(deaths, fraction=ids.fraction(), cap=10.0))
    notify(notify_socket, "STOPPING=1")
    log.event("info", "agent.ended", pid=os.getpid())


async def _term(
    places: Places, engine_path: str, clock: Clock, ids: Ids, notify_socket: str, asked: asyncio.Event
) -> None:
    """Run the agent until *asked* is set; what dies is raised."""
    data, run = pathlib.Path(places.data), pathlib.Path(places.run)
    known = membership.load(data)
    if known is None:
        raise InvalidRequestError(f"{data / membership.FILE} was taken away while the agent ran")
    credentials = Credentials(data)
    register = Register(run / "guard")
    lease = Lease(clock, register.term)
    engine = DockerEngine(engine_path, clock, ids)
    asks_for_renewal = asyncio.Event()
    signs = Signs(
        clock=clock,
        ids=ids,
        lease=lease,
        boottime=clock.boottime,
        pressure=lambda: agent.health.pressure,
        renewal_due=asks_for_renewal.set,
    )
    link = RemoteLink(
        connect=dialler(clock, lambda: client_context(credentials)),
        managers=Managers(known.managers, lambda heard: _remember(data, heard)),
        signs=signs,
        version=pilothouse.__version__,
    )

    def heard() -> None:
        ready_file(places).write_text(f"{os.getpid()}\n")
        notify(notify_socket, "READY=1")

    introduced = Introduced(link, lambda: address_of(known), heard)
    ingress = EnvoyIngress(run / "proxy", find_binary(os.environ), clock, ids)
    agent = Agent(introduced, engine, ingress, clock, ids, data, run, Fence(lease, clock, register))
    renewal = Renewal(credentials, link.renew, clock, ids, asks_for_renewal)
    loops = {
        "session": lambda: link.run(agent.services),
        "agent": agent.run,
        "renewal": renewal.run,
    }
    try:
        async with asyncio.TaskGroup() as group:
            term = group.create_task(run_term(loops), name="term")
            await asked.wait()
            log.event("info", "agent.stopping")
            term.cancel()
    finally:
        await engine.close()


def address_of(known: Membership) -> str:
    """Return the host at which others reach this machine, "" if nobody said."""
    return split_address(known.advertise)[0] if known.advertise else ""


def _remember(data: pathlib.Path, managers: tuple[str, ...]) -> None:
    """Keep where the managers are for the next start; that it cannot be kept changes nothing now."""
    known = membership.load(data)
    if known is None:
        return
    try:
        membership.save(data, replace(known, managers=managers))
    except OSError as error:
        log.event("warning", "managers.forgotten", error=str(error))
