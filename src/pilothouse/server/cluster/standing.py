"""Whether this machine is a manager still; one that was made an agent, or removed, must not go on as one."""

from collections.abc import Callable

import msgspec

from pilothouse.clock import Clock
from pilothouse.governance.secrets.seal import Vault
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.log import event
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ManagerMember, Role
from pilothouse.model.identity import identity_of
from pilothouse.model.node import Node
from pilothouse.server.cluster.admission import sessions_of
from pilothouse.server.cluster.renewing import renew
from pilothouse.store.interface import Commit, ReadTx, Staleness, Store

_AGAIN_SECONDS = 2.0


class _Seen(msgspec.Struct, frozen=True):
    """What the store says: whether this machine is a manager, and a node; where managers hear agents."""

    manages: bool
    there: bool
    managers: tuple[str, ...]


class Standing:
    """Watches this machine's place among the managers; keeps `pulse.Reconciler`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        vault: Vault,
        credentials: Credentials,
        node_id: str,
        lost: Callable[[tuple[str, ...]], None],
    ) -> None:
        """Watch nothing yet.

        Args:
            store: Where it stands.
            clock: The time.
            vault: Opens the authority's key.
            credentials: Where this machine's certificate is.
            node_id: This machine.
            lost: Called with the other managers once this machine is none and has an agent's certificate, if it is
                still a node.
        """
        self._store = store
        self._clock = clock
        self._vault = vault
        self._credentials = credentials
        self._node_id = node_id
        self._lost = lost

    def survey(self, tx: ReadTx) -> None:
        """Nothing to note: every pass looks."""

    def note(self, commit: Commit) -> bool:
        return any(
            isinstance(change.object, ManagerMember) and change.object.id == self._node_id for change in commit.changes
        )

    async def act(self) -> float | None:
        """Look, and step down if this machine is no manager any more."""
        seen = await self._store.view(self._look)
        if seen.manages:
            return None
        if isinstance(self._store, Staleness) and self._store.stale_since is not None:
            # What one member knows may be from before this machine was a manager.
            return self._clock.now() + _AGAIN_SECONDS
        identity = identity_of(self._credentials.held().names)
        if seen.there and (identity is None or identity.role is not Role.AGENT):
            request = new_request()
            made = await renew(self._store, self._vault, self._clock, self._node_id, request.text)
            self._credentials.keep(made.authorities, made.certificate, request.key)
        event("warning", "manager.demoted", node=self._node_id, removed=not seen.there)
        self._lost(seen.managers)
        return None

    def _look(self, tx: ReadTx) -> _Seen:
        member = tx.get(ManagerMember, self._node_id)
        manages = tx.get(Cluster, CLUSTER_ID) is None or (member is not None and member.approved_at is not None)
        return _Seen(manages, tx.get(Node, self._node_id) is not None, sessions_of(tx))
