"""Which certificates may call the API, kept in memory in step with the store: a connection asks without waiting.

It is refreshed on every commit that touches a node, a manager or the cluster, so a certificate that was taken back
stops counting with the next request.
"""

from pilothouse.clock import Clock
from pilothouse.governance.identity.principal import Principal
from pilothouse.link.tls import Peer
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ManagerMember, Role
from pilothouse.model.identity import identity_of
from pilothouse.model.objects import Node
from pilothouse.server.cluster.admission import admits, is_manager
from pilothouse.store.interface import Commit, ReadTx, Store


class AllowList:
    """The managers of the cluster by what they may present; keeps `pulse.Reconciler`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._cluster = ""
        self._managers: dict[str, Node] = {}

    def survey(self, tx: ReadTx) -> None:
        self._read(tx)

    def note(self, commit: Commit) -> bool:
        return any(isinstance(change.object, Node | ManagerMember | Cluster) for change in commit.changes)

    async def act(self) -> float | None:
        """Read it again."""
        await self._store.view(self._read)
        return None

    def principal(self, peer: Peer) -> Principal | None:
        """Return the manager that shows this certificate, or None: an agent's certificate opens no API."""
        identity = identity_of(peer.names)
        if identity is None or identity.role is not Role.MANAGER or identity.cluster != self._cluster:
            return None
        node = self._managers.get(identity.node_id)
        if node is None or not admits(node, peer.serial, self._clock.now()):
            return None
        return Principal(kind="manager", id=node.id)

    def _read(self, tx: ReadTx) -> None:
        cluster = tx.get(Cluster, CLUSTER_ID)
        self._cluster = "" if cluster is None else cluster.cluster
        self._managers = {node.id: node for node in tx.find(Node) if is_manager(tx, node)}
