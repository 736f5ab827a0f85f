"""What a lost node had is given up when that is safe, and made anew without anybody having failed."""

import pytest
from msgspec.structs import replace

from pilothouse.control.nodes.decide import Stage
from pilothouse.control.nodes.eviction import orphans
from pilothouse.control.nodes.liveness import Liveness, Presence
from pilothouse.control.nodes.timers import FENCED_SECONDS, LOOK_SECONDS, LOST_SECONDS
from pilothouse.control.orchestrators.restart import Next, after
from pilothouse.errors import StoreUnavailableError
from pilothouse.model.container import ContainerSpec, Mount, MountKind
from pilothouse.model.cut_off import KEEP
from pilothouse.model.node import Node, NodeState
from pilothouse.model.objects import Service, Task
from pilothouse.model.spec import CutOff, CutOffAction, RestartCondition, RestartPolicy
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.interface import Change, Commit
from tests.control.world import World, node, spec
from tests.scenarios.simulation import JumpingClock

WRITES = ContainerSpec(image="x", mounts=(Mount(kind=MountKind.VOLUME, source="data", target="/data"),))
STOP = CutOff(action=CutOffAction.STOP, after_seconds=60.0)


def services(world):
    return {service.id: service for service in world.find(Service)}


def test_what_need_not_be_single_goes_first_whatever_it_was_to_do():
    world = World(spec("web", replicas=2), spec("db", container=WRITES), spec("far", cut_off=STOP)).rest()
    world.deploy(spec("web"), spec("db", container=WRITES), spec("far", cut_off=STOP))
    world.orchestrate()
    assert [t.desired_state.name for t in world.live("web")] == ["RUNNING", "SHUTDOWN"]
    every = world.find(Task)
    assert orphans(every, services(world), Stage.NONE) == ()
    first = orphans(every, services(world), Stage.UNFENCED)
    assert sorted(t.service for t in first) == ["far", "web", "web"]
    assert {t.state for t in first} == {TaskState.ORPHANED}
    assert sorted(t.service for t in orphans(every, services(world), Stage.ALL)) == ["db", "far", "web", "web"]


def test_a_rule_that_was_just_written_may_not_have_reached_the_node():
    world = World(spec("db", container=WRITES)).rest()
    world.deploy(spec("db", container=WRITES, cut_off=KEEP))
    assert len(orphans(world.find(Task), services(world), Stage.UNFENCED)) == 1
    world.deploy(spec("db"))
    assert orphans(world.find(Task, state=TaskState.RUNNING), services(world), Stage.UNFENCED) == ()
    assert orphans(world.find(Task), {}, Stage.UNFENCED) == ()


def test_what_is_dead_or_was_never_sent_there_is_left_as_it_is():
    world = World(spec("web", replicas=3)).rest()
    first, second, third = world.live()
    world.complete(first)
    world.force(replace(world.get(Task, second.id), state=TaskState.PENDING))
    assert [t.id for t in orphans(world.find(Task), services(world), Stage.ALL)] == [third.id]


@pytest.mark.parametrize("failures", [0, 4])
def test_a_lost_task_is_replaced_at_once_without_having_failed(failures):
    world = World(spec("web", restart=RestartPolicy(max_attempts=5))).rest()
    world.force(replace(world.one(), failures=failures))
    world.writer = Writer.NODES
    world.put(replace(world.one(), state=TaskState.ORPHANED))
    world.rest()
    new = world.one()
    assert (new.state, new.failures, new.not_before) == (TaskState.RUNNING, failures, 0.0)
    assert new.reason == "the task before it was lost with its node node1"


def test_what_a_cut_off_node_stopped_by_itself_has_not_failed_either():
    world = World(spec("web")).rest()
    world.report(world.one(), TaskState.SHUTDOWN, message="its node had no answer", finished_at=world.now, ready=False)
    world.rest()
    new = world.one()
    assert (new.state, new.failures, new.not_before) == (TaskState.RUNNING, 0, 0.0)
    assert new.reason == "the task before it was stopped by its node node1 after 0.0 s: its node had no answer"


def test_a_task_that_waited_for_its_turn_waits_as_long_in_its_next_place():
    world = World(spec("web")).rest()
    waiting = replace(world.one(), state=TaskState.ORPHANED, not_before=world.now + 30, failures=3)
    waiting = replace(waiting, status=replace(waiting.status, started_at=None))
    verdict = after(waiting, RestartPolicy(), world.now)
    assert (verdict.next, verdict.not_before, verdict.failures) == (Next.LATER, world.now + 30, 3)


def test_who_asked_for_no_restart_gets_none():
    world = World(spec("web", restart=RestartPolicy(condition=RestartCondition.NONE))).rest()
    lost = replace(world.one(), state=TaskState.ORPHANED)
    assert after(lost, RestartPolicy(condition=RestartCondition.NONE), world.now).next is Next.LEAVE


def test_an_update_does_not_wait_for_what_is_on_a_lost_node():
    world = World(spec("db", container=WRITES), nodes=(node("node1"), node("node2"))).rest()
    world.deploy(spec("db", container=replace(WRITES, environment={"A": "1"})))
    world.turn()
    old = next(t for t in world.live("db") if t.desired_state is TaskState.SHUTDOWN or t.state is TaskState.RUNNING)
    world.writer = Writer.NODES
    world.put(replace(world.get(Task, old.id), state=TaskState.ORPHANED))
    world.rest()
    assert world.one("db").state is TaskState.RUNNING


# The detector over a store


class Platform:
    """The detector over a world that keeps a store's promises, and may fail when a test says so."""

    def __init__(self):
        self.clock = JumpingClock()
        nodes = [node(name, state=NodeState.READY) for name in ("node1", "node2", "node3")]
        self.world = World(spec("web"), spec("db", container=WRITES), nodes=nodes).rest()
        self.presence = Presence(self.clock)
        self.detector = Liveness(self, self.clock, self.presence)
        self.detector.survey(self.world)
        self.failing = False
        self.lost = self.world.one("web").node_id
        self.kept = [each.id for each in nodes if each.id != self.lost]
        for task in self.world.find(Task):
            self.world.force(replace(task, node_id=self.lost))
        for name in (*self.kept, self.lost):
            self.presence.arrive(name)

    async def view(self, fn):
        return fn(self.world)

    async def update(self, writer, fn):
        if self.failing and self.presence._writing:
            raise StoreUnavailableError("nobody knows whether it happened")
        self.world.writer = writer
        return fn(self.world)

    async def pass_time(self, seconds, *alive):
        end = self.clock.now() + seconds
        while self.clock.now() + LOOK_SECONDS <= end:
            self.clock.jump(self.clock.now() + LOOK_SECONDS)
            for name in alive:
                self.presence.beat(name)
            await self.detector.act()

    def states(self):
        return {task.service: task.state.name for task in self.world.find(Task)}


async def test_a_lost_node_loses_its_tasks_in_two_stages_each_in_time():
    it = Platform()
    await it.pass_time(10, *it.kept, it.lost)
    await it.pass_time(LOST_SECONDS - 1, *it.kept)
    assert it.states() == {"web": "RUNNING", "db": "RUNNING"}
    await it.pass_time(1.5, *it.kept)
    assert it.states() == {"web": "ORPHANED", "db": "RUNNING"}
    assert it.world.get(Node, it.lost).state is NodeState.DOWN
    await it.pass_time(FENCED_SECONDS - LOST_SECONDS, *it.kept)
    assert it.states() == {"web": "ORPHANED", "db": "ORPHANED"}
    assert all(it.world.get(Node, name).ready for name in it.kept)


async def test_its_beats_are_not_answered_until_its_agent_has_come_again():
    it = Platform()
    await it.pass_time(LOST_SECONDS + 1, *it.kept)
    assert not it.presence.beat(it.lost)
    await it.presence.quiet(it.lost)
    it.presence.arrive(it.lost)
    assert it.presence.beat(it.lost)


async def test_a_node_that_is_back_in_time_keeps_what_must_be_single():
    it = Platform()
    await it.pass_time(LOST_SECONDS + 1, *it.kept)
    it.presence.arrive(it.lost)
    await it.pass_time(60, *it.kept, it.lost)
    assert it.states() == {"web": "ORPHANED", "db": "RUNNING"}


async def test_what_was_begun_is_finished_although_the_node_is_heard_again_before_the_store_answers():
    it = Platform()
    await it.pass_time(LOST_SECONDS - 0.5, *it.kept)
    it.failing = True
    with pytest.raises(StoreUnavailableError):
        await it.pass_time(1, *it.kept)
    assert not it.presence.beat(it.lost)
    assert it.lost in it.presence._writing
    it.failing = False
    await it.pass_time(1, *it.kept, it.lost)
    assert it.states()["web"] == "ORPHANED"
    await it.presence.quiet(it.lost)


async def test_a_task_that_came_to_a_lost_node_at_the_last_moment_is_given_up_too():
    it = Platform()
    await it.pass_time(FENCED_SECONDS + 1, *it.kept)
    late = it.world.force(replace(it.world.find(Task)[0], id="tlate", state=TaskState.ASSIGNED, version=0))
    it.detector.note(Commit(revision=1, at=0.0, writer=Writer.SCHEDULER, changes=(Change(None, late),)))
    await it.pass_time(1, *it.kept)
    assert it.world.get(Task, "tlate").state is TaskState.ORPHANED


async def test_a_detector_at_rest_on_one_host_does_not_look():
    clock = JumpingClock()
    world = World(nodes=[node("node1")])
    it = Platform()
    it.world = world
    presence = Presence(clock)
    detector = Liveness(it, clock, presence)
    detector.survey(world)
    presence.arrive("node1", local=True)
    assert await detector.act() is None


async def test_a_node_that_arrives_before_the_detector_knows_it_is_ready_once_it_does():
    it = Platform()
    it.presence.arrive("node9")
    await it.pass_time(1, *it.kept, it.lost)
    new = it.world.force(node("node9", ready=False))
    it.detector.note(Commit(revision=1, at=0.0, writer=Writer.API, changes=(Change(None, new),)))
    await it.pass_time(1, *it.kept, it.lost, "node9")
    assert it.world.get(Node, "node9").ready


async def test_what_was_on_a_node_that_was_removed_is_given_up_once_its_node_has_certainly_let_go():
    it = Platform()
    gone = it.world.get(Node, it.lost)
    it.world.writer = Writer.API
    it.world.delete(gone)
    it.detector.note(Commit(revision=1, at=0.0, writer=Writer.API, changes=(Change(gone, None),)))
    assert it.lost not in it.presence.heard()
    await it.pass_time(19, *it.kept)
    assert it.states() == {"web": "RUNNING", "db": "RUNNING"}
    await it.pass_time(2, *it.kept)
    assert it.states() == {"web": "ORPHANED", "db": "ORPHANED"}


async def test_a_new_leader_finds_what_was_on_a_node_that_was_removed_before_its_term():
    it = Platform()
    it.world.writer = Writer.API
    it.world.delete(it.world.get(Node, it.lost))
    it.detector = Liveness(it, it.clock, it.presence)
    it.detector.survey(it.world)
    await it.pass_time(22, *it.kept)
    assert it.states() == {"web": "ORPHANED", "db": "ORPHANED"}
