"""What a manager of a cluster listens on: opened at its start, or as soon as its platform is made a cluster.

Part of the composition root; the doors live and die with the term.
"""

import asyncio
import pathlib

from pilothouse.cli import membership
from pilothouse.cli.membership import Membership
from pilothouse.errors import InvalidRequestError
from pilothouse.link.credentials import Credentials
from pilothouse.link.tls import server_context
from pilothouse.model.addresses import split_address
from pilothouse.model.cluster import Role
from pilothouse.server.cluster.founding import Founded
from pilothouse.server.listen import read_token
from pilothouse.server.manager import Manager
from pilothouse.supervise import run_term


class Doors:
    """The doors of one term."""

    def __init__(self, data: pathlib.Path, token_file: pathlib.Path | None = None) -> None:
        self._data = data
        self._token_file = token_file
        self._clustered = asyncio.Event()
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
        token = None if self._token_file is None else read_token(self._token_file)
        context = server_context(credentials, anonymous=True)
        await manager.listener.open_cluster(host, port, context, manager.allow_list, token)
        await run_term(manager.own_loops(credentials))
