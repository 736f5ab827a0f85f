"""A task gets traffic while it is ready, none from the moment it is to stop, and time to end what it has."""

import asyncio
import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent import doors
from pilothouse.agent.doors import PATIENCE, Doors, backends, door, handed_over
from pilothouse.agent.machine import Checks, Do, Life, Outcome, Seen, after, begin, decide, drain_seconds, report
from pilothouse.agent.proxy.fake import FakeIngress, FakeProxy
from pilothouse.agent.proxy.interface import Door
from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.clock import SystemClock
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.container import Port, PortMode
from pilothouse.model.names import container_name
from pilothouse.model.objects import Health, PortBinding, TaskStatus
from pilothouse.model.rollout import Golden
from pilothouse.model.spec import Hook, Probe, ProbeKind, Probes
from pilothouse.model.states import TaskState
from pilothouse.model.wire import Split
from tests.agent.manager import Manager, Node, eventually
from tests.agent.world import IMAGE, make_state, make_task

S = TaskState
SHARED = PortBinding(target=80, host_port=8080, ingress=True)
ENGINES = PortBinding(target=80, host_port=8080)
PRE_STOP = {"pre_stop": (Hook(command=("bye",)),)}
BAD = Checks(health=Health.UNHEALTHY, ready=False, failing="its live probe failed 3 times")
NOT_READY = Checks(health=Health.HEALTHY, ready=False)


def published(number=1, *, spec=None, **changes):
    """Return a task with one port that the proxy serves."""
    container = {"ports": (Port(target=80, published=(8080, 8080)),), **changes.pop("container", {})}
    return make_task(number, container=container, spec=spec, **{"ports": (SHARED,), **changes})


def seen(task, phase="running", checks=None):
    return Seen(container=None if phase == "gone" else make_state(task, phase), checks=checks or Checks())


def running(task, **changes):
    return Life(state=S.RUNNING, touched=True, prepared=True, **changes)


@pytest.mark.parametrize(
    ("life", "phase", "checks", "expected"),
    [
        (Life(state=S.PREPARING), "gone", Checks(), Door.CLOSED),
        (Life(state=S.STARTING), "running", Checks(), Door.CLOSED),
        (Life(state=S.RUNNING), "running", Checks(), Door.OPEN),
        (Life(state=S.RUNNING), "running", NOT_READY, Door.CLOSED),
        (Life(state=S.RUNNING, opened=True), "running", NOT_READY, Door.DRAINING),
        (Life(state=S.RUNNING, opened=True, leaving=True), "running", Checks(), Door.DRAINING),
        (Life(state=S.RUNNING, opened=True, leaving=True, drained=True), "running", Checks(), Door.CLOSED),
        (Life(state=S.RUNNING, opened=True), "exited", Checks(), Door.CLOSED),
        (Life(state=S.FAILED, opened=True), "exited", Checks(), Door.CLOSED),
    ],
)
def test_the_door_follows_the_life_of_the_task(life, phase, checks, expected):
    assert door(life, seen(make_task(), phase, checks)) is expected


def test_only_ports_of_the_proxy_are_told_to_it_with_what_is_spoken_on_them():
    ports = (
        Port(target=25, published=(2525, 2525), app_protocol="tcp", client_address="proxy-protocol"),
        Port(target=53, protocol="udp"),
        Port(target=80),
    )
    given = (
        PortBinding(target=25, host_port=2525, ingress=True),
        PortBinding(target=53, host_port=40000, protocol="udp"),
        PortBinding(target=80, host_port=40001, ingress=True),
    )
    task = make_task(container={"ports": ports}, ports=given)
    told = backends(task, "10.0.0.2", Door.OPEN)
    assert [(b.port.host_port, b.app_protocol, b.client_address, b.door) for b in told] == [
        (2525, "tcp", "proxy-protocol", Door.OPEN),
        (40001, "", "", Door.OPEN),
    ]
    assert {b.door for b in backends(task, "", Door.OPEN)} == {Door.CLOSED}, "nobody can be sent to an unknown address"


def test_a_task_behind_the_proxy_is_drained_before_its_pre_stop_hooks_and_not_ready_meanwhile():
    task = published(spec=PRE_STOP, desired_state=S.SHUTDOWN, desired_reason="replaced by t2")
    step = decide(task, running(task, opened=True), seen(task), 5.0)
    assert (step.do, step.life.message) == (Do.DRAIN, "draining, 15 s at most: replaced by t2")
    assert not report(task, step.life, seen(task), {}).status.ready
    step = decide(task, after(task, step.life, Do.DRAIN, Outcome(), 6.0), seen(task), 6.0)
    assert (step.do, step.life.message) == (Do.PRE_STOP, "stopping: replaced by t2")
    step = decide(task, after(task, step.life, Do.PRE_STOP, Outcome(), 7.0), seen(task), 7.0)
    assert step.do is Do.STOP


@pytest.mark.parametrize(
    "task",
    [make_task(desired_state=S.SHUTDOWN), make_task(desired_state=S.SHUTDOWN, ports=(ENGINES,))],
    ids=["no port", "a port of the engine"],
)
def test_a_task_that_the_proxy_does_not_serve_is_not_drained(task):
    assert decide(task, running(task), seen(task), 5.0).do is Do.STOP


def test_a_task_that_never_got_traffic_is_not_drained():
    task = published(desired_state=S.SHUTDOWN)
    assert decide(task, running(task), seen(task, checks=NOT_READY), 5.0).do is Do.STOP


def test_a_failing_task_is_given_a_second():
    task = published()
    step = decide(task, running(task, opened=True), seen(task, checks=BAD), 5.0)
    assert (step.do, drain_seconds(step.life)) == (Do.DRAIN, 1.0)
    assert step.life.message == "draining, 1 s at most: its live probe failed 3 times"
    assert drain_seconds(Life(state=S.RUNNING)) == 15.0


def test_a_container_that_dies_while_it_drains_is_not_waited_for():
    task = published(desired_state=S.SHUTDOWN)
    step = decide(task, running(task, opened=True), seen(task), 5.0)
    assert decide(task, step.life, seen(task, "exited"), 5.1).do is Do.COLLECT


def test_whatever_goes_wrong_with_the_drain_the_stop_goes_on():
    task = published(desired_state=S.SHUTDOWN)
    life = after(task, running(task, opened=True, leaving=True), Do.DRAIN, Outcome(error="odd", retryable=True), 5.0)
    assert decide(task, life, seen(task), 5.0).do is Do.STOP


def test_a_running_task_that_is_taken_up_again_may_have_traffic():
    task = published(state=S.RUNNING, desired_state=S.SHUTDOWN)
    assert decide(task, begin(task, make_state(task)), seen(task), 5.0).do is Do.DRAIN


@given(
    st.lists(st.sampled_from(["ready", "not ready", "failing", "shut down", "drained", "exited"]), max_size=12),
    st.booleans(),
)
def test_whatever_happens_nothing_new_comes_after_the_stop_was_wanted(events, ports):
    task = published() if ports else make_task()
    life, look, wanted_stop, drains = running(task), seen(task), False, 0
    for event in events:
        checks = {"ready": Checks(), "not ready": NOT_READY, "failing": BAD}.get(event, look.checks)
        look = seen(task, "exited" if event == "exited" or look.phase == "ended" else "running", checks)
        if event == "shut down":
            task = msgspec.structs.replace(task, desired_state=S.SHUTDOWN)
        wanted_stop = wanted_stop or event in {"shut down", "failing"}
        step = decide(task, life, look, 5.0)
        life = step.life
        if step.do is Do.DRAIN:
            drains += 1
            assert ports
            assert door(life, look) is Door.DRAINING
        if step.do in {Do.PRE_STOP, Do.STOP, Do.COLLECT}:
            assert door(life, look) is Door.CLOSED
        if event == "drained" and step.do is not Do.NOTHING:
            life = after(task, life, step.do, Outcome(), 5.0)
            assert step.do is not Do.DRAIN or decide(task, life, look, 5.0).do is not Do.DRAIN
        if wanted_stop:
            assert door(life, look) is not Door.OPEN
    assert drains <= len(events)


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


def shares(node):
    return dict(node.proxy.shares(8080))


async def test_a_task_is_reached_once_it_is_ready_and_no_more_once_it_is_gone(node):
    task = published()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        assert shares(node) == {task.id: 1.0}
        (backend,) = node.proxy.wanted.backends
        assert backend.address == manager.status(task).addresses["default"]
        assert [each.backends[0].door for each in node.proxy.history] == [Door.CLOSED, Door.OPEN]
        manager.want(S.SHUTDOWN)
        await manager.reaches(task, S.SHUTDOWN)
        assert node.proxy.wanted.backends == ()
        doors_shown = [each.backends[0].door for each in node.proxy.history[:-1]]
        assert [key for key, _ in itertools.groupby(doors_shown)] == [
            Door.CLOSED,
            Door.OPEN,
            Door.DRAINING,
            Door.CLOSED,
        ]


async def test_a_ready_probe_keeps_the_door_closed_until_it_passes(node):
    probe = Probe(kind=ProbeKind.EXEC, command=("ready",), interval_seconds=0.05)
    node.host.images[IMAGE] = FakeImage(ref=IMAGE, commands={("ready",): (1, "", 0.0)})
    task = published(spec={"probes": Probes(ready=probe)})
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        await eventually(lambda: node.host.find(container_name(task)).running)
        assert shares(node) == {}
        found = node.host.find(container_name(task))
        found.image = msgspec.structs.replace(found.image, commands={})
        await manager.until(lambda: manager.status(task).ready, "it is ready")
        assert shares(node) == {task.id: 1.0}


async def test_what_a_task_was_sent_may_end_before_it_is_told_to_stop(node):
    task = published(spec=PRE_STOP)
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        node.proxy.begin(task.id)
        manager.want(S.SHUTDOWN, reason="replaced by t2")
        await manager.until(lambda: "draining" in manager.status(task).message, "it drains")
        assert manager.status(task).message == "draining, 15 s at most: replaced by t2"
        assert not manager.status(task).ready
        assert shares(node) == {}
        assert node.proxy.doors(task.id) == (Door.DRAINING,)
        about = [call.verb for call in node.engine.calls if call.subject.startswith(container_name(task))]
        assert {"exec", "stop"} & set(about) == set(), "neither its hook nor the signal came before"
        node.proxy.end(task.id)
        await manager.reaches(task, S.SHUTDOWN)
        about = [call.verb for call in node.engine.calls if call.subject.startswith(container_name(task))]
        assert about.index("exec") < about.index("stop")


async def test_a_container_that_dies_while_it_drains_ends_the_wait(node):
    task = published()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        node.proxy.begin(task.id)
        manager.want(S.SHUTDOWN)
        await manager.until(lambda: "draining" in manager.status(task).message, "it drains")
        node.host.kill(container_name(task))
        await manager.reaches(task, S.SHUTDOWN)
        assert node.proxy.wanted.backends == ()


async def test_a_request_without_end_is_cut_off(node, monkeypatch):
    monkeypatch.setattr(doors, "drain_seconds", lambda life: 0.05)
    task = published()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.RUNNING)
        node.proxy.begin(task.id)
        manager.want(S.SHUTDOWN)
        await manager.reaches(task, S.SHUTDOWN)
        assert node.proxy.wanted.backends == ()


async def test_a_port_of_another_program_rejects_the_task_before_anything_is_made(node):
    node.proxy.foreign[8080] = "nginx (pid 12)"
    task = published()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.reaches(task, S.REJECTED)
        assert "8080 is in use by nginx (pid 12)" in manager.status(task).message
        assert node.host.containers == {}
        await eventually(lambda: node.proxy.wanted.backends == ())


async def test_a_proxy_that_does_not_run_is_waited_for_and_the_task_says_so(node):
    node.proxy.down = True
    task = published()
    manager = Manager(task)
    async with node.agent(manager):
        await manager.until(lambda: manager.status(task).message == "the proxy does not run", "it says so")
        assert manager.state(task) is S.PREPARING
        node.proxy.down = False
        await manager.reaches(task, S.RUNNING)


async def test_an_agent_that_comes_back_changes_nothing_for_callers(node):
    probe = Probe(kind=ProbeKind.EXEC, command=("ready",), interval_seconds=30.0)
    tasks = (published(), published(2, service="api", ports=(msgspec.structs.replace(SHARED, host_port=9090),),
             spec={"probes": Probes(startup=probe, ready=probe)}))  # fmt: skip
    manager = Manager(*tasks)
    async with node.agent(manager):
        await manager.settles()
    told = len(node.proxy.history)
    before = node.proxy.wanted
    async with node.agent(manager):
        manager.touch()
        await eventually(lambda: any(call.verb == "exec" for call in node.engine.calls) or len(node.engine.calls) > 3)
        await asyncio.sleep(0.1)
    assert node.proxy.wanted == before
    assert len(node.proxy.history) == told, "not for a moment"


async def test_what_was_served_stays_so_until_the_checks_have_an_answer(node):
    """An agent that died before it could tell that a task is ready must not take its traffic away."""
    probe = Probe(kind=ProbeKind.EXEC, command=("ready",), interval_seconds=30.0)
    task = published(spec={"probes": Probes(ready=probe)})
    manager = Manager(task)
    async with node.agent(manager):
        await manager.settles()
    told = len(node.proxy.history)
    untold = TaskStatus(health=Health.STARTING, ready=False, container_id=manager.status(task).container_id)
    manager.put(msgspec.structs.replace(manager.tasks[task.id], status=untold))
    async with node.agent(manager):
        await manager.until(lambda: manager.status(task).ready, "the probe passed again")
        assert len(node.proxy.history) == told


async def test_what_died_while_the_agent_was_away_is_served_no_more(node):
    tasks = (published(), published(2, service="api", ports=(msgspec.structs.replace(SHARED, host_port=9090),)))
    manager = Manager(*tasks)
    async with node.agent(manager):
        await manager.settles()
    node.host.kill(container_name(tasks[0]))
    manager.drop(tasks[1].id)
    async with node.agent(manager):
        await manager.reaches(tasks[0], S.FAILED)
        await eventually(lambda: node.proxy.wanted.backends == ())


async def test_a_task_that_takes_a_port_over_from_the_engine_waits_for_it_until_its_start(node):
    """The engine publishes the port of a container that was taken over; the proxy can listen once that one stopped."""
    old = published(ports=(ENGINES,), state=S.RUNNING)
    new = published(2, desired_state=S.READY)
    assert handed_over(new, (old, new))
    assert not handed_over(new, (msgspec.structs.replace(old, state=S.SHUTDOWN), new))
    assert not handed_over(new, (published(3, state=S.RUNNING), new))
    node.proxy.foreign[8080] = "docker-proxy"
    manager = Manager(old, new)
    async with node.agent(manager):
        await manager.reaches(new, S.READY)
        manager.want(S.SHUTDOWN, old.id)
        await manager.until(lambda: manager.state(old).terminal, "the old one is gone")
        manager.want(S.RUNNING, new.id)
        await manager.until(lambda: "docker-proxy" in manager.status(new).message, "the engine has the port yet")
        del node.proxy.foreign[8080]
        await manager.reaches(new, S.RUNNING)


async def test_a_port_that_stays_taken_fails_the_task_in_the_end():
    proxy = FakeProxy()
    proxy.foreign[8080] = "nginx"
    shown = Doors(FakeIngress(SystemClock(), proxy), published(), unsure=False)
    async with asyncio.TaskGroup() as group:
        runs = group.create_task(shown._ingress.run())
        await asyncio.sleep(0)
        with pytest.raises(TemporaryError):
            await shown.claim(published(), PATIENCE - 1)
        with pytest.raises(PermanentError):
            await shown.claim(published(), PATIENCE)
        runs.cancel()


async def test_the_proxy_divides_as_assigned_and_the_manager_is_told_what_it_counts(node, monkeypatch):
    monkeypatch.setattr("pilothouse.agent.measuring.MEASURE_SECONDS", 0.02)
    task = published()
    split = Split(app="shop", service="web", fingerprint=task.fingerprint, weight=10)
    node.proxy.counts[task.fingerprint] = (Golden(requests=90), Golden(requests=10))
    manager = Manager(task)
    async with node.agent(manager):
        await manager.settles()
        await asyncio.sleep(0.1)
        assert manager.counted == []
        manager.splits = (split,)
        manager.touch()
        await manager.until(lambda: manager.counted, "the manager is told")
        assert node.proxy.wanted.splits == (split,)
        ((told,), *_) = manager.counted
        assert (told.service, told.old.requests, told.new.requests) == ("web", 90, 10)
        manager.down = True
        await asyncio.sleep(0.1)
        manager.down, heard = False, len(manager.counted)
        await manager.until(lambda: len(manager.counted) > heard, "a manager that was away is told again")


def test_mode_host_is_no_port_of_the_proxy():
    assert not Port(target=80, published=(80, 80), mode=PortMode.HOST).ingress
