"""Which store this machine's server uses, opened: a file of its own, or the members it shares with other managers.

The file wins while it is there: moving the state somewhere else ends with taking the file away, so at every moment
exactly one of both is the place.
"""

import functools
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from pilothouse.cli import membership, share
from pilothouse.cli.share import MEMBER as MEMBER
from pilothouse.clock import Clock
from pilothouse.errors import ConflictError, PilothouseError, StoreUnavailableError
from pilothouse.ids import Ids
from pilothouse.log import event
from pilothouse.model.base import Value
from pilothouse.server.api.context import Keeping
from pilothouse.server.cluster.revoked import Tell
from pilothouse.store.directory import FILE, RESTORED
from pilothouse.store.interface import Election, Store
from pilothouse.store.sqlite import SQLiteStore
from pilothouse.store.terms import LocalElection
from pilothouse.supervise import Loop

REPLACED_MEMBER = "etcd.replaced"
"""What a restore took the place of."""

LOOK_SECONDS = 2.0
OPEN_SECONDS = 3.0
"""A member that was just started needs some of them until it answers."""
_REFRESH_LOOKS = 10


class Moved(Value, frozen=True, kw_only=True):
    """What was moved from one store into another."""

    revision: int
    objects: int
    commits: int


def _tells_nobody(_serials: tuple[str, ...]) -> bool:
    return False


@dataclass(frozen=True)
class Backend:
    """A store that is open.

    Attributes:
        name: "sqlite" or "etcd".
        shared: Other managers have it too, so this one may be without a term for long.
        loops: What must run as long as it is open.
        revoke: Tells this machine's member which certificates open it no more.
    """

    name: str
    store: Store
    election: Election
    keeping: Keeping
    shared: bool = False
    loops: Mapping[str, Loop] = field(default_factory=dict)
    revoke: Tell = _tells_nobody


def uses_members(data: pathlib.Path) -> bool:
    """Whether the state of a data directory is kept by members shared with other managers.

    Raises:
        StoreUnavailableError: A restore into a member was interrupted, and the state is nowhere.
    """
    if any((data / name).exists() for name in (FILE, RESTORED)):
        return False
    if share.configured(data):
        return True
    if (data / REPLACED_MEMBER).exists():
        raise StoreUnavailableError(
            f"a restore into {data / MEMBER} was interrupted: repeat it, or rename {REPLACED_MEMBER} back to {MEMBER}"
        )
    return False


async def open_backend(data: pathlib.Path, clock: Clock, ids: Ids, environment: Mapping[str, str]) -> Backend:
    """Open the store of a data directory, making one if there is none; start this machine's member if it has one.

    Raises:
        QuorumLostError: Most members do not answer, and this machine's knows nothing to begin with.
        StoreUnavailableError: It cannot be opened.
        StoreCorruptError: It is damaged.
        ConflictError: This machine joined a cluster as a manager and has no share of its state yet.
    """
    own = any((data / name).exists() for name in (FILE, RESTORED))
    if not own and membership.load(data) is not None and not share.complete(data):
        raise ConflictError(
            "this machine joined a cluster and has no share of its state yet: start its agent (`pilothouse agent "
            "start`), and it becomes a manager by itself once it is approved; `pilothouse agent status` says how far "
            "it is"
        )
    if not uses_members(data):
        store = await SQLiteStore.open(data, clock)
        return Backend("sqlite", store, LocalElection(store), store)
    return await _open_members(data, clock, ids, environment)


async def _open_members(data: pathlib.Path, clock: Clock, ids: Ids, environment: Mapping[str, str]) -> Backend:
    # Imported here because one host need not pay for the library: a tenth of a second at each start.
    from pilothouse.store.etcd.election import EtcdElection  # noqa: PLC0415
    from pilothouse.store.etcd.keeping import EtcdKeeping  # noqa: PLC0415
    from pilothouse.store.etcd.member import Member, client_of, find_binary  # noqa: PLC0415
    from pilothouse.store.etcd.revocations import keep  # noqa: PLC0415
    from pilothouse.store.etcd.store import EtcdStore  # noqa: PLC0415
    from pilothouse.store.etcd.turns import Turns  # noqa: PLC0415

    member = Member(data / MEMBER, find_binary(environment), clock)
    running = await member.ensure()
    event("info", "store.member_runs", pid=running.pid, directory=str(member.directory))
    client = client_of(member, clock)
    store = await EtcdStore.open(client, clock, ids, seconds=OPEN_SECONDS, old=True)
    election = EtcdElection(store, clock, ids)
    keeping = EtcdKeeping(store, election)
    turns = Turns(client, store.layout, member, clock)

    async def attend() -> None:
        """Have the member run, and know where the others are."""
        looks, known = 0, running
        while True:
            store.check_alive()
            try:
                if (now := await member.ensure()) != known:
                    event("warning", "store.member_restarted", pid=now.pid)
                    known = now
                await turns.look()
                if looks % _REFRESH_LOOKS == 0:
                    await _refresh()
                looks += 1
            except PilothouseError as error:
                event("warning", "store.member_trouble", error=str(error))
            await clock.sleep(LOOK_SECONDS)

    async def _refresh() -> None:
        settings = member.settings
        found = [url for each in await keeping.members() for url in each.clients[:1]]
        if settings is None or not found:
            return
        own = settings.url(settings.client)
        others = tuple(sorted(url for url in found if url != own))
        if others != settings.others:
            member.configure(msgspec.structs.replace(settings, others=others))
        await client.use([own, *others])

    return Backend(
        "etcd",
        store,
        election,
        keeping,
        shared=True,
        loops={"store-member": attend},
        revoke=functools.partial(keep, member.directory, clock=clock),
    )
