"""What a manager of a cluster listens on: opened at its start, or as soon as its platform is made a cluster.

Part of the composition root; the doors live and die with the term.
"""

import asyncio
import pathlib
import ssl

from pilothouse.cli import membership
from pilothouse.cli.membership import Membership
from pilothouse.clock import Clock
from pilothouse.errors import InvalidRequestError
from pilothouse.link.credentials import Credentials
from pilothouse.link.tls import server_context
from pilothouse.log import event
from pilothouse.model.addresses import SESSIONS_OFFSET, split_address
from pilothouse.model.cluster import Role
from pilothouse.server.cluster.founding import Founded
from pilothouse.server.cluster.revoked import Tell
from pilothouse.server.listen import local_host, read_token
from pilothouse.server.manager import Manager
from pilothouse.server.sessions.listener import SessionListener
from pilothouse.server.sessions.reception import Reception
from pilothouse.supervise import run_term


class Doors:
    """The doors of one manager.

    Attributes:
        lost: Set once this machine is no manager any more.
        managers: Those that are, from then on: "HOST:PORT" of their listeners for agents.
    """

    def __init__(
        self,
        data: pathlib.Path,
        clock: Clock,
        token_file: pathlib.Path | None = None,
        revoke: Tell = lambda _serials: False,
    ) -> None:
        """Open nothing yet.

        Args:
            data: The data directory.
            clock: Times sessions.
            token_file: Holds the token of programs that call the API over TCP, if they may.
            revoke: Tells this machine's member of the store which certificates open it no more.
        """
        self._data = data
        self._token_file = token_file
        self._revoke = revoke
        self._clustered = asyncio.Event()
        self._clock = clock
        self._sessions: SessionListener | None = None
        self._reception: Reception | None = None
        self._leader = ""
        self.lost = asyncio.Event()
        self.managers: tuple[str, ...] = ()
        if membership.load(data) is not None:
            self._clustered.set()

    def founded(self, made: Founded) -> None:
        """Remember that this machine is a manager now, and open the doors."""
        membership.save(
            self._data,
            Membership(
                role=Role.MANAGER,
                node_id=made.member.id,
                cluster=made.cluster,
                managers=(made.member.sessions,),
                advertise=made.member.api,
            ),
        )
        self._clustered.set()

    def lead(self, reception: Reception) -> None:
        """Let agents in to *reception* from now on, which is of the term in which this manager leads."""
        self._reception, self._leader = reception, ""
        self._tell()

    def follow(self, leader: str = "") -> None:
        """Send agents to *leader*, "HOST:PORT" of its listener for them; "" if it is not known."""
        self._reception, self._leader = None, leader
        self._tell()

    async def run(self, manager: Manager) -> None:
        """Wait until this machine is in a cluster, open its doors and keep its certificate young; for ever.

        Raises:
            InvalidRequestError: A port is taken, or a file cannot be used.
        """
        await self._clustered.wait()
        known = membership.load(self._data)
        if known is None:
            raise InvalidRequestError(f"{self._data / membership.FILE} was taken away while the server ran")
        credentials = Credentials(self._data)
        host, port = split_address(known.advertise)
        where = local_host(host)
        token = None if self._token_file is None else read_token(self._token_file)
        context = server_context(credentials, anonymous=True)
        await manager.listener.open_cluster(where, port, context, manager.allow_list, token)
        await self._open_sessions(server_context(credentials), where, port + SESSIONS_OFFSET)
        try:
            await run_term({**manager.own_loops(credentials, self._lose, self._revoke), "sessions": self._listen})
        finally:
            self._close_sessions()

    def _lose(self, managers: tuple[str, ...]) -> None:
        self.managers = managers
        self.lost.set()

    async def _open_sessions(self, context: ssl.SSLContext, host: str, port: int) -> None:
        sessions = SessionListener(context, self._clock)
        try:
            await sessions.open(host, port)
        except OSError as error:
            raise InvalidRequestError(
                f"cannot listen for agents on port {port} of {host or 'this machine'}: {error.strerror or error}; "
                "choose another one with --advertise"
            ) from error
        event("info", "sessions.listening", host=host, port=port)
        self._sessions = sessions
        self._tell()

    async def _listen(self) -> None:
        if self._sessions is not None:
            await self._sessions.run()

    def _close_sessions(self) -> None:
        if self._sessions is not None:
            self._sessions.close()
            self._sessions = None

    def _tell(self) -> None:
        if self._sessions is None:
            return
        if self._reception is not None:
            self._sessions.lead(self._reception)
        else:
            self._sessions.follow(self._leader)
