"""Which certificates count, kept in memory in step with the store: a connection asks without waiting.

A certificate that was taken back stops counting with the commit that did it.
"""

from pilothouse.clock import Clock
from pilothouse.governance.identity.authority.rotation import must_renew
from pilothouse.governance.identity.principal import Principal
from pilothouse.link.tls import Peer
from pilothouse.model.base import Object
from pilothouse.model.cluster import CLUSTER_ID, Authority, Cluster, ManagerMember, Role
from pilothouse.model.identity import identity_of
from pilothouse.model.node import Node, NodeState
from pilothouse.server.cluster.admission import admits, approved
from pilothouse.store.interface import Change, Commit, ReadTx

READY = NodeState.READY
_KEPT: tuple[type[Object], ...] = (Node, ManagerMember, Authority, Cluster)


class AllowList:
    """Nodes, managers and authorities as of the last commit; keeps `pulse.Reconciler`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[type[Object], dict[str, Object]] = {kind: {} for kind in _KEPT}

    def survey(self, tx: ReadTx) -> None:
        for kind in _KEPT:
            self._known[kind] = {each.id: each for each in tx.find(kind)}

    def note(self, commit: Commit) -> bool:
        for change in commit.changes:
            self._apply(change)
        return False

    async def act(self) -> float | None:
        """Nothing: what a commit changed was taken over as it came."""
        return None

    def principal(self, peer: Peer) -> Principal | None:
        """Return the manager that shows this certificate, or None: an agent's certificate opens no API."""
        identity, cluster = identity_of(peer.names), self._known[Cluster].get(CLUSTER_ID)
        if identity is None or identity.role is not Role.MANAGER or not isinstance(cluster, Cluster):
            return None
        node, member = (self._known[kind].get(identity.node_id) for kind in (Node, ManagerMember))
        if identity.cluster != cluster.cluster or not isinstance(node, Node):
            return None
        if not approved(node, member) or not admits(node, peer.serial, self._clock.now()):
            return None
        return Principal(kind="manager", id=node.id)

    @property
    def ready_nodes(self) -> tuple[str, ...]:
        """The ids of the nodes that can be asked something, sorted."""
        return tuple(sorted(n.id for n in self._known[Node].values() if isinstance(n, Node) and n.state is READY))

    def renewal_due(self, node_id: str) -> bool:
        """Whether a node should ask for another certificate now (`governance.identity.authority.rotation`)."""
        node = self._known[Node].get(node_id)
        if not isinstance(node, Node):
            return False
        known = [each for each in self._known[Authority].values() if isinstance(each, Authority)]
        return must_renew(node, known, self._clock.now())

    def _apply(self, change: Change) -> None:
        known = self._known.get(type(change.object))
        if known is None:
            return
        if change.after is None:
            known.pop(change.object.id, None)
        else:
            known[change.object.id] = change.after
