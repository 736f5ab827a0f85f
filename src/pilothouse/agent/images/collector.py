"""Makes room on the engine's disk before it is full: removes images nobody needs, then kept logs of dead tasks.

It looks every `LOOK_SECONDS`. Nothing is removed by force, nothing before the first assignment told what belongs here,
and each image is judged anew right before it goes.
"""

import asyncio
from collections.abc import Awaitable, Callable

from pilothouse import log
from pilothouse.agent.images.decide import Policy, Scene, Verdict, due, enough, left, sort_out
from pilothouse.agent.images.ledger import Ledger
from pilothouse.agent.logs.archive import LogArchive
from pilothouse.agent.pressure import Room, fullest
from pilothouse.agent.room import room_of
from pilothouse.agent.runtime.interface import Stocks, StoredImage
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.model.images import NodeImage, NodeImages, Reclaimed
from pilothouse.model.objects import Task
from pilothouse.model.wire import Assignment

LOOK_SECONDS = 5.0
AGAIN_SECONDS = 60.0
"""After a look that found nothing to remove, if nothing else was assigned meanwhile."""
SAVE_SECONDS = 600.0
"""Between two writings of when images were used, if nothing else is new."""
NAMED = 20

Needed = Callable[[], Awaitable[tuple[str, ...]]]
"""Asks the manager what belongs on this node; raises PilothouseError."""


class Collector:
    """The images of this node.

    Attributes:
        ledger: Which of them tasks used.
        over: Whether nothing is left of an assigned task, which an assignment tells only when something else changes.
        relief: What is or cannot be done about a full disk, in words; "" while there is room.
    """

    def __init__(
        self,
        engine: Stocks,
        archive: LogArchive,
        ledger: Ledger,
        clock: Clock,
        needed: Needed,
        assignment: Callable[[], Assignment],
        policy: Policy,
    ) -> None:
        self.ledger = ledger
        self.over: Callable[[str], bool] = lambda _task_id: False
        self.relief = ""
        self._engine = engine
        self._archive = archive
        self._clock = clock
        self._needed = needed
        self._assignment = assignment
        self._policy = policy
        self._room: Callable[[], Room | None] = lambda: None
        self._one_at_a_time = asyncio.Lock()
        self._removing = asyncio.Lock()

    async def run(self, room: Callable[[], Room | None]) -> None:
        """Look for ever; *room* measures the engine's disk, None while nobody knows where it is."""
        self._room = room
        again = saved = self._clock.monotonic()
        known = self._assignment()
        while True:
            self._note_uses()
            now = self._clock.monotonic()
            if self._assignment() is not known:
                # What was used a moment ago may be used no more.
                known, again = self._assignment(), now
            self.ledger.save(whole=now - saved >= SAVE_SECONDS)
            saved = now if now - saved >= SAVE_SECONDS else saved
            if now >= again:
                again = now + (AGAIN_SECONDS if await self._look() else 0.0)
            await self._clock.sleep(LOOK_SECONDS)

    async def wait(self) -> None:
        """Wait until no image is just being removed: one that is asked for and found afterwards stays."""
        await self._removing.acquire()
        self._removing.release()

    async def _look(self) -> bool:
        """Make room if it is scarce; return whether that was in vain."""
        room = await asyncio.to_thread(self._room)
        if room is None or not due(room, self._policy) or not self._told:
            self.relief = ""
            return False
        reason = f"the engine's disk ({room.path}) was {fullest(room) * 100:.0f} % full"
        self.relief = self.relief or "images that nobody needs are being removed"
        try:
            done = await self.collect(reason, lambda: enough(self._measured(room), self._policy), logs=True)
        except PilothouseError as error:
            self.relief = f"images cannot be removed: {error}"
            return True
        self.relief = f"nothing more on it can be removed ({done.left})" if done.left else ""
        return bool(done.left)

    async def collect(self, reason: str, satisfied: Callable[[], bool], *, logs: bool) -> Reclaimed:
        """Remove one thing after the other until *satisfied*, or until nothing is left that may go.

        Raises:
            PilothouseError: The engine does not answer.
        """
        async with self._one_at_a_time:
            before = await asyncio.to_thread(self._room)
            removed, verdicts = await self._remove_images(satisfied)
            gone = await self._remove_logs(before, satisfied) if logs else 0
            freed = self._measured(before).free_bytes - before.free_bytes if before else 0
            done = Reclaimed(
                at=self._clock.now(),
                reason=reason,
                images=tuple(_name(image) for image in removed[:NAMED]),
                count=len(removed),
                logs=gone,
                freed_bytes=max(0, freed),
                left="" if satisfied() else left(verdicts),
            )
            log.event("info", "images.removed", count=done.count, logs=gone, freed=done.freed_bytes, left=done.left)
            if removed or gone:
                self.ledger.removed(done)
                self.ledger.save()
            return done

    async def inventory(self) -> NodeImages:
        """Return every image, in the order in which they would be removed, with why the others stay.

        Raises:
            PilothouseError: The engine does not answer.
        """
        self._note_uses()
        verdicts = sort_out(await self._scene(await self._ask()), self._policy)
        room = await asyncio.to_thread(self._room)
        return NodeImages(
            path=room.path if room else "",
            total_bytes=room.total_bytes if room else 0,
            free_bytes=room.free_bytes if room else 0,
            begins_percent=self._policy.begins * 100,
            ends_percent=self._policy.ends * 100,
            images=tuple(self._shown(each) for each in verdicts),
            last=self.ledger.last,
        )

    async def _remove_images(self, satisfied: Callable[[], bool]) -> tuple[list[StoredImage], tuple[Verdict, ...]]:
        needed = await self._ask()
        removed: list[StoredImage] = []
        refused: dict[str, str] = {}
        while True:
            async with self._removing:
                verdicts = sort_out(await self._scene(needed), self._policy)
                verdicts = tuple(
                    each if each.kept or each.image.id not in refused else Verdict(image=each.image, kept=_REFUSED)
                    for each in verdicts
                )
                chosen = next((each.image for each in verdicts if not each.kept), None)
                if chosen is None or satisfied():
                    return removed, verdicts
                if await self._engine.remove_image(chosen):
                    removed.append(chosen)
                    log.event("info", "image.removed", image=chosen.id, name=_name(chosen), size=chosen.size_bytes)
                else:
                    refused[chosen.id] = _REFUSED

    async def _remove_logs(self, room: Room | None, satisfied: Callable[[], bool]) -> int:
        """Remove kept logs of dead tasks, the oldest first, if they are on the same disk."""
        count = 0
        while room is not None and not satisfied() and await asyncio.to_thread(self._archive.drop_oldest, room.path):
            count += 1
        return count

    async def _ask(self) -> frozenset[str] | None:
        """Return what the manager says belongs here, None if none can be asked."""
        try:
            async with asyncio.timeout(10.0):
                return frozenset(await self._needed())
        except (PilothouseError, TimeoutError) as error:
            log.event("warning", "images.unsure", error=str(error) or "no answer within 10 s")
            return None

    async def _scene(self, needed: frozenset[str] | None) -> Scene:
        images = await self._engine.list_images()
        existing = {image.id for image in images}
        self.ledger.forget(existing)
        return Scene(
            images=images,
            in_use=await self._engine.images_in_use(),
            assigned=frozenset(name for task in self._live() for name in _named(task)),
            needed=needed,
            asked=self.ledger.asked,
            uses=self.ledger.uses,
            ages=self.ledger.ages(existing),
        )

    def _shown(self, verdict: Verdict) -> NodeImage:
        image, use = verdict.image, self.ledger.uses.get(verdict.image.id)
        return NodeImage(
            id=image.id,
            names=image.names,
            size_bytes=image.size_bytes,
            used_at=use.at if use else None,
            kept=verdict.kept,
        )

    def _note_uses(self) -> None:
        self.ledger.used(task.status.image_id or task.image.id for task in self._live())

    def _live(self) -> list[Task]:
        return [task for task in self._assignment().tasks if not task.state.terminal and not self.over(task.id)]

    @property
    def _told(self) -> bool:
        """Whether a manager has said what belongs on this node."""
        return self._assignment().revision >= 0

    def _measured(self, otherwise: Room) -> Room:
        return room_of(otherwise.path)


_REFUSED = "the engine refuses to remove it, because something else is built on it"


def _named(task: Task) -> tuple[str, ...]:
    image = task.image
    hooks = [hook.image for hook in task.spec.pre_start]
    return tuple(name for name in (image.id, image.digest, image.ref, task.status.image_id, *hooks) if name)


def _name(image: StoredImage) -> str:
    return next(iter(image.names), image.id[:19])
