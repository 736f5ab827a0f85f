"""The platform's format: who holds it back, and raising it without waiting."""

from msgspec.structs import replace

from pilothouse.control.nodes.raising import holders, number_now
from pilothouse.errors import NotYetError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.cluster_api import FormatView
from pilothouse.model.format import FORMAT, FORMAT_ID, Format
from pilothouse.model.states import Writer
from pilothouse.server.api.route import Call, NoQuery, Route
from pilothouse.server.upgrading import format_view
from pilothouse.store.interface import WriteTx


async def read(call: Call[NoQuery, None]) -> FormatView:
    """Return the format, and which version every process runs."""
    return await call.context.store.view(format_view)


async def raise_now(call: Call[NoQuery, None]) -> FormatView:
    """Ask not to wait with the next format; the leading manager raises it. There is no way back but a backup.

    Raises:
        NotYetError: Some process does not know it.
    """
    now = call.context.clock.now()

    def write(tx: WriteTx) -> FormatView:
        number = number_now(tx)
        if number >= FORMAT:
            return format_view(tx)
        if held := holders(tx, number + 1):
            raise NotYetError(f"the format cannot be raised to {number + 1}: {'; '.join(held)}")
        found = tx.get(Format, FORMAT_ID) or Format(id=FORMAT_ID, number=number)
        tx.put(replace(found, asked_at=now, asked_by=str(call.principal)))
        record(
            tx,
            Entry(
                at=now,
                principal=str(call.principal),
                action="format.raise",
                object="format/format",
                summary=f"from {number} to {number + 1}, without waiting",
                request_id=call.request_id,
            ),
        )
        return format_view(tx)

    return await call.context.store.update(Writer.API, write)


ROUTES = (
    Route(
        method="GET",
        path="/v1/format",
        name="format.read",
        summary="The platform's format, which version every process runs, and what holds the next format back",
        permission=Permission.CLUSTER_READ,
        handler=read,
        answer=FormatView,
    ),
    Route(
        method="POST",
        path="/v1/format/raise",
        name="format.raise",
        summary="Have the format raised without waiting; older versions cannot run here any more",
        permission=Permission.CLUSTER_ADMIN,
        handler=raise_now,
        answer=FormatView,
        errors=(NotYetError,),
    ),
)
