"""Who may come: an allow-list. A certificate opens a session while its serial stands at its node, not a moment longer.

TLS has already checked that it chains to an authority of the cluster. Taking the serial out, or the node, is revoking.
"""

from collections.abc import Iterable

from pilothouse.errors import NodeRemovedError, UnauthorizedError
from pilothouse.governance.identity.authority.rotation import valid
from pilothouse.model.base import Object
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ManagerMember, Role
from pilothouse.model.identity import Identity, identity_of
from pilothouse.model.node import Node
from pilothouse.store.interface import ReadTx

_AGAIN = "let it join again with a new token (`pilothouse token create`)"


def allowed(tx: ReadTx, serial: str, names: Iterable[str], now: float) -> Node:
    """Return the node that may open a session with a certificate of these names and this serial.

    Raises:
        NodeRemovedError: There is no such node any more.
        UnauthorizedError: None may; the message is for the log and the machine's own person.
    """
    identity = identity_of(names)
    cluster = tx.get(Cluster, CLUSTER_ID)
    if identity is None or cluster is None or identity.cluster != cluster.cluster:
        raise UnauthorizedError("the certificate names no node of this cluster")
    node = tx.get(Node, identity.node_id)
    if node is None:
        raise NodeRemovedError(f"the node {identity.node_id} was removed from the cluster; {_AGAIN}")
    if not admits(node, serial, now):
        raise UnauthorizedError(f"the certificate of {node.id} has ended or was taken back; {_AGAIN}")
    if identity.role is Role.MANAGER and not is_manager(tx, node):
        raise UnauthorizedError(f"{node.id} shows a manager's certificate and is none (any more)")
    return node


def admits(node: Node, serial: str, now: float) -> bool:
    """Whether *node* may present the certificate with this serial now; asked again whenever the node changed."""
    return any(each.serial == serial for each in valid(node, now))


def is_manager(tx: ReadTx, node: Node) -> bool:
    """Whether a person let *node* be a manager."""
    return approved(node, tx.get(ManagerMember, node.id))


def approved(node: Node, member: Object | None) -> bool:
    """Whether *node* is a manager, *member* being what is known of it as one."""
    return node.role == Role.MANAGER.value and isinstance(member, ManagerMember) and member.approved_at is not None


def identity_for(tx: ReadTx, cluster: str, node: Node) -> Identity:
    """Return what a certificate of *node* should say: a manager that waits for approval is an agent."""
    role = Role.MANAGER if is_manager(tx, node) else Role.AGENT
    return Identity(cluster=cluster, node_id=node.id, role=role)


def sessions_of(tx: ReadTx) -> tuple[str, ...]:
    """Return where agents find the managers, as "HOST:PORT", ordered."""
    return tuple(sorted(each.sessions for each in tx.find(ManagerMember) if each.approved_at is not None))
