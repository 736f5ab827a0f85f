"""A node without a lease starts nothing that must be single and kills what is, and believes the manager afterwards."""

import asyncio

import msgspec
import pytest

from pilothouse.agent.ending import ending_of
from pilothouse.agent.fence import Fence
from pilothouse.agent.guard.guard import Entry, entry_text
from pilothouse.agent.guard.register import Register
from pilothouse.agent.lease import Lease, Term
from pilothouse.agent.local_lease import renew_locally
from pilothouse.agent.machine import Cut, Do, Outcome, Seen, after, begin, decide
from pilothouse.clock import SystemClock
from pilothouse.errors import TemporaryError, TermOverError
from pilothouse.model.cut_off import FENCE
from pilothouse.model.names import container_name
from pilothouse.model.spec import CutOff, CutOffAction
from pilothouse.model.states import TaskState as S
from tests.agent.manager import Manager, Node, eventually
from tests.agent.world import make_state, make_task
from tests.scenarios.simulation import JumpingClock

SECONDS = 8.0
WEB = {"shop/web": FENCE}
STOP = {"shop/web": CutOff(action=CutOffAction.STOP, after_seconds=60.0)}


class Boot(SystemClock):
    """A clock whose boot time jumps when a test says so."""

    def __init__(self):
        self.slept = 0.0

    def boottime(self):
        return super().boottime() + self.slept


def fence_at(clock, rules=None):
    lease = Lease(clock)
    lease.begin()
    fence = Fence(lease, clock)
    fence.assigned(rules or WEB)
    return fence


def renew(fence, clock):
    return fence.lease.acknowledged(clock.boottime(), SECONDS)


def test_what_must_be_single_waits_for_a_lease_and_other_tasks_do_not():
    clock = JumpingClock()
    fence, task, other = fence_at(clock), make_task(), make_task(2, service="other")
    assert fence.held(task) == "waits until its node is in touch with a manager, because it must not run twice"
    assert fence.held(other) == ""
    with pytest.raises(TemporaryError, match="in touch with a manager"):
        fence.enter(task, "c1")
    renew(fence, clock)
    assert fence.held(task) == ""
    assert fence.enter(task, "c1") == fence.lease.term.number


def test_when_the_lease_ends_it_must_die_and_a_new_lease_does_not_save_it():
    clock = JumpingClock()
    fence, task = fence_at(clock), make_task()
    renew(fence, clock)
    term = fence.enter(task, "c1")
    assert fence.cut(task, term) is None
    clock.jump(clock.now() + SECONDS)
    assert fence.cut(task, term).at_once
    fence.lease.begin()
    renew(fence, clock)
    assert fence.cut(task, term).at_once


def test_a_step_of_a_release_runs_to_its_end_because_it_is_never_run_again():
    clock = JumpingClock()
    fence, step = fence_at(clock), make_task(step=0, slot=0)
    assert (fence.fenced(step), fence.held(step)) == (False, "")


def test_a_task_that_is_to_be_stopped_after_a_time_is_stopped_gently_then():
    clock = JumpingClock()
    fence, task = fence_at(clock, STOP), make_task()
    renew(fence, clock)
    clock.jump(clock.now() + SECONDS + 59)
    assert fence.cut(task, None) is None
    clock.jump(clock.now() + 1)
    assert fence.cut(task, None) == Cut(reason="no manager was in reach for 60 s after the end of the node's lease")


def test_nothing_starts_before_what_was_given_up_is_dead_but_it_does_not_wait_for_ever():
    clock = JumpingClock()
    fence, task = fence_at(clock), make_task(2, service="other")
    fence.clear_first({"t7", "t8"})
    assert fence.held(task) == "waits until what was given up while the node was cut off is gone"
    fence.cleared("t7")
    assert fence.held(task)
    fence.cleared("t8")
    assert fence.held(task) == ""
    fence.clear_first({"t9"})
    clock.jump(clock.now() + 10)
    assert fence.held(task) == ""


def test_on_one_host_nothing_is_fenced():
    clock = JumpingClock()
    fence = Fence(Lease(clock, endless=True), clock)
    fence.assigned(WEB)
    clock.jump(clock.now() + 1e6)
    assert (fence.held(make_task()), fence.cut(make_task(), 0)) == ("", None)


def test_the_guard_is_told_before_the_start_and_what_it_did_is_the_end_of_the_task(tmp_path):
    clock, task = JumpingClock(), make_task()
    register = Register(tmp_path / "guard")
    lease = Lease(clock, register.term)
    fence = Fence(lease, clock, register)
    fence.assigned(WEB)
    lease.begin()
    fence.assigned(WEB)
    renew(fence, clock)
    assert register.term == Term(number=1, until=clock.boottime() + SECONDS)
    assert fence.held(task) == "waits for the node's guard, because it must not run twice"
    fence.runs(task, make_state(task, pid=0), None)
    assert fence.entered(task) == 1
    assert Register(tmp_path / "guard").entered(task.id) == 1
    assert fence.killed(task) is None
    ended = int((clock.boottime() + SECONDS) * 1e9)
    (tmp_path / "guard" / "done" / task.id).write_text(f"c1 1 3 {ended} {ended} {ended + 250_000_000} 12.5\n")
    assert "its guard" not in fence.killed(task).reason
    assert "the node's guard killed it (3 processes, 0.2 s after the end of the lease)" in fence.killed(task).reason
    fence.leave(task.id)
    assert (fence.entered(task), fence.killed(task)) == (None, None)


def test_an_agent_that_comes_back_finds_the_lease_and_what_is_guarded(tmp_path):
    register = Register(tmp_path)
    register.keep(Term(number=4, until=123.5))
    register.enter("t1", "c1", 4)
    again = Register(tmp_path)
    assert (again.term, again.entered("t1")) == (Term(number=4, until=123.5), 4)


def test_what_was_guarded_before_the_machine_started_is_forgotten(tmp_path):
    register = Register(tmp_path)
    register.keep(Term(number=4, until=123.5))
    register.enter("t1", "c1", 4)
    lease = tmp_path / "lease"
    lease.write_bytes(lease.read_bytes().replace(register._boot.encode(), b"0" * 36))
    again = Register(tmp_path)
    assert (again.term, again.entered("t1")) == (Term(), None)


def test_a_lease_that_is_written_in_place_is_never_longer_or_shorter(tmp_path):
    register = Register(tmp_path)
    sizes = set()
    for number in (0, 7, 10**6):
        register.keep(Term(number=number, until=number * 1000.0))
        sizes.add((tmp_path / "lease").stat().st_size)
    assert sizes == {128}
    assert entry_text(Entry("t", "c", 1)) == "c 1 0 0\n"


async def test_a_leaders_own_node_has_a_lease_as_long_as_it_can_be_shown_that_it_leads():
    clock, leads = JumpingClock(), [True]
    lease = Lease(clock)
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(_ended(renew_locally(lease, clock, lambda: leads[0])))
        for _ in range(20):
            await asyncio.sleep(0)
            clock.jump(clock.now() + 1)
        assert lease.remaining() >= 7
        leads[0] = False
        for _ in range(3):
            await asyncio.sleep(0)
            clock.jump(clock.now() + 1)
        assert "cannot show that it leads" in await renewing
    clock.jump(clock.now() + SECONDS)
    assert not lease.live


async def test_a_leader_that_slept_through_its_own_lease_begins_anew():
    clock = JumpingClock()
    lease = Lease(clock)
    async with asyncio.TaskGroup() as group:
        renewing = group.create_task(_ended(renew_locally(lease, clock, lambda: True)))
        await asyncio.sleep(0)
        clock.jump(clock.now() + SECONDS + 1)
        assert "ended before it was renewed" in await renewing


async def _ended(awaitable):
    try:
        await awaitable
    except TermOverError as error:
        return str(error)


def test_hooks_in_containers_of_their_own_are_guarded_with_their_task(tmp_path):
    clock, task = JumpingClock(), make_task()
    register = Register(tmp_path)
    fence = fence_at(clock)
    fence._register = register
    with pytest.raises(TemporaryError):
        fence.enter_hook(task, "0", "h0")
    renew(fence, clock)
    fence.enter_hook(task, "0", "h0")
    fence.enter_hook(make_task(2, service="other"), "0", "h1")
    fence.runs(task, make_state(task), None)
    assert sorted(path.name for path in (tmp_path / "tasks").iterdir()) == [task.id, f"{task.id}-0"]
    register.sweep({task.id})
    assert len(list((tmp_path / "tasks").iterdir())) == 2
    fence.leave(task.id)
    assert list((tmp_path / "tasks").iterdir()) == []


# The machine


def test_a_task_that_is_held_is_prepared_and_says_what_it_waits_for():
    task = make_task(state=S.READY)
    life = begin(task, make_state(task, "created"))
    life = msgspec.structs.replace(life, prepared=True)
    step = decide(task, life, Seen(container=make_state(task, "created"), held="waits for a lease"), 5.0)
    assert (step.do, step.life.state, step.life.message) == (Do.NOTHING, S.READY, "waits for a lease")


def test_a_task_that_is_cut_off_is_killed_without_ceremony_and_has_not_failed():
    task = make_task(state=S.RUNNING, spec={"pre_stop": ()})
    running = make_state(task)
    life = begin(task, running)
    cut = Cut(reason="nobody answered", at_once=True)
    step = decide(task, msgspec.structs.replace(life, opened=True), Seen(container=running, cut=cut), 5.0)
    assert (step.do, step.life.message) == (Do.STOP, "killing: nobody answered")
    ended = decide(task, step.life, Seen(container=make_state(task, "exited", code=137)), 6.0)
    assert ended.do is Do.COLLECT
    exited = make_state(task, "exited", code=137)
    done = after(task, ended.life, Do.COLLECT, Outcome(ending=ending_of(exited.exit, ())), 6.0)
    assert (done.state, done.message) == (S.SHUTDOWN, "nobody answered")
    well = after(task, ended.life, Do.COLLECT, Outcome(ending=ending_of(make_state(task, "exited").exit, ())), 6.0)
    assert well.state is S.COMPLETE


# The agent


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


async def test_an_agent_starts_what_must_be_single_only_with_a_lease_and_kills_it_when_that_ends(node):
    clock, task = Boot(), make_task()
    lease = Lease(clock)
    node.fence = lambda: Fence(lease, clock)
    manager = Manager(task)
    manager.cut_offs = WEB
    async with node.agent(manager):
        await manager.until(lambda: "in touch with a manager" in manager.status(task).message)
        lease.begin()
        lease.acknowledged(clock.boottime(), SECONDS)
        manager.touch()
        await manager.reaches(task, S.RUNNING)
        clock.slept += SECONDS
        await manager.reaches(task, S.SHUTDOWN)
    assert manager.status(task).message.endswith("so it was killed")
    assert manager.status(task).ending.exit_code == 137


async def test_what_was_given_up_is_killed_before_anything_starts(node):
    old, new = make_task(1), make_task(2, slot=2)
    manager = Manager(old)
    async with node.agent(manager):
        await manager.reaches(old, S.RUNNING)
        node.host.images[old.spec.container.image] = msgspec.structs.replace(node.host.images[old.spec.container.image])
        manager.tasks[old.id] = msgspec.structs.replace(manager.tasks[old.id], state=S.ORPHANED)
        manager.put(new)
        await manager.reaches(new, S.RUNNING)
        await eventually(lambda: container_name(old) not in node.host.containers)
    calls = [(call.verb, call.subject) for call in node.engine.calls if call.verb in {"start", "stop"}]
    assert calls.index(("stop", container_name(old))) < calls.index(("start", container_name(new)))


async def test_a_restarted_agent_kills_what_was_given_up_and_leaves_the_rest_alone(node):
    gone, kept = make_task(1), make_task(2, slot=2)
    manager = Manager(gone, kept)
    async with node.agent(manager):
        await manager.settles()
    manager.tasks[gone.id] = msgspec.structs.replace(manager.tasks[gone.id], state=S.ORPHANED)
    before = node.host.find(container_name(kept)).id
    begun = list(node.host.begun)
    async with node.agent(manager):
        await eventually(lambda: container_name(gone) not in node.host.containers)
        await manager.reaches(kept, S.RUNNING)
    assert node.host.find(container_name(kept)).id == before
    assert node.host.begun == begun
