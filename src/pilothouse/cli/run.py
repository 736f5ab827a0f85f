"""The composition root of `pilothouse server run`: the one place that knows manager, agent, store and engine driver.

One process, one event loop, one term at a time: the manager's loops and the agent live and die together, and a term
that died is followed by another after a while. Whatever ends the process, containers and the proxy run on.
"""

import asyncio
import functools
import os
import pathlib
import signal
import socket
from collections.abc import Mapping

import uvloop

from pilothouse import log
from pilothouse.agent.agent import Agent
from pilothouse.agent.fence import fence_of
from pilothouse.agent.local_lease import renew_locally
from pilothouse.agent.proxy.binary import find_binary
from pilothouse.agent.proxy.driver import EnvoyIngress
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.backoff import delay_seconds
from pilothouse.cli import membership
from pilothouse.cli.backend import Backend
from pilothouse.cli.collecting import image_policy
from pilothouse.cli.doors import Doors
from pilothouse.cli.notify import notify
from pilothouse.cli.opening import open_patiently
from pilothouse.cli.pidfile import PidFile
from pilothouse.cli.places import Places, TcpPlace, engine_socket, token_file
from pilothouse.cli.remote_agent import agent_loops
from pilothouse.cli.stepping_down import step_down, was_demoted
from pilothouse.cli.turning import turn_into
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import (
    InvalidRequestError,
    NodeRemovedError,
    PilothouseError,
    ServerUnavailableError,
    TermOverError,
    UnavailableError,
    UserError,
)
from pilothouse.governance.secrets.seal import load_vault
from pilothouse.ids import Ids, SystemIds
from pilothouse.model.cluster import Role
from pilothouse.server import interpreter
from pilothouse.server.listen import Tcp
from pilothouse.server.manager import Manager
from pilothouse.server.sessions.local import LocalSession
from pilothouse.store.interface import Leadership
from pilothouse.supervise import Loop, run_term

_TERMS = 5
"""So many terms in a row may die young before the process gives up and says so."""
_YOUNG_SECONDS = 60.0
_BETWEEN_TERMS_SECONDS = 0.5
_LOOK_SECONDS = 0.5


def main(places: Places, environment: Mapping[str, str], tcp: TcpPlace | None = None) -> None:
    """Run the server until SIGTERM or SIGINT; with *tcp*, it listens there as well.

    Raises:
        ConflictError: Another server runs in this run directory.
        PilothouseError: It could not start.
    """
    os.umask(0o022)
    try:
        os.makedirs(places.data, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ServerUnavailableError(
            f"the data directory {places.data} cannot be made ({error.strerror}): run the server as root, or choose "
            "another with --data or PILOTHOUSE_DATA"
        ) from error
    known = membership.load(places.data)
    if known is not None and known.role is Role.AGENT:
        raise InvalidRequestError(
            f"this machine is an agent ({known.node_id}) of a cluster and runs no server: pilothouse agent run"
        )
    with PidFile(places.pid_file), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        manages = runner.run(_serve(places, engine_socket(environment), environment.get("NOTIFY_SOCKET", ""), tcp))
    if not manages:
        turn_into(places, "agent")


async def _serve(places: Places, engine: str, notify_socket: str, tcp: TcpPlace | None) -> bool:
    """Run terms until somebody asks the process to end; return False if it is to go on as an agent's."""
    interpreter.prepare()
    clock, ids = SystemClock(), SystemIds()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, asked.set)
    log.event("info", "server.starting", data=places.data, socket=places.socket, engine=engine, pid=os.getpid())
    deaths, data = 0, pathlib.Path(places.data)
    if was_demoted(data):
        await step_down(data, os.environ, clock)
        return asked.is_set()
    while not asked.is_set():
        begun = clock.monotonic()
        term = Term(places, engine, clock, ids, notify_socket, tcp)
        error = await term.run(asked)
        if not asked.is_set() and (term.demoted or isinstance(error, NodeRemovedError)):
            await step_down(data, os.environ, clock, term.managers)
            return asked.is_set()
        if error is None or isinstance(error, NodeRemovedError):
            break
        deaths = 1 if clock.monotonic() - begun > _YOUNG_SECONDS else deaths + 1
        if not term.opened or deaths >= _TERMS:
            raise error
        log.event("error", "term.died", error=str(error), deaths=deaths)
        await clock.sleep(delay_seconds(deaths, fraction=ids.fraction(), cap=10.0))
    notify(notify_socket, "STOPPING=1")
    log.event("info", "server.ended", pid=os.getpid())
    return True


class Term:
    """Everything that lives and dies together, put together.

    Attributes:
        opened: The API was open for requests at some time.
        demoted: It ended because this machine is no manager any more.
        managers: Those that are, then.
    """

    def __init__(
        self, places: Places, engine: str, clock: Clock, ids: Ids, notify_socket: str, tcp: TcpPlace | None = None
    ) -> None:
        self.opened = False
        self.demoted = False
        self.managers: tuple[str, ...] = ()
        self._places = places
        self._engine = engine
        self._clock = clock
        self._ids = ids
        self._notify_socket = notify_socket
        self._tcp = tcp

    async def run(self, asked: asyncio.Event) -> Exception | None:
        """Run until *asked* is set, then return None, or until something dies, then return why."""
        data = pathlib.Path(self._places.data)
        backend = await self._open(asked)
        if backend is None:
            return None
        engine = DockerEngine(self._engine, self._clock, self._ids)
        try:
            return await self._run(asked, backend, engine, data)
        finally:
            await engine.close()
            await backend.store.close()

    async def _open(self, asked: asyncio.Event) -> Backend | None:
        """Return the store, or None if the process was asked to end before there was one."""
        waits = functools.partial(notify, self._notify_socket, "READY=1")
        opening = asyncio.ensure_future(open_patiently(self._places, self._clock, self._ids, waits))
        ended = asyncio.ensure_future(asked.wait())
        try:
            await asyncio.wait([opening, ended], return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                return opening.result()
        finally:
            ended.cancel()
            opening.cancel()
            await asyncio.wait([opening])
        return None

    async def _run(
        self, asked: asyncio.Event, backend: Backend, engine: DockerEngine, data: pathlib.Path
    ) -> Exception | None:
        doors = Doors(data, self._clock, token_file(os.environ), backend.revoke)
        own_id = node_id(data, self._ids)
        manager = Manager(
            store=backend.store,
            clock=self._clock,
            ids=self._ids,
            vault=load_vault(data),
            data_directory=data,
            socket=pathlib.Path(self._places.socket),
            keeping=backend.keeping,
            store_name=backend.name,
            node_id=own_id,
            founded=doors.founded,
        )
        leading = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                always = {**backend.loops, **manager.always(), "doors": lambda: doors.run(manager)}
                if backend.shared and membership.load(data) is not None:
                    # The node goes on whoever leads, so its agent finds the leading manager as any other does.
                    always |= agent_loops(
                        self._places,
                        engine,
                        self._clock,
                        self._ids,
                        lambda: None,
                        renews=False,
                        linked=lambda link: manager.nodes.ask_through(link, lambda: manager.allow_list.ready_nodes),
                    )
                attending = group.create_task(run_term(always), name="always")
                term = group.create_task(self._lead_again(backend, manager, engine, doors, leading), name="term")
                if not backend.shared:
                    # Nobody else can lead, so who asks the API finds the node there.
                    await leading.wait()
                await manager.listener.open_unix(pathlib.Path(self._places.socket))
                if self._tcp is not None:
                    await manager.listener.open_tcp(_listening(self._tcp))
                self.opened = True
                interpreter.settle()
                notify(self._notify_socket, "READY=1")
                self.demoted = await _either(asked, doors.lost)
                self.managers = doors.managers
                log.event("info", "server.stopping")
                await manager.listener.close()
                for each in (term, attending):
                    each.cancel()
        except ExceptionGroup as group_error:
            await manager.listener.close(grace_seconds=0.5)
            return _first(group_error)
        return None

    async def _lead_again(
        self, backend: Backend, manager: Manager, engine: DockerEngine, doors: Doors, leading: asyncio.Event
    ) -> None:
        """Run one term after the other. Where other managers may lead meanwhile, the API goes on in between.

        Raises:
            ExceptionGroup: A term died of something else than that it is over, or nobody else can lead.
        """
        while True:
            try:
                await self._lead(backend, manager, engine, doors, leading)
            except* (UnavailableError, TermOverError) as ended:
                if not backend.shared:
                    raise
                log.event("warning", "term.ended", error=str(_first(ended)))
            await self._clock.sleep(_BETWEEN_TERMS_SECONDS)

    async def _lead(
        self, backend: Backend, manager: Manager, engine: DockerEngine, doors: Doors, leading: asyncio.Event
    ) -> None:
        """Run the loops and the agent once this manager leads, until it does not.

        Raises:
            TermOverError: Another leads since, or this one cannot show that it does.
        """
        data = pathlib.Path(self._places.data)
        name = node_id(data, self._ids)
        apart = backend.shared and membership.load(data) is not None
        leadership = await self._elected(backend, manager, doors, name)
        manager.answer_while(leadership.shown)
        manager.nodes.lead()
        reception = manager.reception(leadership.epoch, leadership.store)
        loops = {
            **manager.leading(leadership.store),
            **reception.loops(),
            "leadership": lambda: _while_leading(leadership),
        }
        session = None if apart else manager.session(name, leadership.store)
        try:
            async with asyncio.TaskGroup() as group:
                if session is None:
                    group.create_task(run_term(loops), name="loops")
                else:
                    agent, renewing = self._agent(session, engine, data, leadership if backend.shared else None)
                    group.create_task(run_term({**loops, "agent": agent.run, **renewing}), name="loops")
                    await session.open(agent.services)
                doors.lead(reception)
                leading.set()
        finally:
            doors.follow()
            manager.nodes.follow()
            if session is not None:
                session.close()
            await leadership.resign()

    async def _elected(self, backend: Backend, manager: Manager, doors: Doors, name: str) -> Leadership:
        """Return once this manager leads; meanwhile agents that come are sent to the one that does."""
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(self._tell_leader(backend, manager, doors, name), name="leader")
            leadership = await backend.election.lead(name)
            telling.cancel()
        return leadership

    async def _tell_leader(self, backend: Backend, manager: Manager, doors: Doors, name: str) -> None:
        """Keep the doors informed of where the leading manager hears agents."""
        known = ""
        while True:
            try:
                leader = await backend.election.leader()
                where = "" if leader is None or leader.name == name else await manager.sessions_of(leader.name)
            except UnavailableError:
                where = known
            if where != known:
                doors.follow(where)
                known = where
            await self._clock.sleep(_LOOK_SECONDS)

    def _agent(
        self, session: LocalSession, engine: DockerEngine, data: pathlib.Path, term: Leadership | None
    ) -> tuple[Agent, dict[str, Loop]]:
        """Return the agent of this machine, in the same process, and what must run beside it.

        Args:
            session: Its session.
            engine: The node's.
            data: The data directory.
            term: Where somebody else can lead this node can be cut off, and its lease is as good as the term.
        """
        run = pathlib.Path(self._places.run)
        ingress = EnvoyIngress(run / "proxy", find_binary(os.environ), self._clock, self._ids)
        fence = None if term is None else fence_of(run, self._clock)
        agent = Agent(session, engine, ingress, self._clock, self._ids, data, run, fence, image_policy(os.environ))
        agent.health.changed = session.pressure
        if term is None or fence is None:
            return agent, {}
        lease, shown = fence.lease, term.shown
        return agent, {"lease": lambda: renew_locally(lease, self._clock, shown)}


async def _either(asked: asyncio.Event, lost: asyncio.Event) -> bool:
    """Return once one of both is set: whether it was *lost*."""
    waiting = [asyncio.ensure_future(each.wait()) for each in (asked, lost)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()
    return lost.is_set()


async def _while_leading(leadership: Leadership) -> None:
    """Return never; a term that is over ends everything that runs in it.

    Raises:
        TermOverError: It is over.
    """
    await leadership.over()
    raise TermOverError(f"term {leadership.epoch} is over: another process leads, or this one cannot show that it does")


def _listening(place: TcpPlace) -> Tcp:
    certificate, key, token_file = map(pathlib.Path, (place.certificate, place.key, place.token_file))
    return Tcp(host=place.host, port=place.port, certificate=certificate, key=key, token_file=token_file)


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return what a person should read of a group: an error of ours if there is one, else the first."""
    leaves: list[Exception] = []
    pending: list[BaseException] = [group]
    while pending:
        error = pending.pop(0)
        if isinstance(error, BaseExceptionGroup):
            pending.extend(error.exceptions)
        elif isinstance(error, Exception):
            leaves.append(error)
    for kind in (UserError, PilothouseError):
        for error in leaves:
            if isinstance(error, kind):
                return error
    return leaves[0]


def node_id(data: pathlib.Path, ids: Ids) -> str:
    """Return the id of this machine as a node: the one it joined as, or one chosen once and kept."""
    if (known := membership.load(data)) is not None:
        return known.node_id
    path = data / "node-id"
    if path.exists() and (kept := path.read_text().strip()):
        return kept
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in socket.gethostname().split(".")[0].lower())
    chosen = name.strip("-_.")[:40] or ids.new()
    part = path.with_suffix(".part")
    part.write_text(chosen + "\n")
    part.rename(path)
    return chosen
