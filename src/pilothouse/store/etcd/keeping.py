"""The optional powers of the replicated store: to be copied, examined and looked at, while it runs."""

import asyncio
import pathlib

from pilothouse.errors import PilothouseError, QuorumLostError
from pilothouse.model.api import Finding, StoreMember
from pilothouse.store.backup import write_backup_of
from pilothouse.store.etcd.election import EtcdElection
from pilothouse.store.etcd.install import read_whole
from pilothouse.store.etcd.membership import findings, status
from pilothouse.store.etcd.store import EtcdStore
from pilothouse.store.interface import Leader


class EtcdKeeping:
    """Of one store."""

    def __init__(self, store: EtcdStore, election: EtcdElection) -> None:
        self._store = store
        self._election = election

    async def backup(self, target: pathlib.Path) -> None:
        """Write one snapshot of the whole store to the new file *target*; the same file as of a store on one host.

        Raises:
            InvalidRequestError: *target* exists already.
            QuorumLostError: Most members cannot be reached, so nobody can know what the newest state is.
            StoreCorruptError: It is not what Pilothouse wrote.
        """
        whole, _ = await read_whole(self._store.client, self._store.layout)
        await asyncio.to_thread(write_backup_of, whole, target, self._store.client.clock.now())

    async def check(self) -> str:
        """Return "" if everything in the cluster is whole and is what this manager has in memory, else what is not."""
        try:
            await read_whole(self._store.client, self._store.layout)
            await self._store.catch_up()
        except PilothouseError as error:
            return str(error)
        return ""

    async def members(self) -> tuple[StoreMember, ...]:
        """Return how every member is.

        Raises:
            QuorumLostError: Nobody could be asked.
        """
        return await status(self._store.client)

    async def findings(self) -> tuple[Finding, ...]:
        """Return what `pilothouse doctor` says about the members."""
        try:
            return findings(await self.members())
        except QuorumLostError as error:
            advice = "start etcd's members: each manager runs one"
            return (Finding(level="error", subject="store", message=str(error), advice=advice),)

    async def leader(self) -> Leader | None:
        """Return which manager leads."""
        return await self._election.leader()
