"""Makes a cluster of a platform on one host: an authority, a name, and this machine as the first manager.

Nothing of its apps is touched. Each step can be repeated, so a machine that stopped in between is asked again.
"""

import os

import msgspec

from pilothouse.errors import ConflictError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.secrets.seal import Vault
from pilothouse.model.addresses import manager_addresses
from pilothouse.model.base import Value
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ManagerMember, Role
from pilothouse.model.node import Node
from pilothouse.server.cluster import authorities
from pilothouse.store.interface import WriteTx


class Founded(Value, frozen=True, kw_only=True):
    """A cluster, seen from its first manager.

    Attributes:
        member: This machine.
        new: It was made just now.
    """

    cluster: str
    member: ManagerMember
    new: bool


def found(tx: WriteTx, vault: Vault, node_id: str, advertise: str, entry: Entry) -> Founded:
    """Make the cluster in the caller's transaction, or return it if it is the same that was made before.

    Raises:
        ConflictError: There is a cluster, and this machine is in it under another address.
        InvalidRequestError: The address cannot be one.
    """
    api, sessions = manager_addresses(advertise)
    known = tx.get(Cluster, CLUSTER_ID)
    if known is not None:
        return _same(tx, known, node_id, api)
    cluster = Cluster(id=CLUSTER_ID, cluster=os.urandom(16).hex(), created_at=entry.at)
    tx.put(cluster)
    tx.put(authorities.first(vault, cluster.cluster, entry.at))
    node = tx.get(Node, node_id) or Node(id=node_id)
    tx.put(msgspec.structs.replace(node, role=Role.MANAGER.value, joined_at=entry.at))
    member = ManagerMember(
        id=node_id,
        api=api,
        sessions=sessions,
        joined_at=entry.at,
        approved_at=entry.at,
        approved_by=entry.principal,
    )
    record(tx, entry)
    return Founded(cluster=cluster.cluster, member=tx.put(member), new=True)


def _same(tx: WriteTx, known: Cluster, node_id: str, api: str) -> Founded:
    member = tx.get(ManagerMember, node_id)
    if member is None or member.api != api:
        at = "under no address" if member is None else f"as {member.api}"
        raise ConflictError(
            f"there is a cluster already ({known.cluster}), with this machine {at}; nothing was changed"
        )
    return Founded(cluster=known.cluster, member=member, new=False)
