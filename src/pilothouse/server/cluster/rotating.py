"""Has one authority take the place of another when it is time, and keeps this manager's own files in step.

`Rotating` runs where the loops run: it writes the store. `Own` runs on every manager: it writes the machine's files.
"""

import msgspec

from pilothouse.clock import Clock
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.authority.rotation import (
    Activate,
    Drop,
    Step,
    Succeed,
    check_may_rotate,
    must_renew,
    next_look,
    rotation,
)
from pilothouse.governance.identity.principal import SYSTEM_TEXT
from pilothouse.governance.secrets.seal import Vault
from pilothouse.ids import Ids
from pilothouse.link.credentials import Credentials
from pilothouse.link.renewal import Renewal
from pilothouse.log import event
from pilothouse.model.cluster import CLUSTER_ID, Authority, AuthorityState, Cluster
from pilothouse.model.node import Node
from pilothouse.model.states import Writer
from pilothouse.server.cluster import authorities
from pilothouse.server.cluster.renewing import renew
from pilothouse.store.interface import Commit, ReadTx, Staleness, Store, WriteTx

_AGAIN_SECONDS = 30.0
"""Between two tries to write this machine's files."""


class Rotating:
    """Moves authorities along; keeps `pulse.Reconciler`."""

    def __init__(self, store: Store, clock: Clock, vault: Vault) -> None:
        self._store = store
        self._clock = clock
        self._vault = vault

    def survey(self, tx: ReadTx) -> None:
        """Nothing to note: every pass looks at everything."""

    def note(self, commit: Commit) -> bool:
        return any(_matters(change.before, change.after) for change in commit.changes)

    async def act(self) -> float | None:
        """Take the steps that are due."""
        now = self._clock.now()
        due, again = await self._store.view(lambda tx: _due(tx, now))
        if not due:
            return again
        taken = await self._store.update(Writer.API, lambda tx: self._take(tx, now))
        for step in taken:
            event("info", "authority.changed", step=type(step).__name__.lower(), reason=step.reason)
        return now

    def _take(self, tx: WriteTx, now: float) -> tuple[Step, ...]:
        due, _ = _due(tx, now)
        for step in due:
            match step:
                case Activate():
                    _set(tx, step.old_id, AuthorityState.OLD)
                    _set(tx, step.next_id, AuthorityState.ACTIVE)
                    _record(tx, "authority.activate", step.next_id, step.reason, now)
                case Drop():
                    gone = tx.get(Authority, step.id)
                    if gone is not None:
                        tx.delete(gone)
                    _record(tx, "authority.drop", step.id, step.reason, now)
                case Succeed():
                    succeed(tx, self._vault, SYSTEM_TEXT, step.reason, now)
        return due


def succeed(tx: WriteTx, vault: Vault, principal: str, reason: str, now: float, request_id: str = "") -> Authority:
    """Make the next authority in the caller's transaction; it is trusted from now on and signs later.

    Raises:
        ConflictError: The last change is not over.
        NotClusteredError: There is no cluster.
    """
    check_may_rotate(authorities.every(tx), tx.find(Node), now)
    cluster = tx.get(Cluster, CLUSTER_ID)
    made = tx.put(authorities.following(tx, vault, "" if cluster is None else cluster.cluster, now))
    _record(tx, "authority.create", made.id, reason, now, principal, request_id)
    return made


class Own:
    """This manager's own key, certificate and authorities, in step with the store; keeps `pulse.Reconciler`.

    Attributes:
        renewal: To be run beside it.
    """

    def __init__(
        self, store: Store, clock: Clock, ids: Ids, vault: Vault, credentials: Credentials, node_id: str
    ) -> None:
        self._store = store
        self._clock = clock
        self._credentials = credentials
        self._node_id = node_id

        async def ask(request: str) -> tuple[str, str]:
            made = await renew(store, vault, clock, node_id, request)
            return made.certificate, made.authorities

        self.renewal = Renewal(credentials, ask, clock, ids)

    def survey(self, tx: ReadTx) -> None:
        """Nothing to note: every pass looks at everything."""

    def note(self, commit: Commit) -> bool:
        return any(
            isinstance(change.object, Authority)
            or (isinstance(change.object, Node) and change.object.id == self._node_id)
            for change in commit.changes
        )

    async def act(self) -> float | None:
        """Trust what the cluster trusts, and ask for another certificate if this one should not be shown any more."""
        now = self._clock.now()
        if isinstance(self._store, Staleness) and self._store.stale_since is not None:
            # What one member knows may be from before what this machine trusts by now.
            return now + _AGAIN_SECONDS
        trusted, must = await self._store.view(lambda tx: self._look(tx, now))
        if must:
            self.renewal.now.set()
        try:
            if trusted and trusted != self._credentials.held().authorities:
                self._credentials.trust(trusted)
                event("info", "authorities.replaced", node=self._node_id)
        except OSError as error:
            event("warning", "authorities.kept", node=self._node_id, reason=str(error), again_seconds=_AGAIN_SECONDS)
            return now + _AGAIN_SECONDS
        return None

    def _look(self, tx: ReadTx, now: float) -> tuple[str, bool]:
        node = tx.get(Node, self._node_id)
        return authorities.trusted(tx), node is not None and must_renew(node, authorities.every(tx), now)


def _due(tx: ReadTx, now: float) -> tuple[tuple[Step, ...], float | None]:
    known = tx.find(Authority)
    if not known:
        return (), None
    nodes = tx.find(Node)
    return rotation(known, nodes, now), next_look(known, nodes, now)


def _matters(before: object, after: object) -> bool:
    """Whether a change can make a step due: an authority, or which certificates a node has, or that it is there."""
    if isinstance(before, Node) and isinstance(after, Node):
        return (before.certificates, before.ready, before.state) != (after.certificates, after.ready, after.state)
    return isinstance(before or after, Authority | Node)


def _set(tx: WriteTx, id: str, state: AuthorityState) -> None:
    found = tx.get(Authority, id)
    if found is not None:
        tx.put(msgspec.structs.replace(found, state=state))


def _record(
    tx: WriteTx, action: str, id: str, reason: str, now: float, principal: str = SYSTEM_TEXT, request_id: str = ""
) -> None:
    record(
        tx,
        Entry(
            at=now, principal=principal, action=action, object=f"authority/{id}", summary=reason, request_id=request_id
        ),
    )
