"""The platform's own state: a copy of it, and whether it is whole."""

import asyncio
import pathlib
import tempfile

from pilothouse.errors import InvalidRequestError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import CheckResult
from pilothouse.model.states import Writer
from pilothouse.server.api.context import Context, Keeping
from pilothouse.server.api.route import BYTES, Call, NoQuery, Route, Stream, Write

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
)
