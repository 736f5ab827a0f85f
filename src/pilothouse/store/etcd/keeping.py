"""The optional powers of the replicated store: to be copied, examined and looked at, while it runs."""

import asyncio
import pathlib

from pilothouse.errors import ConflictError, PilothouseError, QuorumLostError
from pilothouse.model.api import Finding, StoreMember
from pilothouse.store.backup import write_backup_of
from pilothouse.store.etcd.election import EtcdElection
from pilothouse.store.etcd.install import read_whole
from pilothouse.store.etcd.membership import add, findings, promote, remove, status, why_not_remove
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

    async def admit(self, name: str, peer: str) -> tuple[dict[str, str], tuple[str, ...], str, bool]:
        """Let the member *name* at "HOST:PORT" *peer* in; asked again once it runs, give it its vote.

        Returns:
            Every member's peer address by name, the URLs of clients, the member's id, and whether it has its vote.

        Raises:
            ConflictError: The members prove nothing to each other, so none can be added from elsewhere; or another has
                that place.
            QuorumLostError: Most members cannot be reached.
        """
        url = f"https://{peer}"
        members = await self.members()
        if any(each.startswith("http://") for member in members for each in member.peers):
            raise ConflictError(
                "the store's members were set up before there was a cluster, and only this machine reaches them: stop "
                "the server, run `pilothouse store migrate --to sqlite`, then `pilothouse store migrate --to etcd`"
            )
        known = next((each for each in members if url in each.peers), None)
        if known is None or not known.name:
            own, promoted = await add(self._store.client, url), False
        elif known.name != name:
            raise ConflictError(f"the member at {peer} is {known.name}'s; remove that node first")
        else:
            own, promoted = known.id, not known.learner or await promote(self._store.client, known.id)
        places = {each.name: each.peers[0].removeprefix("https://") for each in members if each.name}
        return {**places, name: peer}, tuple(each.clients[0] for each in members if each.clients), own, promoted

    async def dismiss(self, name: str, peer: str = "") -> tuple[StoreMember, ...]:
        """Take the members of that name or id, or at "HOST:PORT" *peer*, out; return them. None is fine.

        Raises:
            ConflictError: Those that are left could not go on.
            QuorumLostError: Most members cannot be reached.
        """
        members = await self.members()
        found = [each for each in members if name in {each.name, each.id} or f"https://{peer}" in each.peers]
        for each in found:
            if why := why_not_remove(members, each.id):
                raise ConflictError(f"the store's member {each.name or each.id} stays: {why}")
            await remove(self._store.client, each.id)
            members = tuple(other for other in members if other.id != each.id)
        return tuple(found)
