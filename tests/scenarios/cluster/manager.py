"""Managers of the simulated cluster: the process as it is shipped, over a store that others see too, and mortal.

What `cli.run` does with sockets and etcd is done here with a network and a store in memory, in the same order.
"""

import asyncio
import contextlib

import msgspec

from pilothouse.errors import (
    NotLeadingError,
    PilothouseError,
    ServerUnavailableError,
    SessionLostError,
    StoreUnavailableError,
    TermOverError,
    UnavailableError,
)
from pilothouse.governance.secrets.seal import KEY_BYTES, Vault
from pilothouse.link.interface import Offer
from pilothouse.link.memory import pair
from pilothouse.model.cluster import Role
from pilothouse.model.identity import Identity, names_of
from pilothouse.model.session import PROTOCOL, Method, Welcome
from pilothouse.server.manager import Manager
from pilothouse.server.sessions.remote import RemoteSession
from pilothouse.supervise import run_term
from tests.scenarios.cluster.election import SimElection
from tests.scenarios.cluster.processes import Process

CLUSTER = "c" * 32
VAULT_KEY = b"k" * KEY_BYTES
RESTART_SECONDS = 1.0
BETWEEN_TERMS_SECONDS = 0.5
LOOK_SECONDS = 0.5
CALL_SECONDS = 1.5


class Killed(BaseException):
    """The manager's process ended here; no handler can swallow it."""


class Reach:
    """One manager's way to the store, over all its lives: it may be slow, be cut, lose answers, and be the last thing
    the manager ever used.

    Attributes:
        slow_seconds: How long a commit takes.
        cut: Nothing gets through.
        kill_after: After so many more commits the manager dies, before anybody learns of the last one; None never.
        lose_every: Every so-manieth commit is made, or is not, and nobody learns which; 0 is none.
    """

    def __init__(self):
        self.slow_seconds = 0.0
        self.cut = False
        self.kill_after = None
        self.lose_every = 0
        self.commits = 0


class ManagerStore:
    """The store as one life of one manager has it.

    Attributes:
        dead: That life ended.
    """

    def __init__(self, inner, faults, ids):
        self.inner = inner
        self.faults = faults
        self.dead = False
        self._ids = ids
        self._failing_since = None

    @property
    def cut(self):
        return self.faults.cut

    @property
    def failing_seconds(self):
        """For how long no commit was confirmed although one was asked for."""
        return 0.0 if self._failing_since is None else _now() - self._failing_since

    async def view(self, fn):
        self._live()
        return await self.inner.view(fn)

    async def reach(self):
        """Return once the store answered.

        Raises:
            StoreUnavailableError: It did not.
        """
        self._live()
        await asyncio.sleep(0.001 + 0.004 * self._ids.fraction())
        if self.faults.cut:
            await asyncio.sleep(CALL_SECONDS)
            self._live()
            raise StoreUnavailableError("no member of the store answered")
        self._live()

    async def update(self, writer, fn):
        if self._failing_since is None:
            self._failing_since = _now()
        await self.reach()
        faults = self.faults
        if faults.slow_seconds:
            await asyncio.sleep(faults.slow_seconds)
            self._live()
        faults.commits += 1
        lost = faults.lose_every and faults.commits % faults.lose_every == 0
        if lost and faults.commits // faults.lose_every % 2:
            raise StoreUnavailableError("the store did not confirm the commit")
        before = await self.inner.view(lambda tx: tx.revision)
        try:
            result = await self.inner.update(writer, fn)
        finally:
            self._failing_since = None
        if await self.inner.view(lambda tx: tx.revision) != before:
            if faults.kill_after is not None:
                faults.kill_after -= 1
                if faults.kill_after <= 0:
                    faults.kill_after = None
                    self.dead = True
                    raise Killed
            await asyncio.sleep(0.001 + 0.004 * self._ids.fraction())
            self._live()
        if lost:
            raise StoreUnavailableError("the store did not confirm the commit")
        return result

    def watch(self, since):
        return self.inner.watch(since)

    async def history(self, since, limit):
        return await self.inner.history(since, limit)

    async def close(self):
        return

    def _live(self):
        if self.dead:
            raise Killed


class SimManager:
    """One manager, over all its lives.

    Attributes:
        reach: Its way to the store.
        leadership: The term it believes to lead, or None.
        terms: How many it has led.
    """

    def __init__(self, name, store, quorum, clock, ids):
        self.name = name
        self.clock = clock
        self.process = Process(name)
        self.reach = Reach()
        self.leadership = None
        self.terms = 0
        self.manager = None
        self._shared = store
        self._quorum = quorum
        self._ids = ids
        self._store = None
        self._reception = None
        self._group = None

    async def run(self):
        """Have it running again and again, as a service manager does."""
        while True:
            life = self.process.spawn(self._live(), f"{self.name}.process")
            try:
                await asyncio.wait([life])
            finally:
                life.cancel()
            if not life.cancelled() and (error := life.exception()) is not None:
                raise error
            await asyncio.sleep(RESTART_SECONDS)

    async def _live(self):
        self._store = store = ManagerStore(self._shared, self.reach, self._ids)
        self.manager = Manager(store=store, clock=self.clock, ids=self._ids, vault=Vault(VAULT_KEY))
        election = SimElection(self._quorum, store, self.clock, self._ids)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(run_term(self.manager.always()), name=f"{self.name}.always")
                group.create_task(self._lead_again(self.manager, election), name=f"{self.name}.term")
                self._group = group
        except* Killed:
            pass
        finally:
            store.dead = True
            self._group = None

    async def _lead_again(self, manager, election):
        while True:
            with _over_is_over():
                await self._lead(manager, await election.lead(self.name))
            await self.clock.sleep(BETWEEN_TERMS_SECONDS)

    async def _lead(self, manager, term):
        self.terms += 1
        manager.answer_while(term.shown)
        manager.nodes.lead()
        reception = manager.reception(term.epoch, term.store)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(term.keep(), name=f"{self.name}.lease")
                loops = {**manager.leading(term.store), **reception.loops(), "leadership": lambda: _while_leading(term)}
                group.create_task(run_term(loops), name=f"{self.name}.loops")
                self.leadership, self._reception = term, reception
        finally:
            self.leadership = self._reception = None
            reception.close("this manager does not lead any more")
            manager.nodes.follow()
            await term.resign()

    def kill(self):
        """End the process here and now, also if it is stopped."""
        if self._group is None:
            return
        self._store.dead = True
        self._spawn(_die(), "killed")
        self.process.go_on()

    def _spawn(self, coroutine, what):
        return self._group.create_task(coroutine, name=f"{self.name}.{what}", context=self.process.context.copy())

    @property
    def alive(self):
        return self._group is not None and not self._store.dead

    async def serve(self, question, limit_seconds):
        """Answer somebody outside, who gives up after a while; the process may die over it.

        Raises:
            ServerUnavailableError: It did, or was dead before, or did not answer.
        """
        if not self.alive:
            raise ServerUnavailableError("the manager is not there")
        answer = asyncio.get_running_loop().create_future()
        working = self._spawn(_work(question, answer), "answer")
        try:
            async with asyncio.timeout(limit_seconds):
                return await answer
        except TimeoutError:
            working.cancel()
            raise ServerUnavailableError("the manager did not answer") from None

    def let_in(self, node_id, handlers, there, back):
        """Serve a new session, and return the agent's end of it.

        Raises:
            SessionLostError: The manager is not there.
        """
        if not self.alive:
            raise SessionLostError("the manager is not there")
        there.context = self.process.context
        return self.process.context.copy().run(self._let_in, node_id, handlers, there, back)

    def _let_in(self, node_id, handlers, there, back):
        if self._reception is None:
            offer = Offer(answers={Method.HELLO.value: self._redirect})
            first, second = pair(handlers, offer, self.clock, there=there, back=back)
            self._spawn(_send_on(second), f"redirect.{node_id}")
            return first
        names = names_of(Identity(cluster=CLUSTER, node_id=node_id, role=Role.AGENT))
        session = RemoteSession(self._reception, names, node_id)
        first, second = pair(handlers, session.offer, self.clock, there=there, back=back)
        self._spawn(_serve(session, second), f"session.{node_id}")
        return first

    async def _redirect(self, body):
        leader = self._quorum.leader if self._quorum.led and not self.reach.cut else None
        if leader in {None, self.name}:
            raise NotLeadingError("this manager does not lead, and does not know who does")
        return msgspec.msgpack.encode(Welcome(protocol=PROTOCOL, epoch=0, leader=leader))


@contextlib.contextmanager
def _over_is_over():
    try:
        yield
    except* (UnavailableError, TermOverError):
        pass


async def _while_leading(term):
    await term.over()
    raise TermOverError(f"term {term.epoch} is over")


async def _die():
    raise Killed


async def _work(question, answer):
    try:
        result = await question()
    except PilothouseError as error:
        if not answer.done():
            answer.set_exception(error)
    except BaseException:
        if not answer.done():
            answer.set_exception(ServerUnavailableError("the manager ended before it answered"))
        raise
    else:
        if not answer.done():
            answer.set_result(result)


async def _serve(session, link):
    with contextlib.suppress(SessionLostError):
        await session.run(link)


async def _send_on(link):
    with contextlib.suppress(SessionLostError, TimeoutError):
        async with asyncio.timeout(15.0):
            await link.serve()


def _now():
    return asyncio.get_running_loop().time()
