"""The releaser's loops: three transactions, each of which may be the last thing a process does."""

import asyncio

import pytest
from msgspec.structs import replace

from pilothouse.errors import NotFoundError, PilothouseError, PolicyDeniedError, StoreUnavailableError
from pilothouse.model.objects import App, Service
from pilothouse.model.release import Release, ReleaseState, Traffic, release_id
from pilothouse.model.rollout import RolloutState
from pilothouse.model.spec import ReleasePolicy, ReleaseStep, Strategy
from pilothouse.model.states import Writer
from pilothouse.release.loop import Releaser, Restorer, loops
from pilothouse.release.scene import Scene, scene
from pilothouse.store.memory import MemoryStore
from pilothouse.supervise import run_term
from tests.release.crowd import Program
from tests.release.rehearsal import Rehearsal
from tests.release.world import app, at, door, failed, fill, release, service, spec
from tests.scenarios.simulation import JumpingClock

WEB = spec("web")
S = ReleaseState


class KilledError(Exception):
    """The process is gone."""


class Mortal:
    """Counts the writes of one life and ends it before or after one of them; the store itself survives."""

    def __init__(self, store, dies_at=None, after=False):
        self._store, self._dies_at, self._after = store, dies_at, after
        self.writes = 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def update(self, writer, fn):
        self.writes += 1
        if self.writes == self._dies_at and not self._after:
            raise KilledError
        result = await self._store.update(writer, fn)
        if self.writes == self._dies_at:
            raise KilledError
        return result


def bad_release(**fields):
    good = release(1, WEB, state=S.STABLE)
    return Scene(
        app=app(2, **fields), releases=(good, release(2, WEB, base=1)), services=(service(WEB, failed(2)),)
    )  # fmt: skip


async def live(store, clock, restore):
    """Run both loops, from their first look on, until neither has anything to write."""
    before = None
    while before != (before := await store.view(lambda tx: tx.revision)):
        for reconciler in (Releaser(store, clock), Restorer(store, clock, restore)):
            await store.view(reconciler.survey)
            await reconciler.act()


async def states(store):
    found = await store.view(lambda tx: tx.find(Release))
    return [(each.number, each.state) for each in found]


async def follow(store, number, state=RolloutState.DONE):
    """The orchestrator's part: the services are as release *number* says, or not."""

    def write(tx):
        rollout = at(number) if state is RolloutState.DONE else failed(number)
        tx.put(replace(tx.get(Service, "shop/web"), rollout=rollout))

    await store.update(Writer.ORCHESTRATOR, write)


async def test_a_bad_release_is_undone_in_three_transactions():
    clock, store = JumpingClock(), MemoryStore()
    await fill(store, bad_release())
    mortal = Mortal(store)
    await live(mortal, clock, door(mortal, clock))
    assert mortal.writes == 3
    assert await states(store) == [(1, S.STABLE), (2, S.ROLLED_BACK), (3, S.ROLLING)]
    await follow(store, 3)
    await live(store, clock, door(store, clock))
    assert await states(store) == [(1, S.STABLE), (2, S.ROLLED_BACK), (3, S.STABLE)]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize("second", [1, 2, 3])
async def test_a_kill_at_any_write_twice_over_ends_the_same(first, second, after):
    clock, store = JumpingClock(), MemoryStore()
    await fill(store, bad_release())
    for dies_at in (first, second, None):
        mortal = Mortal(store, dies_at, after)
        try:
            await live(mortal, clock, door(mortal, clock))
        except* KilledError:
            pass
    assert await states(store) == [(1, S.STABLE), (2, S.ROLLED_BACK), (3, S.ROLLING)]
    made = await store.view(lambda tx: tx.get(Release, release_id("shop", 3)))
    assert (made.copies, made.undoes, made.message) == (1, 2, "release 2 failed: the new web.1 keeps failing")


async def test_a_rollback_that_fails_stays_as_it_is():
    clock, store = JumpingClock(), MemoryStore()
    await fill(store, bad_release())
    await live(store, clock, door(store, clock))
    await follow(store, 3, RolloutState.FAILED)
    await live(store, clock, door(store, clock))
    assert await states(store) == [(1, S.STABLE), (2, S.ROLLED_BACK), (3, S.FAILED)]


@pytest.mark.parametrize("error", [PolicyDeniedError("the grant was taken back"), NotFoundError("it is gone")])
async def test_a_restoration_the_api_refuses_fails_the_release_with_the_reason(error):
    clock, store, asked = JumpingClock(), MemoryStore(), []

    async def restore(*wanted):
        asked.append(wanted)
        raise error

    await fill(store, bad_release())
    await live(store, clock, restore)
    assert len(asked) == 1
    found = await store.view(lambda tx: tx.get(Release, release_id("shop", 2)))
    assert found.state is S.FAILED
    assert found.sentence.endswith(f"release 1 could not be restored: {error}")
    assert found.evidence.task == "web.1"


async def test_a_refusal_that_comes_too_late_changes_nothing():
    clock, store = JumpingClock(), MemoryStore()
    there = door(store, clock)

    async def restore(*wanted):
        await there(*wanted)
        raise PolicyDeniedError("and then the answer was lost")

    await fill(store, bad_release())
    await live(store, clock, restore)
    assert await states(store) == [(1, S.STABLE), (2, S.ROLLED_BACK), (3, S.ROLLING)]


async def test_a_door_that_does_not_answer_is_tried_again_and_holds_nobody_else_up():
    clock, store = JumpingClock(), MemoryStore()
    there, tries = door(store, clock), []

    async def restore(*wanted):
        tries.append(clock.now())
        if len(tries) < 3:
            raise StoreUnavailableError("the disk is slow")
        return await there(*wanted)

    await fill(store, bad_release())
    began = clock.now()
    async with asyncio.TaskGroup() as group:
        term = group.create_task(run_term(loops(store, clock, restore)))
        while (await states(store))[1][1] is not S.ROLLED_BACK:
            await asyncio.sleep(0)
            if clock.next_at() is not None and (await states(store))[1][1] is S.ROLLING_BACK:
                clock.jump(clock.next_at())
        term.cancel()
    assert [at - began for at in tries] == [0.0, 2.0, 4.0]


async def test_an_app_that_has_moved_on_is_left_to_its_newer_release():
    clock, store = JumpingClock(), MemoryStore()
    there = door(store, clock)

    async def restore(*wanted):
        def deploy(tx):
            tx.put(release(3, WEB, base=1))
            tx.put(replace(tx.get(App, "shop"), revision=3))

        if (await states(store))[-1][0] == 2:
            await store.update(Writer.API, deploy)
        return await there(*wanted)

    await fill(store, bad_release())
    await live(store, clock, restore)
    assert await states(store) == [(1, S.STABLE), (2, S.SUPERSEDED), (3, S.ROLLING)]


async def test_a_bug_of_the_door_is_loud():
    clock, store = JumpingClock(), MemoryStore()

    async def restore(*wanted):
        raise PilothouseError("impossible")

    await fill(store, bad_release())
    with pytest.RaisesGroup(PilothouseError, flatten_subgroups=True):
        await live(store, clock, restore)


async def test_only_what_can_matter_wakes_the_releaser():
    clock, store = JumpingClock(), MemoryStore()
    await fill(store, Scene(app=app(1), releases=(release(1, WEB),), services=(service(WEB, at(1)),)))
    releaser = Releaser(store, clock)

    async def noted(change):
        await store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(change(tx.get(Service, "shop/web"))))
        commits = await store.history(0, 100)
        return releaser.note(commits[-1])

    assert not await noted(lambda service: replace(service, notice="somebody should read this"))
    assert await noted(lambda service: replace(service, rollout=at(1, since=160.0)))


QUICK = ReleasePolicy(
    strategy=Strategy.CANARY, steps=tuple(ReleaseStep(weight=weight, hold_seconds=3.0) for weight in (10, 50))
)


async def canary(store, new, dies_at=None, after=False):
    """A canary from its first look to its end over a store; the releaser dies once, and another one goes on."""
    found = Rehearsal(new=new, policy=QUICK, settle=1)
    clock = JumpingClock(found.now)
    await fill(store, found.scene)
    mortal = Mortal(store, dies_at, after)
    while True:
        releaser = Releaser(mortal, clock)
        await store.view(releaser.survey)
        try:
            await releaser.act()
        except KilledError:
            continue
        found.scene = await store.view(lambda tx: scene(tx, "shop"))
        if found.release.state is not S.ROLLING:
            return found, mortal.writes
        found.second()
        clock.jump(found.now)
        await _tell(store, found.scene)


async def _tell(store, seen):
    """Write what the orchestrator and the agent say."""

    def report(tx):
        for each in seen.traffic:
            stored = tx.get(Traffic, each.id)
            tx.put(replace(each, version=stored.version if stored else 0))

    await store.update(Writer.ORCHESTRATOR, lambda tx: [tx.put(each) for each in seen.services])
    await store.update(Writer.AGENT, report)


@pytest.mark.parametrize(
    ("new", "ends"), [(Program(), S.STABLE), (Program(error_rate=0.3), S.ROLLING_BACK)], ids=["good", "bad"]
)
async def test_a_canary_ends_the_same_wherever_the_releaser_dies(new, ends):
    plain, writes = await canary(MemoryStore(), new)
    assert plain.release.state is ends
    for dies_at in range(1, writes + 1):
        for after in (False, True):
            found, _ = await canary(MemoryStore(), new, dies_at, after)
            assert found.release.state is ends
            assert found.now == plain.now
            assert found.release.verdicts == plain.release.verdicts
            assert found.release.stages == plain.release.stages
