"""What every handler may use, handed in by the composition root; handlers keep nothing of their own."""

import asyncio
import pathlib
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import msgspec

from pilothouse.clock import Clock
from pilothouse.governance.identity.joining.limiter import Limiter
from pilothouse.governance.secrets.seal import Vault
from pilothouse.ids import Ids
from pilothouse.link.credentials import Credentials
from pilothouse.model.api import Finding, StoreMember
from pilothouse.server.api import sse
from pilothouse.server.cluster.founding import Founded
from pilothouse.server.commits import Commits
from pilothouse.server.fan import Fan, Told
from pilothouse.server.sessions.registry import Nodes
from pilothouse.store.interface import Leader, Store

MOST_RECORDED = 60
"""So many refused joins a minute are put on record, whoever asked; the log has all."""


class Keeping(Protocol):
    """The optional powers of a durable store: to be copied and examined while it runs."""

    async def backup(self, target: pathlib.Path) -> None:
        """Write a consistent copy of the whole store to *target*, which must not exist."""
        ...

    async def check(self) -> str:
        """Return "" if the store is whole, else what is wrong with it."""
        ...


@runtime_checkable
class Replicated(Protocol):
    """The optional powers of a store that several managers share."""

    async def members(self) -> tuple[StoreMember, ...]:
        """Return how every member is."""
        ...

    async def findings(self) -> tuple[Finding, ...]:
        """Return what is to be said about them."""
        ...

    async def leader(self) -> Leader | None:
        """Return which manager leads."""
        ...

    async def admit(self, name: str, peer: str) -> tuple[dict[str, str], tuple[str, ...], str, bool]:
        """Let a member in; see `store.etcd.keeping`."""
        ...

    async def dismiss(self, name: str, peer: str = "") -> tuple[StoreMember, ...]:
        """Take members out, unless the others could not go on then; see `store.etcd.keeping`."""
        ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The manager as the API sees it.

    Attributes:
        keeping: The store's powers to be copied and examined; None if it has none (in memory).
        closing: Set when the server stops; streams end then.
        data_directory: Where the platform keeps its state, or None if nowhere.
        store_name: "sqlite", "etcd" or "memory".
        node_id: This machine, as a node.
        credentials: Where this machine keeps its key and certificates, or None if nowhere.
        guesses: Who brought wrong join tokens lately.
        refusals: How many wrong ones were put on record lately, whoever brought them.
        events: Those who watch what happens.
        founded: Told once this machine's certificate is there after a cluster was made of the platform.
    """

    store: Store
    clock: Clock
    ids: Ids
    vault: Vault
    nodes: Nodes
    commits: Commits
    closing: asyncio.Event
    started_at: float
    keeping: Keeping | None = None
    data_directory: pathlib.Path | None = None
    socket: pathlib.Path | None = None
    store_name: str = "memory"
    node_id: str = ""
    credentials: Credentials | None = None
    guesses: Limiter = msgspec.field(default_factory=Limiter)
    refusals: Limiter = msgspec.field(default_factory=lambda: Limiter(wrong=MOST_RECORDED))
    founded: Callable[[Founded], None] = lambda _founded: None
    events: Fan = msgspec.field(default_factory=lambda: Fan(Told(sse.events)))
