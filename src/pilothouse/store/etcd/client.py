"""etcd's wire protocol: one call at a time, over any of several endpoints, within a deadline of ours.

Knows nothing of what is kept. A call is sent again, to the next endpoint, until somebody answers or the deadline has
come; so only requests that may be repeated are sent: reads, and transactions that compare before they write.
"""

import pathlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
import msgspec

from pilothouse.clock import Clock
from pilothouse.errors import (
    InvalidRequestError,
    PilothouseError,
    QuorumLostError,
    StoreFullError,
    StoreUnavailableError,
    TooLargeError,
)
from pilothouse.store.etcd import rpc_pb2 as rpc

Q = TypeVar("Q")
A = TypeVar("A")

ATTEMPT_SECONDS = 0.7
"""After so long without an answer another endpoint is asked; a slow answer costs a repetition and nothing else."""

_PAUSE_SECONDS = 0.05
_OPTIONS = (
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.use_local_subchannel_pool", 1),
)


class CompactedError(StoreUnavailableError):
    """What was asked for is of a past that is not kept any more."""


class LeaseGoneError(StoreUnavailableError):
    """The lease ran out or was taken back."""


class TooManyOperationsError(TooLargeError):
    """The transaction has more operations than the members accept."""


class Security(msgspec.Struct, frozen=True):
    """How both ends prove who they are, as PEM.

    Attributes:
        server_name: What the members' certificates must be for, whatever their address.
    """

    authorities: bytes
    certificate: bytes
    key: bytes
    server_name: str

    def __repr__(self) -> str:
        """Leave the key out, so that no log line can hold it."""
        return f"Security(server_name={self.server_name!r})"


def read_security(
    authorities: pathlib.Path, certificate: pathlib.Path, key: pathlib.Path, server_name: str
) -> Security:
    """Return what the three files hold now."""
    return Security(authorities.read_bytes(), certificate.read_bytes(), key.read_bytes(), server_name)


@dataclass(frozen=True)
class Method(Generic[Q, A]):
    """A method with one question and one answer."""

    path: str
    answer: type[A]


RANGE = Method[rpc.RangeRequest, rpc.RangeResponse]("/etcdserverpb.KV/Range", rpc.RangeResponse)
TXN = Method[rpc.TxnRequest, rpc.TxnResponse]("/etcdserverpb.KV/Txn", rpc.TxnResponse)
LEASE_GRANT = Method[rpc.LeaseGrantRequest, rpc.LeaseGrantResponse](
    "/etcdserverpb.Lease/LeaseGrant", rpc.LeaseGrantResponse
)
LEASE_REVOKE = Method[rpc.LeaseRevokeRequest, rpc.LeaseRevokeResponse](
    "/etcdserverpb.Lease/LeaseRevoke", rpc.LeaseRevokeResponse
)
LEASE_KEEP_ALIVE = Method[rpc.LeaseKeepAliveRequest, rpc.LeaseKeepAliveResponse](
    "/etcdserverpb.Lease/LeaseKeepAlive", rpc.LeaseKeepAliveResponse
)
MEMBER_ADD = Method[rpc.MemberAddRequest, rpc.MemberAddResponse](
    "/etcdserverpb.Cluster/MemberAdd", rpc.MemberAddResponse
)
MEMBER_REMOVE = Method[rpc.MemberRemoveRequest, rpc.MemberRemoveResponse](
    "/etcdserverpb.Cluster/MemberRemove", rpc.MemberRemoveResponse
)
MEMBER_LIST = Method[rpc.MemberListRequest, rpc.MemberListResponse](
    "/etcdserverpb.Cluster/MemberList", rpc.MemberListResponse
)
MEMBER_PROMOTE = Method[rpc.MemberPromoteRequest, rpc.MemberPromoteResponse](
    "/etcdserverpb.Cluster/MemberPromote", rpc.MemberPromoteResponse
)
STATUS = Method[rpc.StatusRequest, rpc.StatusResponse]("/etcdserverpb.Maintenance/Status", rpc.StatusResponse)
ALARM = Method[rpc.AlarmRequest, rpc.AlarmResponse]("/etcdserverpb.Maintenance/Alarm", rpc.AlarmResponse)
_WATCH = "/etcdserverpb.Watch/Watch"
_STREAMED = frozenset({LEASE_KEEP_ALIVE.path})


def plain() -> Security | None:
    """Return that nobody proves anything: for members on the loopback device, in tests."""
    return None


class Endpoint:
    """One member, and the connection to it, which is made anew when the certificates have changed."""

    def __init__(self, address: str, security: Callable[[], Security | None]) -> None:
        self.address = address
        self._security = security
        self._proved: Security | None = None
        self._channel: Any = None  # grpc has no types

    async def call(self, method: Method[Q, A], request: Q, seconds: float) -> A:
        """Ask once.

        Raises:
            grpc.aio.AioRpcError: There was no answer, or it was a refusal.
        """
        channel = self.channel()
        decode = method.answer.FromString  # type: ignore[attr-defined]  # every message has it
        if method.path not in _STREAMED:
            ask = channel.unary_unary(method.path, _encoded, decode)
            answer: A = await ask(request, timeout=seconds)
            return answer
        stream = channel.stream_stream(method.path, _encoded, decode)(timeout=seconds)
        try:
            await stream.write(request)
            found = await stream.read()
            if found is grpc.aio.EOF:
                nothing = grpc.aio.Metadata()
                raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, "the stream ended")
            return found  # type: ignore[no-any-return]  # grpc has no types
        finally:
            stream.cancel()

    def channel(self) -> Any:  # noqa: ANN401 - grpc has no types
        """Return the connection; it is made when it is first used."""
        if self._channel is None:
            self._proved = self._security()
            self._channel = self._connect(self._proved)
        return self._channel

    async def refresh(self) -> None:
        """Have the next call connect anew if the certificates are others than those of this connection."""
        if self._channel is not None and self._security() != self._proved:
            await self.close()

    async def close(self) -> None:
        """Close the connection; calls under way end."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    def _connect(self, proved: Security | None) -> Any:  # noqa: ANN401 - grpc has no types
        target = self.address.removeprefix("https://").removeprefix("http://")
        if proved is None:
            return grpc.aio.insecure_channel(target, options=_OPTIONS)
        credentials = grpc.ssl_channel_credentials(proved.authorities, proved.key, proved.certificate)
        name = ("grpc.ssl_target_name_override", proved.server_name)
        return grpc.aio.secure_channel(target, credentials, options=(*_OPTIONS, name))


class EtcdClient:
    """A client of one etcd cluster.

    Args:
        endpoints: URLs or HOST:PORT of members; the first is asked first.
        clock: For deadlines.
        security: Read whenever a connection is made.
    """

    def __init__(self, endpoints: Sequence[str], clock: Clock, security: Callable[[], Security | None] = plain) -> None:
        if not endpoints:
            raise InvalidRequestError("no member of the store is known; name at least one as HOST:PORT")
        self.clock = clock
        self._security = security
        self._endpoints = [Endpoint(address, security) for address in endpoints]
        self._current = self._endpoints[0]
        self._closed = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """The members that are known."""
        return tuple(each.address for each in self._endpoints)

    async def use(self, addresses: Sequence[str]) -> None:
        """Know these members from now on."""
        gone = [each for each in self._endpoints if each.address not in addresses]
        known = {each.address: each for each in self._endpoints}
        self._endpoints = [known.get(address) or Endpoint(address, self._security) for address in addresses]
        if self._current in gone:
            self._current = self._endpoints[0]
        for each in gone:
            await each.close()

    async def call(self, method: Method[Q, A], request: Q, seconds: float, attempt: float = ATTEMPT_SECONDS) -> A:
        """Ask until somebody answers.

        Args:
            method: What to call.
            request: May be carried out more than once.
            seconds: When to give up.
            attempt: How long one member may take.

        Raises:
            QuorumLostError: Nobody answered; a change may or may not have happened.
            StoreFullError: The members take no more; it did not happen.
            TooLargeError, CompactedError, LeaseGoneError: The answer says so.
        """
        deadline = self.clock.monotonic() + seconds
        said, tries = "", 0
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        while (left := deadline - self.clock.monotonic()) > 0:
            endpoint = self._current
            tries += 1
            try:
                return await endpoint.call(method, request, min(left, attempt))
            except grpc.aio.AioRpcError as error:
                _judge(error, repeated=tries > 1)
                said = f"{endpoint.address}: {error.details() or error.code().name}"
            await self.turn_from(endpoint)
            if tries % len(self._endpoints) == 0:
                await self.clock.sleep(min(_PAUSE_SECONDS, left))
        raise QuorumLostError(
            f"the store did not answer within {seconds:g} s ({said or 'no member could be asked'}): fewer than half of "
            "its members can be reached. It goes on by itself when they are back"
        )

    async def call_at(self, address: str, method: Method[Q, A], request: Q, seconds: float) -> A:
        """Ask one member, once.

        Raises:
            StoreUnavailableError: It does not answer.
        """
        endpoint = next((each for each in self._endpoints if each.address == address), None)
        own = endpoint or Endpoint(address, self._security)
        try:
            return await own.call(method, request, seconds)
        except grpc.aio.AioRpcError as error:
            _judge(error, repeated=False)
            raise StoreUnavailableError(f"{address} does not answer: {error.details()}") from error
        finally:
            if endpoint is None:
                await own.close()

    async def watch(self, key: bytes, end: bytes, start: int) -> AsyncIterator[rpc.WatchResponse]:
        """Yield what the member says of changes in [key, end) from revision *start* on, until it says no more.

        Raises:
            CompactedError: The changes since *start* are not kept any more.
            StoreUnavailableError: The stream broke; the next watch goes to another member.
        """
        endpoint = self._current
        stream = endpoint.channel().stream_stream(_WATCH, _encoded, rpc.WatchResponse.FromString)()
        try:
            asked = rpc.WatchCreateRequest(key=key, range_end=end, start_revision=start, progress_notify=True)
            await stream.write(rpc.WatchRequest(create_request=asked))
            async for answer in stream:
                if answer.compact_revision:
                    raise CompactedError(f"changes before revision {answer.compact_revision} are not kept any more")
                if answer.canceled:
                    raise StoreUnavailableError(f"{endpoint.address} ended the watch: {answer.cancel_reason}")
                yield answer
        except grpc.aio.AioRpcError as error:
            await self.turn_from(endpoint)
            raise StoreUnavailableError(f"the watch at {endpoint.address} broke: {error.details()}") from error
        finally:
            stream.cancel()

    async def turn_from(self, endpoint: Endpoint | None = None) -> None:
        """Ask the next member from now on, if *endpoint* (or whichever) is the one that is asked."""
        current = self._current
        if endpoint is None or endpoint is current:
            place = self._endpoints.index(current) if current in self._endpoints else -1
            self._current = self._endpoints[(place + 1) % len(self._endpoints)]
            await current.refresh()

    async def close(self) -> None:
        """Close every connection; whatever is asked from now on is refused."""
        self._closed = True
        for each in self._endpoints:
            await each.close()


_TOO_LARGE = "a transaction is too large for the store; change less at a time"
_REFUSALS: tuple[tuple[str, type[PilothouseError], str], ...] = (
    (
        "space exceeded",
        StoreFullError,
        "the members of the store have no more room: raise their quota or compact and defragment them, then clear the "
        "alarm; `pilothouse doctor` says which",
    ),
    ("too many operations", TooManyOperationsError, "a transaction changes too many objects for the store"),
    ("request is too large", TooLargeError, _TOO_LARGE),
    ("larger than max", TooLargeError, _TOO_LARGE),
    ("has been compacted", CompactedError, "what was asked for is not kept any more"),
    ("lease not found", LeaseGoneError, "the lease is over"),
    ("member not found", StoreUnavailableError, "the store has no such member"),
)
_FINAL = frozenset(
    {
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)


def _encoded(message: Any) -> bytes:  # noqa: ANN401 - protobuf has no types
    encoded: bytes = message.SerializeToString()
    return encoded


def _judge(error: grpc.aio.AioRpcError, *, repeated: bool) -> None:
    """Raise what a refusal means; return if another member may answer.

    Args:
        error: What grpc raised.
        repeated: The request may have been carried out at an earlier try, so nothing may be said that denies it.
    """
    details = error.details() or ""
    for words, kind, meaning in _REFUSALS:
        if words in details:
            if repeated and kind is StoreFullError:
                raise StoreUnavailableError(f"the commit was not confirmed: {meaning}") from error
            raise kind(f"{meaning} ({details})") from error
    if error.code() in _FINAL:
        raise StoreUnavailableError(f"the store refuses what this manager asks: {details}") from error
