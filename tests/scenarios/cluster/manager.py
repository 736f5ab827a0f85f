"""Managers of the simulated cluster: the process as it is shipped, over a store that others see too, and mortal."""

import asyncio
import contextlib

from pilothouse.errors import PilothouseError, ServerUnavailableError, SessionLostError, StoreUnavailableError
from pilothouse.governance.secrets.seal import KEY_BYTES, Vault
from pilothouse.link.memory import pair
from pilothouse.model.cluster import Role
from pilothouse.model.identity import Identity, names_of
from pilothouse.server.manager import Manager
from pilothouse.server.sessions.remote import RemoteSession

CLUSTER = "c" * 32
VAULT_KEY = b"k" * KEY_BYTES


class Killed(BaseException):
    """The manager's process ended here; no handler can swallow it."""


class TermStore:
    """One manager's way to the store: it may be slow, fail, and be the last thing the manager ever did.

    Attributes:
        slow_seconds: How long a commit takes.
        kill_after: After so many more commits the manager dies, before anybody learns of the last one; None never.
        lose_every: Every so-manieth commit is made, or is not, and nobody learns which; 0 is none.
    """

    def __init__(self, inner):
        self.inner = inner
        self.dead = False
        self.slow_seconds = 0.0
        self.kill_after = None
        self.lose_every = 0
        self.commits = 0

    async def view(self, fn):
        self._live()
        return await self.inner.view(fn)

    async def update(self, writer, fn):
        self._live()
        if self.slow_seconds:
            await asyncio.sleep(self.slow_seconds)
            self._live()
        self.commits += 1
        lost = self.lose_every and self.commits % self.lose_every == 0
        if lost and self.commits // self.lose_every % 2:
            raise StoreUnavailableError("the store did not confirm the commit")
        before = await self.inner.view(lambda tx: tx.revision)
        result = await self.inner.update(writer, fn)
        if await self.inner.view(lambda tx: tx.revision) != before and self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after <= 0:
                self.dead = True
                raise Killed
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
    """One term of one manager."""

    def __init__(self, store, clock, ids, epoch):
        self.store = TermStore(store)
        self.clock = clock
        self.manager = Manager(store=self.store, clock=clock, ids=ids, vault=Vault(VAULT_KEY))
        self.reception = self.manager.reception(epoch)
        self.group = None
        self.started = asyncio.Event()
        self.ended = asyncio.Event()

    async def run(self):
        """Run until somebody cancels or kills it; anything else that ends it is a bug."""
        try:
            async with asyncio.TaskGroup() as self.group:
                for name, loop in {**self.manager.loops(), **self.reception.loops()}.items():
                    self.group.create_task(loop(), name=f"manager.{name}")
                self.started.set()
        except* Killed:
            pass
        finally:
            self.store.dead = True
            self.ended.set()

    def kill(self):
        """End the process here and now."""
        self.store.dead = True
        if self.group is not None:
            self.group.create_task(_die(), name="manager.killed")

    @property
    def alive(self):
        return self.started.is_set() and not self.ended.is_set() and not self.store.dead

    async def serve(self, question):
        """Answer somebody outside; the process may die over it.

        Raises:
            ServerUnavailableError: It did, or was dead before.
        """
        if not self.alive:
            raise ServerUnavailableError("the manager is not there")
        answer = asyncio.get_running_loop().create_future()
        self.group.create_task(_work(question, answer), name="manager.answer")
        return await answer

    def let_in(self, node_id, handlers, there, back):
        """Serve a new session, and return the agent's end of it.

        Raises:
            SessionLostError: The manager is not there.
        """
        if not self.alive:
            raise SessionLostError("the manager is not there")
        names = names_of(Identity(cluster=CLUSTER, node_id=node_id, role=Role.AGENT))
        session = RemoteSession(self.reception, names, node_id)
        first, second = pair(handlers, session.offer, self.clock, there=there, back=back)
        self.group.create_task(_serve(session, second), name=f"session.{node_id}")
        return first


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
