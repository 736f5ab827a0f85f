"""The platform's own state: where it is kept, a copy of it, and whether it is whole."""

import asyncio
import pathlib
import tempfile

from pilothouse.errors import InvalidRequestError, PilothouseError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import CheckResult, StoreStatus
from pilothouse.model.states import Writer
from pilothouse.server.api.context import Context, Keeping, Replicated
from pilothouse.server.api.route import BYTES, Call, NoQuery, Route, Stream, Write
from pilothouse.store.interface import Leader, Staleness

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
)
