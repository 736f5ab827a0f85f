"""Join tokens: each lets one machine in, once, within the hour."""

import os

from msgspec.structs import replace

from pilothouse.errors import NotClusteredError, NotFoundError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.authority.rotation import signer
from pilothouse.governance.identity.joining.tokens import ENTROPY_BYTES, check_life, hash_of, make
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Page
from pilothouse.model.cluster import CLUSTER_ID, Cluster, JoinToken, ManagerMember
from pilothouse.model.cluster_api import TokenMade, TokenRequest
from pilothouse.model.join_token import Token, write
from pilothouse.model.labels import check_labels
from pilothouse.model.states import Writer
from pilothouse.server.api.hiding import hidden
from pilothouse.server.api.lists import all_of
from pilothouse.server.api.route import Call, NoQuery, Paged, Route
from pilothouse.server.cluster import authorities
from pilothouse.store.interface import WriteTx


async def create(call: Call[NoQuery, TokenRequest]) -> TokenMade:
    """Make a token; its secret is in this answer and nowhere else.

    Raises:
        NotClusteredError: The platform runs on one host.
        InvalidRequestError: No token lasts so long, or a label is none.
    """
    context, asked, now = call.context, call.body, call.context.clock.now()
    check_labels(asked.labels)
    life, secret = check_life(asked.life_seconds), make(os.urandom(ENTROPY_BYTES))
    token = JoinToken(
        id=secret.token_id,
        secret_hash=hash_of(secret.secret),
        role=asked.role,
        created_at=now,
        expires_at=now + life,
        created_by=str(call.principal),
        labels=asked.labels,
    )

    def put(tx: WriteTx) -> TokenMade:
        if tx.get(Cluster, CLUSTER_ID) is None:
            raise NotClusteredError("no machine can join a platform on one host; make it a cluster: pilothouse init")
        kept = tx.put(token)
        record(tx, _entry(call, "token.create", token, f"for one {token.role.value}, {life / 60:g} minutes", now))
        hashed = authorities.hash_of(signer(authorities.every(tx)).certificate)
        text = write(Token(token_id=secret.token_id, secret=secret.secret, authority_hash=hashed))
        member = tx.get(ManagerMember, context.node_id)
        return TokenMade(token=text, address="" if member is None else member.api, record=replace(kept, secret_hash=""))

    return await context.store.update(Writer.API, put)


async def revoke(call: Call[NoQuery, None]) -> JoinToken:
    """Take a token back; one that was used or revoked before is left as it is.

    Raises:
        NotFoundError: There is no such token.
    """
    now, token_id = call.context.clock.now(), call.path["id"]

    def put(tx: WriteTx) -> JoinToken:
        token = tx.get(JoinToken, token_id)
        if token is None:
            raise NotFoundError(f"there is no token {token_id[:80]!r}; `pilothouse token ls` lists them")
        if token.revoked_at is not None or token.used_by:
            return token
        made = tx.put(replace(token, revoked_at=now))
        record(tx, _entry(call, "token.revoke", token, f"for one {token.role.value}, made by {token.created_by}", now))
        return made

    made = hidden(await call.context.store.update(Writer.API, put))
    if not isinstance(made, JoinToken):
        raise TypeError("hiding changes no type")
    return made


def _entry(
    call: Call[NoQuery, None] | Call[NoQuery, TokenRequest], action: str, token: JoinToken, summary: str, now: float
) -> Entry:
    return Entry(
        at=now,
        principal=str(call.principal),
        action=action,
        object=f"jointoken/{token.id}",
        summary=summary,
        request_id=call.request_id,
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/tokens",
        name="tokens.create",
        summary="Make a join token for one machine; it is shown this once",
        permission=Permission.TOKEN_WRITE,
        handler=create,
        body=TokenRequest,
        answer=TokenMade,
        status=201,
        errors=(NotClusteredError,),
    ),
    Route(
        method="GET",
        path="/v1/tokens",
        name="tokens.list",
        summary="Join tokens, used, ended and revoked ones too; never their secrets",
        permission=Permission.TOKEN_READ,
        handler=all_of(JoinToken),
        query=Paged,
        answer=Page[JoinToken],
    ),
    Route(
        method="DELETE",
        path="/v1/tokens/{id}",
        name="tokens.revoke",
        summary="Take a join token back",
        permission=Permission.TOKEN_WRITE,
        handler=revoke,
        answer=JoinToken,
        errors=(NotFoundError,),
    ),
)
