"""What every handler may use, handed in by the composition root; handlers keep nothing of their own."""

import asyncio
import pathlib
from typing import Protocol

import msgspec

from pilothouse.clock import Clock
from pilothouse.governance.secrets.seal import Vault
from pilothouse.ids import Ids
from pilothouse.server.commits import Commits
from pilothouse.server.sessions.registry import Nodes
from pilothouse.store.interface import Store


class Keeping(Protocol):
    """The optional powers of a durable store: to be copied and examined while it runs."""

    async def backup(self, target: pathlib.Path) -> None:
        """Write a consistent copy of the whole store to *target*, which must not exist."""
        ...

    async def check(self) -> str:
        """Return "" if the store is whole, else what is wrong with it."""
        ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The manager as the API sees it.

    Attributes:
        keeping: The store's powers to be copied and examined; None if it has none (in memory).
        closing: Set when the server stops; streams end then.
        data_directory: Where the platform keeps its state, or None if nowhere.
        store_name: "sqlite" or "memory".
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
