"""Whom a commit concerns: the sessions of the nodes it touches, found by index and not by asking every session.

A bell says only that something changed; its owner looks at the store. So a burst of commits costs one look.
"""

import asyncio
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from pilothouse.clock import Clock
from pilothouse.model.base import Object
from pilothouse.model.objects import App, Config, Network, Secret, Service, Task, Volume
from pilothouse.model.release import FileVersion, Release
from pilothouse.model.rollout import Rollout
from pilothouse.model.states import Writer
from pilothouse.store.interface import Change, Commit

PACE_SECONDS = 0.04
"""Between two looks for one node; what happens meanwhile is seen by the second."""


class Bell:
    """One session's memory of whether anything happened since it last looked; rung from the beginning."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()
        self._rung.set()
        self._next_look = 0.0

    def ring(self) -> None:
        """Remember that something happened."""
        self._rung.set()

    async def wait(self) -> None:
        """Return once it was rung, and not sooner than PACE_SECONDS after the last return."""
        await self._rung.wait()
        early = self._next_look - self._clock.monotonic()
        if early > 0:
            await self._clock.sleep(early)
        self._rung.clear()
        self._next_look = self._clock.monotonic() + PACE_SECONDS


class Calls:
    """The bells of all sessions, by node and by the apps whose tasks are there."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._nodes: dict[str, set[Bell]] = {}
        self._apps: dict[str, set[Bell]] = {}
        self._followed: dict[Bell, frozenset[str]] = {}

    def enter(self, node_id: str) -> Bell:
        """Return a bell for a session of *node_id*; give it back with `leave`."""
        bell = Bell(self._clock)
        self._nodes.setdefault(node_id, set()).add(bell)
        self._followed[bell] = frozenset()
        return bell

    def leave(self, node_id: str, bell: Bell) -> None:
        """Never ring *bell* again."""
        self.follow(bell, frozenset())
        del self._followed[bell]
        bells = self._nodes[node_id]
        bells.discard(bell)
        if not bells:
            del self._nodes[node_id]

    def follow(self, bell: Bell, apps: Collection[str]) -> None:
        """Ring *bell* for what concerns *apps* as a whole, and no other app, from now on."""
        before, after = self._followed[bell], frozenset(apps)
        for app in before - after:
            self._apps[app].discard(bell)
            if not self._apps[app]:
                del self._apps[app]
        for app in after - before:
            self._apps.setdefault(app, set()).add(bell)
        self._followed[bell] = after

    def note(self, commit: Commit | None) -> None:
        """Ring for *commit*; None means that anything may have changed."""
        if commit is None:
            _ring(self._followed)
        elif commit.writer is not Writer.AGENT:  # what agents report comes back to none of them
            for change in commit.changes:
                self._note(change)

    def _note(self, change: Change) -> None:
        obj = change.object
        if isinstance(obj, Task):
            for side in (change.before, change.after):
                if isinstance(side, Task) and side.node_id:
                    _ring(self._nodes.get(side.node_id, ()))
        elif isinstance(obj, Network) and obj.removing and change.after is not None:
            _ring(self._followed)
        elif isinstance(obj, Volume) and obj.removing and change.after is not None:
            for node_id in obj.nodes or tuple(self._nodes):
                _ring(self._nodes.get(node_id, ()))
        elif (app := _app_of(change)) is not None:
            _ring(self._apps.get(app, ()))


def _app_of(change: Change) -> str | None:
    """Return the app whose nodes must look, or None if the change can be no node's business."""
    obj = change.object
    if isinstance(obj, (Network, Volume, Secret, Config, FileVersion)):
        return obj.app
    if isinstance(obj, (App, Service, Release)):
        return None if _essence(change.before) == _essence(change.after) else getattr(obj, "app", obj.id)
    return None


def _essence(obj: Object | None) -> object:
    """Return what of an app, a service or a release can concern a node: not how far a rollout has come."""
    if isinstance(obj, App):
        return obj.revision, obj.removing
    if isinstance(obj, Service):
        return replace(obj, version=0, notice="", rollout=Rollout(), steps=())
    if isinstance(obj, Release):
        return obj.stages
    return None


def _ring(bells: Iterable[Bell]) -> None:
    for bell in bells:
        bell.ring()
