"""Images go when room is scarce and nobody needs them, oldest use first; in doubt they stay."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.agent.images.collector import Collector
from pilothouse.agent.images.decide import Policy, Scene, Scope, Use, due, enough, left, sort_out
from pilothouse.agent.images.ledger import Ledger
from pilothouse.agent.logs.archive import LogArchive
from pilothouse.agent.pressure import Room
from pilothouse.agent.runtime.fake import FakeEngine
from pilothouse.agent.runtime.fakehost import FakeHost, FakeImage
from pilothouse.agent.runtime.interface import StoredImage
from pilothouse.errors import RuntimeUnavailableError, SessionLostError
from pilothouse.model.objects import ResolvedImage
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Assignment, LogLine, Stream
from tests.agent.manager import eventually
from tests.agent.world import make_assignment, make_task
from tests.scenarios.simulation import JumpingClock

MIB = 1 << 20
IDS = tuple(f"sha256:{number}" for number in range(6))
some = st.frozensets(st.sampled_from([*IDS, *(f"app:{number}" for number in range(6))]), max_size=3)
scenes = st.builds(
    Scene,
    images=st.permutations(
        [StoredImage(id=id_, names=(f"app:{n}",) if n % 3 else (), size_bytes=MIB) for n, id_ in enumerate(IDS)]
    ).map(tuple),
    in_use=st.frozensets(st.sampled_from(IDS), max_size=3),
    assigned=some,
    needed=st.none() | some,
    asked=some,
    uses=st.dictionaries(st.sampled_from(IDS), st.builds(Use, order=st.integers(1, 99), at=st.just(1.0))),
    ages=st.dictionaries(st.sampled_from(IDS), st.floats(0, 300)),
)


def named(image, names):
    return image.id in names or any(name in names for name in image.names)


@given(scenes, st.sampled_from(Scope))
def test_what_anybody_may_need_stays_and_the_rest_goes_in_the_order_of_its_last_use(scene, scope):
    verdicts = sort_out(scene, Policy(scope=scope))
    assert {each.image for each in verdicts} == set(scene.images)
    going = [each.image for each in verdicts if not each.kept]
    assert [not each.kept for each in verdicts] == [True] * len(going) + [False] * (len(verdicts) - len(going))
    for image in going:
        assert scope is not Scope.NONE
        assert scene.needed is not None
        assert not named(image, scene.in_use | scene.assigned | scene.needed | scene.asked)
        assert scene.ages.get(image.id, 120.0) >= 120.0
        assert scope is Scope.ALL or image.id in scene.uses
    assert going == sorted(
        going, key=lambda i: (bool(i.names), scene.uses[i.id].order if i.id in scene.uses else 0, i.id)
    )
    if scope is Scope.ALL and scene.needed is not None:
        free = [i for i in scene.images if not named(i, scene.in_use | scene.assigned | scene.needed | scene.asked)]
        assert {i.id for i in free if scene.ages.get(i.id, 120.0) >= 120.0} == {i.id for i in going}


def test_why_the_others_stay_is_counted_in_words():
    images = tuple(StoredImage(id=id_, names=(f"app:{n}",)) for n, id_ in enumerate(IDS[:3]))
    scene = Scene(images=images, in_use=frozenset(IDS[:2]))
    said = left(sort_out(scene, Policy()))
    assert said == "2 images: a container is made from it; 1 image: no task of Pilothouse used it"
    assert left(()) == "there is no image on it"


def room(used):
    return Room(path="/d", total_bytes=1000, free_bytes=1000 - used)


def test_removing_begins_at_85_percent_and_ends_below_80():
    policy = Policy()
    assert [due(room(used), policy) for used in (849, 850)] == [False, True]
    assert [enough(room(used), policy) for used in (800, 799)] == [False, True]
    inodes = Room(path="/d", total_bytes=1000, free_bytes=1000, total_files=100, free_files=10)
    assert due(inodes, policy)
    assert not enough(inodes, policy)


class Site:
    """A node with images on a disk of 100 MiB that is as full as they and *more* make it."""

    def __init__(self, directory, *images, policy=Policy(), others=0):  # noqa: B008 - a frozen value
        self.clock = JumpingClock()
        self.host = FakeHost(self.clock, *images)
        self.engine = FakeEngine(self.host)
        self.archive = LogArchive(directory / "logs")
        self.directory = directory
        self.policy = policy
        self.others = others
        self.needed = []
        self.unreachable = False
        self.assignment = Assignment(revision=1)
        self.restart()

    def restart(self):
        self.ledger = Ledger(self.directory / "images.json", self.clock)
        self.collector = Collector(
            self.engine, self.archive, self.ledger, self.clock, self._ask, lambda: self.assignment, self.policy
        )
        self.collector._room = self.room
        self.collector._measured = lambda _otherwise: self.room()

    async def _ask(self):
        if self.unreachable:
            raise SessionLostError("no manager is connected")
        return tuple(self.needed)

    def room(self):
        logs = len(list(self.archive._directory.glob("*"))) if self.archive._directory.exists() else 0
        used = sum(image.size_bytes for image in self.host.stock()) + self.others + logs * MIB
        return Room(path=str(self.directory), total_bytes=100 * MIB, free_bytes=100 * MIB - used)

    def there(self):
        return sorted(name for image in self.host.stock() for name in image.names)

    async def uses(self, *refs):
        """Have a task of each image in turn, and none afterwards."""
        for ref in refs:
            self.assign(ref)
            await self.tick()
        self.assign()

    def assign(self, *refs):
        tasks = [
            make_task(n, image=ResolvedImage(ref=ref, id=self.host.image(ref).image_id), state=TaskState.RUNNING)
            for n, ref in enumerate(refs, 1)
        ]
        self.assignment = make_assignment(*tasks)

    async def tick(self):
        self.collector._note_uses()
        self.clock.jump(self.clock.now() + 1)

    def later(self, seconds=600):
        self.clock.jump(self.clock.now() + seconds)


def image(ref, mib=20):
    return FakeImage(ref=ref, size_bytes=mib * MIB)


async def test_the_least_recently_used_images_go_until_there_is_room(tmp_path):
    site = Site(tmp_path, *map(image, ("a:1", "b:1", "c:1", "d:1")), others=8 * MIB)
    await site.uses("c:1", "a:1", "b:1", "d:1")
    site.assign("d:1")
    site.later()
    assert not await site.collector._look()
    assert site.there() == ["a:1", "b:1", "d:1"], "one was enough: 68 % is below 80"
    done = site.ledger.last
    assert (done.images, done.count, done.freed_bytes, done.left) == (("c:1",), 1, 20 * MIB, "")
    assert done.reason.endswith("was 88 % full")
    assert site.collector.relief == ""


async def test_nothing_is_removed_before_room_is_scarce_or_before_a_manager_said_what_belongs_here(tmp_path):
    site = Site(tmp_path, *map(image, ("a:1", "b:1", "c:1", "d:1")), others=4 * MIB)
    await site.uses("a:1", "b:1", "c:1", "d:1")
    site.later()
    assert not await site.collector._look()
    assert len(site.there()) == 4
    site.others = 10 * MIB
    site.assignment = Assignment(revision=-1)
    assert not await site.collector._look()
    assert len(site.there()) == 4


async def test_when_nothing_may_go_it_says_why(tmp_path):
    site = Site(tmp_path, *map(image, ("a:1", "b:1", "c:1", "d:1")), others=12 * MIB)
    await site.uses("a:1", "b:1")
    site.assign("a:1")
    site.needed = [site.host.image("b:1").image_id]
    site.later()
    assert await site.collector._look()
    assert site.there() == ["a:1", "b:1", "c:1", "d:1"]
    assert site.collector.relief == (
        "nothing more on it can be removed (2 images: no task of Pilothouse used it; 1 image: a release needs it, or "
        "can be gone back to; 1 image: a task on this node uses it)"
    )
    site.unreachable = True
    site.needed = []
    assert await site.collector._look()
    assert "1 image: no manager can be asked whether a release needs it" in site.collector.relief
    site.unreachable = False
    assert not await site.collector._look()
    assert site.there() == ["a:1", "c:1", "d:1"]


async def test_an_image_that_just_came_survives_whatever_the_wall_clock_does(tmp_path):
    site = Site(tmp_path, image("a:1", 50), image("b:1", 40))
    await site.uses("a:1", "b:1")
    now = site.clock.now
    site.clock.now = lambda: now() + 3600
    assert await site.collector._look()
    assert site.there() == ["a:1", "b:1"]
    site.clock.now = now
    site.later(121)
    assert not await site.collector._look()
    assert site.there() == ["b:1"]


async def test_uses_are_remembered_by_the_next_agent(tmp_path):
    site = Site(tmp_path, image("a:1", 50), image("b:1", 40))
    await site.uses("b:1", "a:1")
    site.ledger.save()
    site.restart()
    assert not await site.collector._look()
    assert site.there() == ["a:1"]
    site.restart()
    assert site.ledger.last.images == ("b:1",)
    (tmp_path / "images.json").write_text("{")
    site.restart()
    assert (dict(site.ledger.uses), site.ledger.last) == ({}, None)


async def test_an_image_that_comes_to_be_used_meanwhile_stays(tmp_path):
    site = Site(tmp_path, *(image(ref, 15) for ref in ("a:1", "b:1", "c:1", "d:1")), others=39 * MIB)
    await site.uses("a:1", "b:1", "c:1", "d:1")
    site.later()
    remove = site.engine.remove_image

    async def removing(stored):
        assert site.collector._removing.locked()
        site.assign("b:1")
        return await remove(stored)

    site.engine.remove_image = removing
    assert not await site.collector._look()
    assert site.there() == ["b:1", "d:1"]


async def test_the_image_of_a_task_that_is_over_goes_although_no_assignment_says_so_yet(tmp_path):
    site = Site(tmp_path, image("a:1", 50), image("b:1", 40))
    site.assign("a:1", "b:1")
    await site.tick()
    site.later()
    assert await site.collector._look()
    over = site.assignment.tasks[0].id
    site.collector.over = lambda task_id: task_id == over
    site.later()
    assert not await site.collector._look()
    assert site.there() == ["b:1"]


async def test_an_image_the_engine_will_not_let_go_is_tried_once_and_the_next_goes(tmp_path):
    site = Site(tmp_path, *map(image, ("a:1", "b:1", "c:1", "d:1")), others=8 * MIB)
    await site.uses("a:1", "b:1", "c:1", "d:1")
    site.later()
    remove, tried = site.engine.remove_image, []

    async def removing(stored):
        tried.append(stored.names[0])
        return stored.names[0] != "a:1" and await remove(stored)

    site.engine.remove_image = removing
    assert not await site.collector._look()
    assert tried == ["a:1", "b:1"]
    assert site.there() == ["a:1", "c:1", "d:1"]


async def test_one_that_is_asked_for_waits_for_a_removal_under_way_and_then_stays(tmp_path):
    site = Site(tmp_path, image("a:1", 50), image("b:1", 40))
    await site.uses("a:1", "b:1")
    site.later()
    async with asyncio.TaskGroup() as group:
        await site.collector._removing.acquire()
        with site.ledger.asking("a:1"):
            asking = group.create_task(site.collector.wait())
            await asyncio.sleep(0)
            assert not asking.done()
            site.collector._removing.release()
            await asking
            await site.collector._look()
            assert site.there() == ["a:1"], "the other went"


async def test_kept_logs_go_after_the_images_the_oldest_first(tmp_path):
    site = Site(tmp_path, image("a:1", 20), image("b:1", 60), others=14 * MIB)
    for number in range(4):
        site.archive.save(f"t{number}", [LogLine(task_id=f"t{number}", at=1.0, stream=Stream.OUT, text="said")])
    await site.uses("a:1", "b:1")
    site.assign("b:1")
    site.later()
    site.others = 17 * MIB
    assert not await site.collector._look()
    assert site.there() == ["b:1"]
    assert site.ledger.last.logs == 2
    assert [site.archive.has(f"t{number}") for number in range(4)] == [False, False, True, True]


async def test_an_engine_that_does_not_answer_is_said_and_asked_again(tmp_path):
    site = Site(tmp_path, image("a:1", 90))
    site.host.outage()
    assert await site.collector._look()
    assert "does not answer" in site.collector.relief


async def test_pruning_takes_all_that_may_go_and_leaves_the_logs(tmp_path):
    site = Site(tmp_path, *map(image, ("a:1", "b:1", "c:1")))
    site.archive.save("t1", [])
    await site.uses("a:1", "b:1")
    site.later()
    listed = await site.collector.inventory()
    assert [i.names[0] for i in listed.images if not i.kept] == ["a:1", "b:1"]
    assert (listed.images[2].kept, listed.images[2].used_at) == ("no task of Pilothouse used it", None)
    done = await site.collector.collect("a person asked for it", lambda: False, logs=False)
    assert (done.images, done.freed_bytes, done.logs) == (("a:1", "b:1"), 40 * MIB, 0)
    assert site.archive.has("t1")
    everything = Site(tmp_path, *map(image, ("a:1", "b:1", "c:1")), policy=Policy(scope=Scope.ALL))
    assert [i.kept for i in (await everything.collector.inventory()).images if i.names == ("c:1",)] == [
        "it came or was used less than 120 s ago"
    ]
    everything.later()
    done = await everything.collector.collect("a person asked for it", lambda: False, logs=False)
    assert everything.there() == []


async def test_a_look_in_vain_is_followed_by_the_next_after_a_minute_or_when_something_else_is_assigned(tmp_path):
    site = Site(tmp_path, image("a:1", 90))
    await site.uses("a:1")
    site.assign("a:1")
    listed = []
    whole = site.engine.list_images

    async def listing():
        listed.append(site.clock.monotonic())
        return await whole()

    site.engine.list_images = listing
    async with asyncio.TaskGroup() as group:
        running = group.create_task(site.collector.run(site.room))

        await eventually(lambda: site.collector.relief.startswith("nothing more"))
        first = len(listed)
        for _ in range(5):
            site.later(5)
            await asyncio.sleep(0.01)
        assert len(listed) == first
        site.assign()
        site.later(6)
        await eventually(lambda: len(listed) > first)
        site.later(600)
        await eventually(lambda: site.there() == [])
        await eventually(lambda: site.collector.relief == "")
        running.cancel()


@pytest.mark.parametrize("error", [RuntimeUnavailableError("gone"), None])
def test_a_question_that_ends_badly_is_over_all_the_same(tmp_path, error):
    ledger = Ledger(tmp_path / "images.json", JumpingClock())
    with contextlib.suppress(RuntimeUnavailableError), ledger.asking("a:1"):
        assert ledger.asked == {"a:1"}
        if error:
            raise error
    assert ledger.asked == frozenset()


def test_use_does_not_hang_on_the_wall_clock(tmp_path):
    clock = JumpingClock()
    ledger = Ledger(tmp_path / "images.json", clock)
    ledger.used(["sha256:a"])
    now = clock.now
    clock.now = lambda: now() - 3600
    ledger.used(["sha256:b"])
    assert ledger.uses["sha256:b"].order > ledger.uses["sha256:a"].order
    assert replace(ledger.uses["sha256:b"], order=0).at < ledger.uses["sha256:a"].at
