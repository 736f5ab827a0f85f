"""Recorded permissions to do what the safe defaults forbid."""

from msgspec.structs import replace

from pilothouse.errors import InvalidRequestError, NotFoundError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.governance.policy import check_grant
from pilothouse.model.api import GrantRequest
from pilothouse.model.names import check_app_name, check_key
from pilothouse.model.objects import Grant
from pilothouse.model.states import Writer
from pilothouse.server.api.lists import listing
from pilothouse.server.api.route import Call, NoQuery, Route
from pilothouse.store.interface import WriteTx

MAX_REASON = 1000


async def create(call: Call[NoQuery, GrantRequest]) -> Grant:
    """Record a grant on the caller's word.

    Raises:
        InvalidRequestError: No such kind or value, no reason, or it would have ended already.
    """
    asked, now = call.body, call.context.clock.now()
    check_app_name(asked.app)
    if asked.service:
        check_key("service", asked.service)
    reason = asked.reason.strip()
    if not reason or len(reason) > MAX_REASON:
        raise InvalidRequestError(f"a grant needs a reason of 1 to {MAX_REASON} characters: who needs it, and what for")
    if asked.until is not None and asked.until <= now:
        raise InvalidRequestError("the grant would have ended already; give a later 'until' or none")
    grant = Grant(
        id=call.context.ids.new(),
        app=asked.app,
        kind=asked.kind,
        value=check_grant(asked.kind, asked.value),
        service=asked.service,
        granted_by=str(call.principal),
        granted_at=now,
        reason=reason,
        until=asked.until,
    )

    def write(tx: WriteTx) -> Grant:
        made = tx.put(grant)
        record(tx, _entry(call, grant, "grant.create", f"{_text(grant)}: {reason}", now))
        return made

    return await call.context.store.update(Writer.API, write)


async def revoke(call: Call[NoQuery, None]) -> Grant:
    """Take a grant back; one that was taken back before is left as it is.

    Raises:
        NotFoundError: There is no such grant.
    """
    now, grant_id = call.context.clock.now(), call.path["id"]

    def write(tx: WriteTx) -> Grant:
        grant = tx.get(Grant, grant_id)
        if grant is None:
            raise NotFoundError(f"there is no grant {grant_id[:80]!r}; 'pilothouse grant ls' lists them")
        if grant.revoked_at is not None:
            return grant
        made = tx.put(replace(grant, revoked_at=now))
        record(tx, _entry(call, grant, "grant.revoke", _text(grant), now))
        return made

    return await call.context.store.update(Writer.API, write)


def _entry(
    call: Call[NoQuery, None] | Call[NoQuery, GrantRequest], grant: Grant, action: str, summary: str, now: float
) -> Entry:
    return Entry(
        at=now,
        principal=str(call.principal),
        action=action,
        object=f"grant/{grant.id}",
        summary=summary,
        request_id=call.request_id,
    )


def _text(grant: Grant) -> str:
    whom = f"{grant.app}/{grant.service}" if grant.service else grant.app
    return f"{whom}: {grant.kind}" + (f" {grant.value}" if grant.value else "")


ROUTES = (
    listing(Grant, "grants", Permission.GRANT_READ, "Recorded permissions to do what the safe defaults forbid"),
    Route(
        method="POST",
        path="/v1/grants",
        name="grants.create",
        summary="Record a grant",
        permission=Permission.GRANT_WRITE,
        handler=create,
        body=GrantRequest,
        answer=Grant,
        status=201,
    ),
    Route(
        method="DELETE",
        path="/v1/grants/{id}",
        name="grants.revoke",
        summary="Take a grant back",
        permission=Permission.GRANT_WRITE,
        handler=revoke,
        answer=Grant,
        errors=(NotFoundError,),
    ),
)
