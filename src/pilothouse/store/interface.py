"""The contract every store backend keeps; `pilothouse.store.conformance` tests it.

Reads and writes happen in transactions. A write transaction is atomic and serial: it either commits whole, giving
every object it wrote the same new revision, or leaves no trace. It has one writer, and the law of `model.ownership` is
checked on every object it changes. A watch delivers every commit after the revision it was opened at, in order, once;
a snapshot taken at revision R followed by `watch(R)` misses nothing. A reader that falls too far behind is cut off
with `WatchLostError` and starts again from a snapshot.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar, runtime_checkable

import msgspec

from pilothouse.model.base import Object
from pilothouse.model.states import Writer

O = TypeVar("O", bound=Object)
R = TypeVar("R")


class Change(msgspec.Struct, frozen=True, gc=False):
    """One object before and after a commit; *before* is None on creation, *after* on deletion."""

    before: Object | None
    after: Object | None

    @property
    def object(self) -> Object:
        """The object in the newest form it has."""
        found = self.before if self.after is None else self.after
        if found is None:
            raise ValueError("a change has at least one side")
        return found


class Commit(msgspec.Struct, frozen=True, gc=False):
    """Everything one transaction changed, in the order it was written; *at* is wall-clock seconds."""

    revision: int
    at: float
    writer: Writer
    changes: tuple[Change, ...]


class ReadTx(Protocol):
    """A consistent view of the store at one revision; valid only inside the function it was handed to."""

    @property
    def revision(self) -> int:
        """The newest revision the view includes."""
        ...

    def get(self, kind: type[O], id: str) -> O | None:
        """Return the object, or None if no such object exists at this revision."""
        ...

    def find(self, kind: type[O], **fields: object) -> list[O]:
        """Return objects of *kind* whose fields equal the given values, ordered by id.

        The fields in `store.tables.INDEXED` cost as much as the answer is long; any other scans the kind.
        """
        ...

    def kept(self) -> "ReadTx":
        """Return the same view, valid for good and in any one thread, but without audit records.

        Copies the indexes, which takes about 1 ms for 10,000 objects.
        """
        ...


class WriteTx(ReadTx, Protocol):
    """A view that can be written; writes are visible inside the transaction at once."""

    def put(self, obj: O) -> O:
        """Create *obj* if its version is 0, else replace the object it was read from.

        Writing an object that equals the stored one is no change: it gets no new revision and wakes nobody.

        Returns:
            The object as stored, with its new version; write that one if you write it again.

        Raises:
            ConflictError: The stored version differs from ``obj.version``.
            ForeignWriteError, InvalidTransitionError: The transaction's writer does not own the change.
        """
        ...

    def delete(self, obj: Object) -> None:
        """Delete *obj*.

        Raises:
            ConflictError: The stored version differs from ``obj.version``.
            ForeignWriteError: The transaction's writer may not delete it.
        """
        ...


class Store(Protocol):
    """Where the cluster's desired and observed state lives."""

    async def view(self, fn: Callable[[ReadTx], R]) -> R:
        """Run *fn* on a snapshot and return its result. *fn* must not block, await or keep the transaction."""
        ...

    async def update(self, writer: Writer, fn: Callable[[WriteTx], R]) -> R:
        """Run *fn* atomically as *writer* and return its result once the commit is durable.

        *fn* may run more than once, so it must have no side effects but its writes. An exception from *fn* leaves no
        trace and is raised unchanged.

        Raises:
            ConflictError: *fn* wrote an object that had changed since it was read.
            StoreUnavailableError: The backend did not confirm the commit; it may or may not have happened.
            StoreFullError: There is no room; the commit did not happen.
        """
        ...

    def watch(self, since: int) -> AsyncIterator[Commit]:
        """Yield every commit whose revision is greater than *since*.

        Raises:
            WatchLostError: The store no longer keeps what the reader has yet to see.
        """
        ...

    async def history(self, since: int, limit: int) -> tuple[Commit, ...]:
        """Return up to *limit* of the kept commits after *since*, oldest first; a durable store keeps them."""
        ...

    async def close(self) -> None:
        """Release the backend; watches end."""
        ...


@runtime_checkable
class Staleness(Protocol):
    """The optional power of a replicated store to answer from memory when fewer than half of its members answer.

    Attributes:
        stale_since: Wall-clock time since when nobody answers, so that views may miss what was committed since; None
            while somebody does.
        stale_reads: Counts the views that were answered so; whoever finds it changed over a view has read an old state.
    """

    @property
    def stale_since(self) -> float | None: ...

    stale_reads: int


class Leadership(Protocol):
    """One term of one manager: the right to run the loops, until another has it.

    Attributes:
        epoch: Grows from term to term, over all managers and restarts; no two terms share one.
        store: The store whose every update is refused with TermOverError, without a trace, once a newer term began:
            also if this process was stopped in the middle and has not noticed.
    """

    epoch: int
    store: Store

    async def over(self) -> None:
        """Return once the term is over, or cannot be shown to go on; it never comes back."""
        ...

    def shown(self) -> bool:
        """Whether it can be shown at this moment that the term goes on, by a clock that counts what was slept through.

        Who extends the trust of others on the strength of the term, such as leases of nodes, asks first each time.
        """
        ...

    async def resign(self) -> None:
        """End the term now, so that another can begin without waiting."""
        ...


class Leader(msgspec.Struct, frozen=True):
    """Who leads: the name it stood for election with, and its epoch."""

    name: str
    epoch: int


class Election(Protocol):
    """How managers agree on one that leads. An exclusive lock is never enough; the epoch is checked at each write."""

    async def lead(self, name: str) -> Leadership:
        """Return once this manager leads; cancelling withdraws it.

        Raises:
            StoreUnavailableError: The backend does not answer.
        """
        ...

    async def leader(self) -> Leader | None:
        """Return who leads now as far as is known, or None."""
        ...


StoreFactory = Callable[[], Awaitable[Store]]
