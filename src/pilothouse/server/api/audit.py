"""Who did what, newest last."""

from typing import Annotated

import msgspec

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Page
from pilothouse.model.objects import AuditRecord
from pilothouse.server.api.paging import page
from pilothouse.server.api.route import Call, Paged, Route


class AuditQuery(Paged, frozen=True, kw_only=True):
    """Which records are wanted."""

    object: Annotated[str, msgspec.Meta(max_length=300, description='Only about this object, as "KIND/ID"')] = ""
    principal: Annotated[str, msgspec.Meta(max_length=300, description="Only by this principal")] = ""


async def list_records(call: Call[AuditQuery, None]) -> Page[AuditRecord]:
    """Return the records that fit, in the order of their commits."""
    asked = {"object": call.query.object, "principal": call.query.principal}
    wanted = {field: value for field, value in asked.items() if value}
    return await call.context.store.view(lambda tx: page(tx.find(AuditRecord, **wanted), call.query))


ROUTES = (
    Route(
        method="GET",
        path="/v1/audit",
        name="audit.list",
        summary="Who did what, in the order of commits",
        permission=Permission.AUDIT_READ,
        handler=list_records,
        query=AuditQuery,
        answer=Page[AuditRecord],
    ),
)
