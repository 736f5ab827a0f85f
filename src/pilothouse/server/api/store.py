"""The platform's own state: where it is kept, a copy of it, and whether it is whole."""

import asyncio
import pathlib
import tempfile

import msgspec

from pilothouse.errors import ConflictError, InvalidRequestError, NotFoundError, PilothouseError, PolicyDeniedError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.governance.secrets.seal import KEY_FILE
from pilothouse.model.addresses import member_addresses
from pilothouse.model.api import CheckResult, Page, StoreMember, StoreStatus
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.cluster_api import StoreAdmission
from pilothouse.model.states import Writer
from pilothouse.server.api.context import Context, Keeping, Replicated
from pilothouse.server.api.route import BYTES, Call, NoQuery, Route, Stream, Write
from pilothouse.server.leftovers import owns
from pilothouse.store.interface import Leader, Staleness, WriteTx

CHUNK = 256 * 1024


async def backup(call: Call[NoQuery, None]) -> Stream:
    """Return a consistent copy of the store as one file. Secrets in it are sealed; their key is not in it.

    Raises:
        InvalidRequestError: The store lives in memory only.
    """
    context = call.context
    keeping = _keeping(context)
    entry = Entry(
        at=context.clock.now(),
        principal=str(call.principal),
        action="store.backup",
        object="store/main",
        summary="the whole state was read",
        request_id=call.request_id,
    )
    await context.store.update(Writer.API, lambda tx: record(tx, entry))

    async def run(write: Write) -> None:
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=context.data_directory) as name:
            copy = pathlib.Path(name) / "copy.db"
            await keeping.backup(copy)
            with copy.open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    await write(chunk)

    return Stream(BYTES, run)


async def check(call: Call[NoQuery, None]) -> CheckResult:
    """Return whether the store is whole; a store in memory is."""
    if call.context.keeping is None:
        return CheckResult(ok=True, message="the store lives in memory and has no file to check")
    wrong = await call.context.keeping.check()
    return CheckResult(ok=not wrong, message=wrong or "the store is whole")


async def status(call: Call[NoQuery, None]) -> StoreStatus:
    """Return where the state is, who leads, and how each member is; members that do not answer say so."""
    context = call.context
    revision = await context.store.view(lambda tx: tx.revision)
    stale_since = context.store.stale_since if isinstance(context.store, Staleness) else None
    plain = StoreStatus(kind=context.store_name, revision=revision, stale_since=stale_since)
    if not isinstance(context.keeping, Replicated):
        return plain
    try:
        leader = await context.keeping.leader() or Leader("", 0)
        members = await context.keeping.members()
    except PilothouseError as error:
        return StoreStatus(kind=plain.kind, revision=revision, stale_since=stale_since, message=str(error))
    return StoreStatus(
        kind=plain.kind,
        revision=revision,
        stale_since=stale_since,
        leader=leader.name,
        epoch=leader.epoch,
        members=members,
    )


async def admit(call: Call[NoQuery, None]) -> StoreAdmission:
    """Let the calling manager's own member in, and hand out what a manager needs; asked again, give it its vote.

    Raises:
        PolicyDeniedError: The caller is not an approved manager that shows its certificate.
        ConflictError: The state is not shared yet.
        QuorumLostError: Most members cannot be reached.
    """
    context, principal = call.context, call.principal
    if principal.kind != "manager":
        raise PolicyDeniedError("only a machine that shows a manager's certificate can become a manager")
    if not isinstance(context.keeping, Replicated) or context.data_directory is None:
        raise ConflictError(
            f"the state is in a file of the manager {context.node_id}: `pilothouse store migrate --to etcd` there "
            "moves it to where several managers can share it"
        )
    member = await context.store.view(lambda tx: tx.get(ManagerMember, principal.id))
    if member is None or member.approved_at is None:
        raise PolicyDeniedError(f"{principal.id} is not approved as a manager: pilothouse node approve {principal.id}")
    peer, client = member_addresses(member.api)
    cluster, clients, own, promoted = await context.keeping.admit(principal.id, peer)
    entry = Entry(
        at=context.clock.now(),
        principal=str(principal),
        action="store.admit",
        object=f"node/{principal.id}",
        summary="a member of the store, with its vote" if promoted else "a member of the store that follows",
        request_id=call.request_id,
    )
    await context.store.update(Writer.API, lambda tx: _admitted(tx, principal.id, peer, client, entry))
    key = await asyncio.to_thread((context.data_directory / KEY_FILE).read_bytes)
    return StoreAdmission(cluster=cluster, clients=clients, key=key, promoted=promoted, member=own)


async def dismiss(call: Call[NoQuery, None]) -> Page[StoreMember]:
    """Take a member out that belongs to no manager any more, or has never started; return what was taken out.

    Raises:
        NotFoundError: There is no such member.
        ConflictError: It is a manager's, the state is not shared, or those that are left could not go on.
        QuorumLostError: Most members cannot be reached.
    """
    context, named = call.context, call.path["member"]
    if not isinstance(context.keeping, Replicated):
        raise ConflictError("the state is in a file of this host, and has no members")
    found = next((each for each in await context.keeping.members() if named in {each.id, each.name}), None)
    if found is None:
        raise NotFoundError(f"the store has no member {named[:80]!r}; `pilothouse store status` lists them")
    managers = await context.store.view(lambda tx: tx.find(ManagerMember))
    owner = next((each for each in managers if owns(each, found)), None)
    if owner is not None and found.name:
        raise ConflictError(
            f"the member {named} is the manager {owner.id}'s: `pilothouse node demote {owner.id}` makes that an agent, "
            f"`pilothouse node remove {owner.id}` takes the machine out; both take the member out too"
        )
    gone = await context.keeping.dismiss(found.id)
    entry = Entry(
        at=context.clock.now(),
        principal=str(call.principal),
        action="store.dismiss",
        object=f"storemember/{found.id}",
        summary=f"{found.name or 'never started'}, {', '.join(found.peers)}",
        request_id=call.request_id,
    )
    await context.store.update(Writer.API, lambda tx: record(tx, entry))
    return Page(items=gone)


def _admitted(tx: WriteTx, name: str, peer: str, client: str, entry: Entry) -> None:
    member = tx.get(ManagerMember, name)
    if member is not None:
        tx.put(msgspec.structs.replace(member, peer=f"https://{peer}", client=f"https://{client}"))
    record(tx, entry)


def _keeping(context: Context) -> Keeping:
    if context.keeping is None or context.data_directory is None:
        raise InvalidRequestError("this server keeps its state in memory, so there is nothing to copy")
    return context.keeping


ROUTES = (
    Route(
        method="POST",
        path="/v1/backup",
        name="store.backup",
        summary="A consistent copy of the store, as one file; the key that opens its secrets is not in it",
        permission=Permission.SERVER_ADMIN,
        handler=backup,
        streams=BYTES,
    ),
    Route(
        method="POST",
        path="/v1/check",
        name="store.check",
        summary="Whether the store is whole",
        permission=Permission.SERVER_ADMIN,
        handler=check,
        answer=CheckResult,
    ),
    Route(
        method="GET",
        path="/v1/store",
        name="store.read",
        summary="Where the state is kept, who leads, and how the members of a replicated store are",
        permission=Permission.SERVER_READ,
        handler=status,
        answer=StoreStatus,
    ),
    Route(
        method="POST",
        path="/v1/store/members",
        name="store.admit",
        summary="Let the calling manager's member of the replicated store in; asked again, give it its vote",
        permission=Permission.CLUSTER_ADMIN,
        handler=admit,
        answer=StoreAdmission,
        errors=(ConflictError, PolicyDeniedError),
    ),
    Route(
        method="DELETE",
        path="/v1/store/members/{member}",
        name="store.dismiss",
        summary="Take a member of the replicated store out that belongs to no manager any more, or never started",
        permission=Permission.CLUSTER_ADMIN,
        handler=dismiss,
        answer=Page[StoreMember],
        errors=(ConflictError, NotFoundError),
    ),
)
