"""Who leads, on etcd: a key that lives as long as its owner's lease, and an epoch that every commit of a term compares.

The lease only decides when another may stand. What makes it safe is the epoch: winning raises it, and from then on
every commit of an earlier term fails, whatever its author believes. Nobody relies on a lease being over, or not.
"""

import asyncio

import msgspec

from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError, StoreUnavailableError
from pilothouse.ids import Ids
from pilothouse.log import event
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.batch import Fence, compare_place, put, read
from pilothouse.store.etcd.client import (
    LEASE_GRANT,
    LEASE_KEEP_ALIVE,
    LEASE_REVOKE,
    TXN,
    LeaseGoneError,
)
from pilothouse.store.etcd.layout import after
from pilothouse.store.etcd.store import EtcdStore, TermStore
from pilothouse.store.interface import Leader, Leadership, Store

LEASE_SECONDS = 2
"""After so long without a sign of the leader another may lead."""

DOUBT_SECONDS = 3.5
"""After so long without an answer to its own signs a leader takes its term for over.

An agent that hears of such a leader alone lets go of its work 12 s later (its lease of 8 s and 4 s to stop). A new
leader begins 2 s after the last sign of the old one at the earliest, and waits 14 s for the agent: 3.5 + 12 < 2 + 14.
"""

HUNG_SECONDS = 10.0
"""A leader whose commits are not confirmed for so long steps down: its disk hangs, and another's may not."""

_RENEW_SECONDS = 0.5
_LOOK_SECONDS = 0.5
_CALL_SECONDS = 1.5


class Claim(msgspec.Struct, frozen=True):
    """The value of the keys about who leads."""

    name: str
    epoch: int
    token: str = ""


_CLAIM = msgspec.json.Decoder(Claim)


def encode_claim(claim: Claim) -> bytes:
    """Return the value of a key about who leads."""
    return msgspec.json.encode(claim)


def decode_claim(value: bytes) -> Claim:
    """Return what `encode_claim` wrote."""
    return _CLAIM.decode(value)


class EtcdTerm:
    """Keeps `store.interface.Leadership`."""

    def __init__(self, store: EtcdStore, claim: Claim, fence: Fence, lease: int, began: float) -> None:
        self.epoch = claim.epoch
        self.store: Store = TermStore(store, fence)
        self._own = store
        self._claim = claim
        self._fence = fence
        self._lease = lease
        self._renewed = began
        # The same moment on the clock that counts what was slept through, or a little earlier.
        self._shown = store.client.clock.boottime() - (store.client.clock.monotonic() - began)
        self._over = asyncio.Event()
        fence.told = self._over.set
        self._upkeep = store.attend(self._attended())

    async def over(self) -> None:
        await self._over.wait()

    def shown(self) -> bool:
        return not self._fence.why and self._own.client.clock.boottime() - self._shown < DOUBT_SECONDS

    async def resign(self) -> None:
        self._fence.end("it resigned")
        self._upkeep.cancel()
        await self._let_go()

    async def _let_go(self) -> None:
        try:
            await self._own.client.call(LEASE_REVOKE, rpc.LeaseRevokeRequest(ID=self._lease), _CALL_SECONDS)
        except StoreUnavailableError as error:
            event("info", "term.lease_left", epoch=self.epoch, error=str(error), message="it runs out by itself")

    async def _attended(self) -> None:
        try:
            await self._keep()
        finally:
            self._fence.end("the store was closed")

    async def _keep(self) -> None:
        """Renew the lease and look whether the term goes on, until it does not."""
        clock = self._own.client.clock
        while not self._fence.why:
            sent, asked = clock.monotonic(), clock.boottime()
            try:
                if await self._renew():
                    self._renewed, self._shown = sent, asked
                else:
                    self._fence.end("its lease ran out")
            except LeaseGoneError:
                self._fence.end("its lease ran out")
            except StoreUnavailableError as error:
                event("warning", "term.not_renewed", epoch=self.epoch, error=str(error))
            except PilothouseError as error:
                self._fence.end(str(error))
            if clock.monotonic() - self._renewed > DOUBT_SECONDS:
                self._fence.end(f"nobody confirmed its lease for {DOUBT_SECONDS:g} s")
            if self._own.failing_seconds > HUNG_SECONDS:
                self._fence.end(f"no commit was confirmed for {HUNG_SECONDS:g} s")
            if not self._fence.why:
                await clock.sleep(_RENEW_SECONDS - (clock.monotonic() - sent))
        event("warning", "term.over", epoch=self.epoch, reason=self._fence.why)
        await self._let_go()

    async def _renew(self) -> bool:
        """Send a sign; tell whether this manager leads still, by its lease and by its key."""
        client, layout = self._own.client, self._own.layout
        asked = rpc.LeaseKeepAliveRequest(ID=self._lease)
        if (await client.call(LEASE_KEEP_ALIVE, asked, _CALL_SECONDS)).TTL <= 0:
            return False
        # Members of some versions confirm a lease that was taken back.
        terms = await client.call(TXN, rpc.TxnRequest(success=[read(layout.leader)]), _CALL_SECONDS)
        found = terms.responses[0].response_range.kvs
        return bool(found) and decode_claim(found[0].value) == self._claim


class EtcdElection:
    """Keeps `store.interface.Election`.

    Args:
        store: Of the cluster.
        clock: Paces candidates.
        ids: Tells candidates apart.
    """

    def __init__(self, store: EtcdStore, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def lead(self, name: str) -> Leadership:
        while True:
            leader, epoch = await self._look()
            if leader is None:
                term = await self._stand(name, epoch)
                if term is not None:
                    event("info", "term.began", epoch=term.epoch, name=name)
                    return term
            else:
                await self._until_gone(leader)

    async def leader(self) -> Leader | None:
        found, _ = await self._look()
        if found is None:
            return None
        claim = decode_claim(found.value)
        return Leader(claim.name, claim.epoch)

    async def _look(self) -> tuple[rpc.KeyValue | None, rpc.KeyValue | None]:
        """Return the keys of the leader and of the epoch."""
        layout = self._store.layout
        asked = rpc.TxnRequest(success=[read(layout.terms, after(layout.terms))])
        answer = await self._store.client.call(TXN, asked, _CALL_SECONDS)
        found = {each.key: each for each in answer.responses[0].response_range.kvs}
        return found.get(layout.leader), found.get(layout.epoch)

    async def _stand(self, name: str, epoch: rpc.KeyValue | None) -> EtcdTerm | None:
        """Try to begin a term; return None if somebody else did."""
        client, layout = self._store.client, self._store.layout
        last = 0 if epoch is None else decode_claim(epoch.value).epoch
        claim = Claim(name, last + 1, self._ids.new())
        began = self._clock.monotonic()
        lease = (await client.call(LEASE_GRANT, rpc.LeaseGrantRequest(TTL=LEASE_SECONDS), _CALL_SECONDS)).ID
        value = encode_claim(claim)
        asked = rpc.TxnRequest(
            compare=[
                compare_place(layout.leader, 0),
                compare_place(layout.epoch, 0 if epoch is None else epoch.mod_revision),
            ],
            success=[put(layout.leader, value, lease), put(layout.epoch, value)],
            failure=[read(layout.leader)],
        )
        answer = await client.call(TXN, asked, _CALL_SECONDS)
        if answer.succeeded:
            place = answer.header.revision
        else:
            # An earlier try, whose answer was lost, may have won.
            found = answer.responses[0].response_range.kvs
            if not found or found[0].value != value:
                await client.call(LEASE_REVOKE, rpc.LeaseRevokeRequest(ID=lease), _CALL_SECONDS)
                return None
            place = found[0].mod_revision
        # What the term reads at first must hold whatever was written before it.
        await self._store.catch_up()
        return EtcdTerm(self._store, claim, Fence(place), lease, began)

    async def _until_gone(self, leader: rpc.KeyValue) -> None:
        """Return once the leader's key may be gone: the watch says so, or some time has passed."""
        key = self._store.layout.leader
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                async for answer in self._store.client.watch(key, b"", leader.mod_revision + 1):
                    if any(each.type == rpc.Event.DELETE for each in answer.events):
                        return
        except TimeoutError:
            return
        except StoreUnavailableError as error:
            event("debug", "election.watch_ended", error=str(error))
            await self._clock.sleep(_RENEW_SECONDS / 5)
