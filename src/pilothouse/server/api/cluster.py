"""The cluster: making one, its authorities, letting machines in, and what only a person may confirm."""

from msgspec.structs import replace

from pilothouse.errors import ConflictError, InvalidRequestError, JoinRefusedError, NotClusteredError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.log import event
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ManagerMember
from pilothouse.model.cluster_api import (
    AuthorityAnswer,
    AuthorityView,
    ClusterView,
    InitRequest,
    JoinAnswer,
    JoinRequest,
)
from pilothouse.model.node import Node
from pilothouse.model.states import Writer
from pilothouse.server.api.context import Context
from pilothouse.server.api.route import KIB, Call, NoQuery, Route
from pilothouse.server.cluster import authorities, joining
from pilothouse.server.cluster.admission import admits
from pilothouse.server.cluster.founding import found
from pilothouse.server.cluster.renewing import renew
from pilothouse.server.cluster.rotating import succeed
from pilothouse.store.interface import ReadTx, WriteTx

MAX_JOIN = 16 * KIB
_EVERYBODY = "all"


async def create(call: Call[NoQuery, InitRequest]) -> ClusterView:
    """Make this platform a cluster, with this machine as its first manager; asked again, nothing more happens.

    Raises:
        ConflictError: There is a cluster, with this machine under another address.
    """
    context = call.context
    credentials = context.credentials
    if credentials is None or not context.node_id:
        raise InvalidRequestError("this server keeps no files, so it cannot be a manager")
    entry = _entry(call, "cluster.create", "cluster/cluster", f"with {context.node_id} at {call.body.advertise}")
    made = await context.store.update(
        Writer.API, lambda tx: found(tx, context.vault, context.node_id, call.body.advertise, entry)
    )
    await _certify(context, credentials)
    if made.new:
        event("info", "cluster.created", cluster=made.cluster, manager=made.member.api)
    context.founded(made)
    return await read(call)


async def _certify(context: Context, credentials: Credentials) -> None:
    """Give this machine a certificate unless it has one that counts."""
    if credentials.exist():
        serial, now = credentials.held().serial, context.clock.now()
        node = await context.store.view(lambda tx: tx.get(Node, context.node_id))
        if node is not None and admits(node, serial, now):
            return
    request = new_request()
    made = await renew(context.store, context.vault, context.clock, context.node_id, request.text)
    credentials.keep(made.authorities, made.certificate, request.key)


async def read(call: Call[NoQuery, InitRequest] | Call[NoQuery, None]) -> ClusterView:
    """Return the cluster.

    Raises:
        NotClusteredError: The platform runs on one host.
    """
    return await call.context.store.view(lambda tx: _view(tx, call.context.node_id))


async def authority(call: Call[NoQuery, None]) -> AuthorityAnswer:
    """Return the authorities' certificates; they are no secret, and whoever asks compares them with a hash."""

    def look(tx: ReadTx) -> AuthorityAnswer:
        return AuthorityAnswer(
            cluster=_cluster(tx).cluster, authorities=tuple(each.certificate for each in authorities.every(tx))
        )

    return await call.context.store.view(look)


async def join(call: Call[NoQuery, JoinRequest]) -> JoinAnswer:
    """Let a machine in that brings a token, or refuse it with one answer for every reason.

    Raises:
        JoinRefusedError: The token lets no machine in, or this address was wrong too often.
    """
    context, now = call.context, call.context.clock.monotonic()
    who = call.client or "local"
    if (wait := context.guesses.wait_seconds(who, now)) > 0:
        raise JoinRefusedError(f"too many wrong tokens came from this address; try again in {wait:.0f} s")
    asked = call.body if call.body.address else replace(call.body, address=call.client)
    at, principal = context.clock.now(), f"address:{who}"
    try:
        answer = await context.store.update(
            Writer.API, lambda tx: joining.join(tx, context.vault, asked, principal, call.request_id, at)
        )
    except joining.WrongTokenError as wrong:
        await _refuse(call, str(wrong), who)
        raise joining.refusal() from None
    event("info", "node.admitted", node=answer.node_id, role=answer.role.value, address=who)
    return answer


async def _refuse(call: Call[NoQuery, JoinRequest], why: str, who: str) -> None:
    """Count a wrong token, and put it on record unless the record is being flooded."""
    context, now, at = call.context, call.context.clock.monotonic(), call.context.clock.now()
    locked = context.guesses.wrong(who, now)
    event("warning", "join.refused", address=who, token=call.body.token_id[:16], reason=why, locked=locked)
    if context.refusals.wait_seconds(_EVERYBODY, now) > 0:
        return
    context.refusals.wrong(_EVERYBODY, now)
    summary = f"{why}; the address is refused for a minute" if locked else why
    await context.store.update(
        Writer.API, lambda tx: joining.refuse(tx, call.body, summary, f"address:{who}", call.request_id, at)
    )


async def rotate_authority(call: Call[NoQuery, None]) -> AuthorityView:
    """Make the next authority; it signs once every node that is there has heard of it.

    Raises:
        ConflictError: The last change is not over.
    """
    context, now = call.context, call.context.clock.now()
    reason = "a person asked for another authority"
    made = await context.store.update(
        Writer.API, lambda tx: succeed(tx, context.vault, str(call.principal), reason, now, call.request_id)
    )
    return authorities.view(made)


async def confirm_evictions(call: Call[NoQuery, None]) -> ClusterView:
    """Confirm that the nodes that were lost at once are lost, so that their tasks are replaced."""
    entry = _entry(call, "cluster.confirm-evictions", "cluster/cluster", "the lost nodes are really lost")

    def write(tx: WriteTx) -> ClusterView:
        tx.put(replace(_cluster(tx), evictions_confirmed_at=entry.at))
        record(tx, entry)
        return _view(tx, call.context.node_id)

    return await call.context.store.update(Writer.API, write)


def _cluster(tx: ReadTx) -> Cluster:
    found = tx.get(Cluster, CLUSTER_ID)
    if found is None:
        raise NotClusteredError("this platform runs on one host; make it a cluster: pilothouse init")
    return found


def _view(tx: ReadTx, node_id: str) -> ClusterView:
    cluster = _cluster(tx)
    return ClusterView(
        cluster=cluster.cluster,
        created_at=cluster.created_at,
        node_id=node_id,
        authorities=tuple(authorities.view(each) for each in authorities.every(tx)),
        managers=tuple(tx.find(ManagerMember)),
        nodes=len(tx.find(Node)),
        evictions_paused_since=cluster.evictions_paused_since,
        evictions_message=cluster.evictions_message,
    )


def _entry(call: Call[NoQuery, InitRequest] | Call[NoQuery, None], action: str, object: str, summary: str) -> Entry:
    return Entry(
        at=call.context.clock.now(),
        principal=str(call.principal),
        action=action,
        object=object,
        summary=summary,
        request_id=call.request_id,
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/cluster",
        name="cluster.create",
        summary="Make this machine the first manager of a cluster; its apps run on",
        permission=Permission.CLUSTER_ADMIN,
        handler=create,
        body=InitRequest,
        answer=ClusterView,
        errors=(ConflictError,),
    ),
    Route(
        method="GET",
        path="/v1/cluster",
        name="cluster.read",
        summary="The cluster: its managers and authorities",
        permission=Permission.CLUSTER_READ,
        handler=read,
        answer=ClusterView,
        errors=(NotClusteredError,),
    ),
    Route(
        method="GET",
        path="/v1/cluster/authority",
        name="cluster.authority",
        summary="The certificates of the authorities, for a machine that compares them with the hash in its token",
        permission=Permission.PUBLIC,
        anonymous=True,
        handler=authority,
        answer=AuthorityAnswer,
        errors=(NotClusteredError,),
    ),
    Route(
        method="POST",
        path="/v1/join",
        name="cluster.join",
        summary="Join with a token; every wrong token gets the same answer",
        permission=Permission.PUBLIC,
        anonymous=True,
        handler=join,
        body=JoinRequest,
        answer=JoinAnswer,
        status=201,
        max_body=MAX_JOIN,
        errors=(JoinRefusedError, NotClusteredError),
    ),
    Route(
        method="POST",
        path="/v1/cluster/rotate-ca",
        name="cluster.rotate-ca",
        summary="Have another authority take the place of the one that signs",
        permission=Permission.CLUSTER_ADMIN,
        handler=rotate_authority,
        answer=AuthorityView,
        status=201,
        errors=(ConflictError, NotClusteredError),
    ),
    Route(
        method="POST",
        path="/v1/cluster/confirm-evictions",
        name="cluster.confirm-evictions",
        summary="Confirm that the nodes lost at once are lost, so that their tasks are replaced",
        permission=Permission.CLUSTER_ADMIN,
        handler=confirm_evictions,
        answer=ClusterView,
        errors=(NotClusteredError,),
    ),
)
