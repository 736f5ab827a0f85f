"""A manager writes down which version it is, and the newest format it knows, before anything may need a later one."""

from msgspec.structs import replace

import pilothouse
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.format import FORMAT
from pilothouse.model.states import Writer
from pilothouse.store.interface import Commit, ReadTx, Store, WriteTx


class Introducing:
    """Keeps `pulse.Reconciler`; *node_id* is this machine."""

    def __init__(self, store: Store, node_id: str) -> None:
        self._store = store
        self._node_id = node_id

    def survey(self, tx: ReadTx) -> None:
        """Do nothing: each pass looks at the one object there is."""

    def note(self, commit: Commit) -> bool:
        return any(
            isinstance(each.object, ManagerMember) and each.object.id == self._node_id for each in commit.changes
        )

    async def act(self) -> float | None:
        """Write it down unless it stands there, or this machine is no member."""
        if await self._store.view(self._due) is not None:
            await self._store.update(Writer.API, self._write)
        return None

    def _due(self, tx: ReadTx) -> ManagerMember | None:
        found = tx.get(ManagerMember, self._node_id)
        if found is None or found.approved_at is None:
            return None
        said = replace(found, release=pilothouse.__version__, format=FORMAT)
        return None if said == found else said

    def _write(self, tx: WriteTx) -> None:
        if (said := self._due(tx)) is not None:
            tx.put(said)
