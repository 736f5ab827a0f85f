"""Gives a node that is allowed here a new certificate for a new key, and remembers that it may be presented."""

import msgspec

from pilothouse.clock import Clock
from pilothouse.errors import ConflictError, UnauthorizedError
from pilothouse.governance.identity.authority.issue import issued_at
from pilothouse.governance.secrets.seal import Vault
from pilothouse.log import event
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import CLUSTER_ID, Cluster
from pilothouse.model.node import Node
from pilothouse.model.session import Renewed
from pilothouse.model.states import Writer
from pilothouse.server.cluster import authorities
from pilothouse.server.cluster.admission import identity_for
from pilothouse.store.interface import Store, WriteTx

GRACE_SECONDS = 600.0
"""So long do the certificates from before a rotation work on: the new one may yet be lost on its way."""
MOST_AT_ONCE = 5
AT_ONCE_SECONDS = 600.0


async def renew(store: Store, vault: Vault, clock: Clock, node_id: str, request: str) -> Renewed:
    """Return a new certificate for *node_id* and every authority to trust, once that is durable.

    The caller has made sure that it is *node_id* who asks. The certificates it had stay valid until they end, except
    when a person asked for a rotation: then for ten minutes.

    Raises:
        UnauthorizedError: There is no such node any more.
        InvalidRequestError: The request cannot be used.
        ConflictError: It asked too often; two machines with one certificate do that.
    """
    now = clock.now()
    answer, serial = await store.update(Writer.API, lambda tx: _renew(tx, vault, node_id, request, now))
    event("info", "certificate.issued", node=node_id, serial=serial)
    return answer


def _renew(tx: WriteTx, vault: Vault, node_id: str, request: str, now: float) -> tuple[Renewed, str]:
    node, cluster = tx.get(Node, node_id), tx.get(Cluster, CLUSTER_ID)
    if node is None or cluster is None:
        raise UnauthorizedError(f"the node {node_id} was removed from the cluster")
    recent = [each for each in node.certificates if issued_at(each) > now - AT_ONCE_SECONDS]
    if len(recent) >= MOST_AT_ONCE:
        raise ConflictError(
            f"{node_id} got {len(recent)} certificates in {AT_ONCE_SECONDS / 60:g} minutes: is there a second machine "
            "with its disk? `pilothouse node remove` it and let it join again"
        )
    issued = authorities.certify(tx, vault, request, identity_for(tx, cluster.cluster, node), now)
    kept = tuple(_until(each, node, now) for each in node.certificates if each.not_after > now)
    tx.put(msgspec.structs.replace(node, certificates=(*kept, issued.certificate)))
    return Renewed(certificate=issued.text, authorities=authorities.trusted(tx)), issued.certificate.serial


def _until(certificate: Certificate, node: Node, now: float) -> Certificate:
    """Return a certificate that the node had, as it is to be remembered."""
    if issued_at(certificate) >= node.rotated_at:
        return certificate
    return msgspec.structs.replace(certificate, not_after=min(certificate.not_after, now + GRACE_SECONDS))
