"""The manager, put together: control loops, API and sessions around one store. Knows no agent and no backend."""

import asyncio
import functools
import pathlib
from collections.abc import Callable, Mapping

import msgspec

from pilothouse.clock import Clock
from pilothouse.control.nodes.draining import drain_loops
from pilothouse.control.nodes.liveness import Presence
from pilothouse.control.nodes.raising import Raising
from pilothouse.control.term import loops
from pilothouse.governance.secrets.seal import Vault
from pilothouse.ids import Ids
from pilothouse.link.credentials import Credentials
from pilothouse.model.cluster import ManagerMember
from pilothouse.pulse import pulse
from pilothouse.release.loop import loops as release_loops
from pilothouse.server.api.context import Context, Keeping
from pilothouse.server.api.dispatch import Api
from pilothouse.server.api.routes import ROUTES
from pilothouse.server.cluster.allow_list import AllowList
from pilothouse.server.cluster.founding import Founded
from pilothouse.server.cluster.introducing import Introducing
from pilothouse.server.cluster.revoked import Revoked, Tell
from pilothouse.server.cluster.rotating import Own, Rotating
from pilothouse.server.cluster.standing import Standing
from pilothouse.server.commits import Commits
from pilothouse.server.deploy.noting import Noting
from pilothouse.server.deploy.rollback import restore
from pilothouse.server.listen import Listener
from pilothouse.server.returning import activate
from pilothouse.server.sessions.local import LocalSession
from pilothouse.server.sessions.reception import Reception
from pilothouse.server.sessions.registry import Nodes
from pilothouse.store.interface import Store
from pilothouse.supervise import Loop


class Manager:
    """One manager process's parts.

    Attributes:
        api: The ASGI application.
        listener: Opens and closes the API's sockets.
        nodes: The connected nodes.
        allow_list: Which certificates count.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        vault: Vault,
        data_directory: pathlib.Path | None = None,
        socket: pathlib.Path | None = None,
        keeping: Keeping | None = None,
        store_name: str = "memory",
        node_id: str = "",
        founded: Callable[[Founded], None] = lambda _founded: None,
    ) -> None:
        """Put the parts together; nothing runs before `loops` are run and the listener is opened.

        Args:
            store: Where everything is kept.
            clock: The time.
            ids: Names and chance.
            vault: Seals and opens secrets.
            data_directory: Where the platform keeps its state, for `doctor` and backups.
            socket: The API's Unix socket, for `doctor`.
            keeping: The store's powers to be copied and examined, if it has them.
            store_name: What `info` calls the store.
            node_id: This machine, as a node.
            founded: Told when this platform was made a cluster and this machine has its certificate.
        """
        self._closing = asyncio.Event()
        self._presence = Presence(clock)
        self._commits = Commits()
        self.nodes = Nodes()
        self._context = Context(
            store=store,
            clock=clock,
            ids=ids,
            vault=vault,
            nodes=self.nodes,
            commits=self._commits,
            closing=self._closing,
            started_at=clock.now(),
            keeping=keeping,
            data_directory=data_directory,
            socket=socket,
            store_name=store_name,
            node_id=node_id,
            credentials=None if data_directory is None else Credentials(data_directory),
            founded=founded,
        )
        self.allow_list = AllowList(clock)
        self.api = Api(ROUTES, self._context)
        self.listener = Listener(self.api, self._closing)

    def loops(self, term: Store | None = None) -> Mapping[str, Loop]:
        """Return everything that must run for a manager that leads to work, for `supervise.run_term`; see `leading`."""
        return {**self.leading(term), **self.always()}

    def answer_while(self, shown: Callable[[], bool]) -> None:
        """Answer beats, which renews the leases of nodes, only while *shown* says that this manager leads."""
        self._presence.leads = shown

    def leading(self, term: Store | None = None) -> Mapping[str, Loop]:
        """Return what runs while this manager leads, and nowhere else.

        Args:
            term: The store of the term (`store.interface.Leadership`); the loops write through it alone. Without it
                they write through the manager's own store, for tests of one manager.
        """
        context = self._in_term(term)
        return {
            **loops(context.store, context.clock, context.ids, self._presence),
            **drain_loops(context.store, context.clock, functools.partial(activate, context)),
            **release_loops(context.store, context.clock, functools.partial(restore, context)),
            "format": lambda: pulse("format", context.store, context.clock, self._raising(context)),
            "images": lambda: pulse("images", context.store, context.clock, Noting(context)),
            "authorities": lambda: pulse(
                "authorities", context.store, context.clock, Rotating(context.store, context.clock, context.vault)
            ),
        }

    def always(self) -> Mapping[str, Loop]:
        """Return what runs whether this manager leads or not: what keeps its API and its doors up to date."""
        context = self._context
        return {
            "commits": lambda: self._commits.run(context.store),
            "allow-list": lambda: pulse("allow-list", context.store, context.clock, self.allow_list),
            "introducing": lambda: pulse(
                "introducing", context.store, context.clock, Introducing(context.store, context.node_id)
            ),
        }

    def _raising(self, context: Context) -> Raising:
        async def copy(number: int) -> None:
            if context.keeping is None or context.data_directory is None:
                return
            target = context.data_directory / f"before-format-{number}.backup"
            target.unlink(missing_ok=True)
            await context.keeping.backup(target)

        return Raising(context.store, context.clock, copy)

    def own_loops(
        self,
        credentials: Credentials,
        lost: Callable[[tuple[str, ...]], None] = lambda _managers: None,
        revoke: Tell = lambda _serials: False,
    ) -> Mapping[str, Loop]:
        """Return what keeps this manager's own key, certificate and authorities in step, once it is in a cluster.

        Args:
            credentials: Where they are.
            lost: Called with the other managers once this machine is none any more (`cluster.standing`).
            revoke: Tells this machine's member which certificates open it no more (`cluster.revoked`).
        """
        context = self._context
        standing = Standing(context.store, context.clock, context.vault, credentials, context.node_id, lost)
        own = Own(context.store, context.clock, context.ids, context.vault, credentials, context.node_id)
        return {
            "credentials": lambda: pulse("credentials", context.store, context.clock, own),
            "renewal": own.renewal.run,
            "revoked": lambda: pulse(
                "revoked", context.store, context.clock, Revoked(context.store, context.clock, revoke)
            ),
            "standing": lambda: pulse("standing", context.store, context.clock, standing),
        }

    async def sessions_of(self, name: str) -> str:
        """Return "HOST:PORT" where the manager *name* hears agents, or "" if there is none of that name."""
        found = await self._context.store.view(lambda tx: tx.get(ManagerMember, name))
        return "" if found is None else found.sessions

    def _in_term(self, term: Store | None) -> Context:
        return self._context if term is None else msgspec.structs.replace(self._context, store=term)

    def reception(self, epoch: int, term: Store | None = None) -> Reception:
        """Return where agents over the network have their sessions in one term; run its loops with the others.

        A `sessions.listener.SessionListener` lets agents in to it.

        Args:
            epoch: Of the term.
            term: As for `leading`.
        """
        context = self._in_term(term)
        return Reception(
            store=context.store,
            vault=context.vault,
            clock=context.clock,
            commits=self._commits,
            nodes=self.nodes,
            presence=self._presence,
            epoch=epoch,
        )

    def session(self, node_id: str, term: Store | None = None) -> LocalSession:
        """Return a session for the agent of *node_id*; open it once the agent's services are there.

        Args:
            node_id: The node.
            term: As for `leading`.
        """
        context = self._in_term(term)
        return LocalSession(
            node_id=node_id,
            store=context.store,
            vault=context.vault,
            commits=self._commits,
            nodes=self.nodes,
            presence=self._presence,
        )
