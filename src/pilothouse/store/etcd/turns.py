"""Restarts members one after the other: each in its turn, and only while the others can do without it.

Whose turn it is stands in the cluster under a lease, so a turn that is not given back ends by itself.
"""

from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError, QuorumLostError
from pilothouse.log import event
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.batch import compare_place, put
from pilothouse.store.etcd.client import LEASE_GRANT, LEASE_REVOKE, STATUS, TXN, EtcdClient
from pilothouse.store.etcd.layout import Layout
from pilothouse.store.etcd.member import Member
from pilothouse.store.etcd.membership import status, why_not_remove

TURN_SECONDS = 30
"""A member that has not come back by then keeps the others waiting no longer; they look at it before."""

OVERDUE_SECONDS = 120.0
"""Who had no turn for so long takes it: members that do not believe each other any more agree on nothing else."""

_CALL_SECONDS = 2.0
_LOOK_SECONDS = 0.2


class Turns:
    """Of one member."""

    def __init__(self, client: EtcdClient, layout: Layout, member: Member, clock: Clock) -> None:
        self._client = client
        self._key = layout.turn
        self._member = member
        self._clock = clock
        self._since: float | None = None

    async def look(self) -> None:
        """Restart the member if it must be, and it is its turn; else it is looked at again soon."""
        if not self._member.outdated:
            self._since = None
            return
        now = self._clock.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > OVERDUE_SECONDS:
            await self._restart("nobody gave it a turn")
            return
        try:
            await self._in_turn()
        except QuorumLostError as error:
            event("warning", "member.waits", error=str(error))

    async def _in_turn(self) -> None:
        settings = self._member.settings
        members = await status(self._client)
        own = next((each for each in members if settings is not None and each.name == settings.name), None)
        if own is None or why_not_remove(members, own.id):
            # The only member may be restarted whenever that is due: nobody else waits for it.
            if own is not None and len(members) == 1:
                await self._restart("it is the only one")
            return
        lease = (await self._client.call(LEASE_GRANT, rpc.LeaseGrantRequest(TTL=TURN_SECONDS), _CALL_SECONDS)).ID
        try:
            asked = rpc.TxnRequest(
                compare=[compare_place(self._key, 0)], success=[put(self._key, own.name.encode(), lease)]
            )
            if (await self._client.call(TXN, asked, _CALL_SECONDS)).succeeded:
                await self._restart("it is its turn")
                await self._until_back(own.clients[0])
        finally:
            await self._client.call(LEASE_REVOKE, rpc.LeaseRevokeRequest(ID=lease), _CALL_SECONDS)

    async def _restart(self, why: str) -> None:
        event("info", "member.restarts", why=why)
        await self._member.restart()

    async def _until_back(self, url: str) -> None:
        end = self._clock.monotonic() + TURN_SECONDS / 2
        while self._clock.monotonic() < end:
            try:
                await self._client.call_at(url, STATUS, rpc.StatusRequest(), _CALL_SECONDS)
            except PilothouseError:
                await self._clock.sleep(_LOOK_SECONDS)
            else:
                return
