"""When the platform's format is raised, and what holds that back (`model.format`).

Every manager and every agent has to know the next format first: also those that are away, because they come back as
what they were. Then the leading manager waits for a while, so that going back stays simple for as long, has a copy of
the state made, and raises it by one.
"""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.log import event
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.format import FORMAT, FORMAT_ID, Format, number_of
from pilothouse.model.node import Node
from pilothouse.model.states import Writer
from pilothouse.store.interface import Change, Commit, ReadTx, Store, WriteTx

WAIT_SECONDS = 600.0
"""So long after the last process of the older version was seen the format is raised, unless a person asks before."""

AGAIN_SECONDS = 60.0
"""After a copy that could not be made."""

Copy = Callable[[int], Awaitable[None]]
"""Has a copy of the state made, before it gets that format."""


def holders(tx: ReadTx, number: int) -> tuple[str, ...]:
    """Return a sentence about each process that does not know format *number*; empty if it may be raised to that."""
    managers = {each.id: each for each in tx.find(ManagerMember) if each.release and each.format < number}
    found = [
        f"the manager {each.id} runs {each.release}, which knows format {each.format}: upgrade it"
        for each in managers.values()
    ]
    for node in tx.find(Node):
        about = node.description
        # One whose agent never came is asked what it knows when it does.
        if about.version and about.format < number and node.id not in managers:
            found.append(
                f"the agent of {node.id} ({node.state.value}) runs {about.version}, which knows format {about.format}: "
                f"upgrade it, or take it out with `pilothouse node remove {node.id}`"
            )
    return tuple(found)


def number_now(tx: ReadTx) -> int:
    """Return the platform's format."""
    return number_of(tx.get(Format, FORMAT_ID), tx.revision)


class Raising:
    """Keeps `pulse.Reconciler`.

    Args:
        store: Of the term.
        clock: The time.
        copy: Makes the copy.
        newest: What this manager knows.
    """

    def __init__(self, store: Store, clock: Clock, copy: Copy, newest: int = FORMAT) -> None:
        self._store = store
        self._clock = clock
        self._copy = copy
        self._newest = newest
        self._free_since: float | None = None

    def survey(self, tx: ReadTx) -> None:
        """Do nothing: each pass looks at everything, and there is little of it."""

    def note(self, commit: Commit) -> bool:
        return any(_matters(change) for change in commit.changes)

    async def act(self) -> float | None:
        """Raise the format if it is time; return when it will be."""
        number, asked, held = await self._store.view(self._look)
        if number >= self._newest or held:
            self._free_since = None
            return None
        now = self._clock.monotonic()
        if self._free_since is None:
            self._free_since = now
        left = 0.0 if asked else self._free_since + WAIT_SECONDS - now
        if left > 0:
            return self._clock.now() + left
        try:
            await self._copy(number + 1)
        except (PilothouseError, OSError) as error:
            event("warning", "format.not_copied", format=number, error=str(error))
            return self._clock.now() + AGAIN_SECONDS
        if await self._store.update(Writer.NODES, lambda tx: self._raise(tx, number + 1)):
            event("info", "format.raised", format=number + 1)
        self._free_since = None
        # One at a time, each with its own copy.
        return self._clock.now()

    def _look(self, tx: ReadTx) -> tuple[int, bool, bool]:
        number, found = number_now(tx), tx.get(Format, FORMAT_ID)
        return number, found is not None and found.asked_at > found.raised_at, bool(holders(tx, number + 1))

    def _raise(self, tx: WriteTx, number: int) -> bool:
        if number_now(tx) != number - 1 or holders(tx, number):
            return False
        found = tx.get(Format, FORMAT_ID) or Format(id=FORMAT_ID, number=number - 1)
        tx.put(replace(found, number=number, raised_at=self._clock.now()))
        return True


def _matters(change: Change) -> bool:
    before, after = change.before, change.after
    if isinstance(before, Node) and isinstance(after, Node):
        return (before.description.version, before.description.format) != (
            after.description.version,
            after.description.format,
        )
    return isinstance(change.object, (Node, ManagerMember, Format))
