"""A once-per-release step is started exactly once, wherever the server or the agent is killed."""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from pilothouse.agent.agent import Agent
from pilothouse.agent.proxy.fake import FakeIngress
from pilothouse.agent.runtime.fake import FakeEngine, Killed
from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.governance.secrets.seal import KEY_BYTES, Vault
from pilothouse.ids import SystemIds
from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import App, Service, Task
from pilothouse.model.spec import Hook, Mode, TaskSpec
from pilothouse.model.states import Writer
from pilothouse.server.manager import Manager
from pilothouse.store.memory import MemoryStore
from pilothouse.supervise import run_term
from tests.control.world import needs, spec
from tests.scenarios.simulation import Behaviour, JumpingClock, Platform
from tests.scenarios.test_one_process import OneProcess

SECONDS = 4.0
KINDS = [(steps, fails) for steps in (1, 2, 3) for fails in (False, True)]


def hooks(steps):
    return tuple(Hook(command=("step", str(number))) for number in range(steps))


def shop(image, steps, **fields):
    task = TaskSpec(container=ContainerSpec(image=image), pre_start=hooks(steps))
    return spec("db", "db:1"), spec(task=task, replicas=2, depends_on=(needs("db"),), **fields)


def script(steps, fails):
    """The last step of the second version fails if *fails*."""

    def behave(task):
        if task.step < 0:
            return Behaviour()
        broken = fails and task.spec.container.image == "web:2" and task.step == steps - 1
        return Behaviour(exits_after=SECONDS, exit_code=1 if broken else 0)

    return behave


async def story(steps, fails, kill_after=None, seed=0):
    """Deploy and update a service with steps; return what ran, what runs in the end, and how many commits it took."""
    clock = JumpingClock()
    async with Platform(MemoryStore(clock), clock, script(steps, fails), seed).started() as it:
        it.store.kill_after = kill_after
        before = it.store.commits
        await it.deploy(*shop("web:1", steps))
        await it.until(it.settled, 300)
        await it.deploy(*shop("web:2", steps))
        await (_stays_failed(it) if fails else it.until(it.settled, 600))
        commits = it.store.commits - before - 2  # the deployments are not the server's own
        assert it.kills == (kill_after is not None)
        return it.node.steps, it.node.running(), commits


async def _stays_failed(it):
    async def failed():
        return bool((await it.service()).notice)

    await it.until(failed, 300)
    await it.pass_time(900)


def _expected(steps):
    return [(image, "step", str(number)) for image in ("web:1", "web:2") for number in range(steps)]


@pytest.mark.parametrize(("steps", "fails"), KINDS)
async def test_each_step_runs_once_and_in_order_and_nothing_old_goes_for_one_that_fails(steps, fails):
    ran, running, _ = await story(steps, fails)
    assert ran == _expected(steps)
    web = [image for name, _, image in running if name == "web"]
    assert web == (["web:1"] * 2 if fails else ["web:2"] * 2)


@pytest.mark.parametrize(
    ("steps", "fails", "stride"),
    [(1, False, 6), (2, True, 6), *(pytest.param(*kind, 1, marks=pytest.mark.slow) for kind in KINDS)],
)
async def test_each_step_runs_once_if_the_server_is_killed_at_any_commit(steps, fails, stride):
    ran, running, commits = await story(steps, fails)
    assert commits > 20
    for number in range(1, commits + 1, stride):
        again = await story(steps, fails, kill_after=number)
        assert again[:2] == (ran, running), f"killed after commit {number}"


@pytest.mark.parametrize("mode", list(Mode))
async def test_each_step_runs_once_in_every_mode(mode):
    def behave(task):
        ends = task.step >= 0 or mode.job
        return Behaviour(exits_after=SECONDS if ends else None)

    clock = JumpingClock()
    async with Platform(MemoryStore(clock), clock, behave).started() as it:
        await it.deploy(*shop("web:1", 2, mode=mode))
        await it.until(it.settled, 300)
        await it.pass_time(60)
        assert it.node.steps == [("web:1", "step", "0"), ("web:1", "step", "1")]


class Crashing(OneProcess):
    """A manager that lives and an agent that dies at a call to the engine and is started again."""

    @contextlib.asynccontextmanager
    async def serving(self, number, after):
        """Run both; *number* is the call at which the agent dies, or None."""
        manager = Manager(store=self.store, clock=self.clock, ids=SystemIds(), vault=Vault(b"k" * KEY_BYTES))
        engine = FakeEngine(self.host)
        if number is not None:
            engine.crash_at(number, after=after)
        async with asyncio.TaskGroup() as group:
            term = group.create_task(run_term(manager.loops()))
            node = group.create_task(self._agents(manager, engine))
            yield engine
            node.cancel()
            term.cancel()

    async def _agents(self, manager, engine):
        for each in (engine, FakeEngine(self.host)):
            session = manager.session("node1")
            ingress = FakeIngress(self.clock, self.proxy)
            places = self.directory / "data", self.directory / "run"
            agent = Agent(session, each, ingress, self.clock, SystemIds(), *places)
            try:
                await session.open(agent.services)
                await agent.run()
            except BaseExceptionGroup as group:
                if group.split(Killed)[1] is not None:
                    raise
            except Killed:
                pass
            finally:
                session.close()
            if asyncio.current_task().cancelling():
                raise asyncio.CancelledError


async def agents_story(directory, steps, fails, number=None, after=False):
    """Deploy a service with steps on a real agent; return how often each step was started, and how many calls it took.

    The last step fails if *fails*.
    """
    directory.mkdir()
    images = [
        FakeImage(ref=f"step:{index}", exit_after_seconds=0.005, exit_code=int(fails and index == steps - 1))
        for index in range(steps)
    ]
    process = Crashing(directory, FakeImage(ref="web:1", id="sha256:web:1"), *images)
    wanted = tuple(Hook(command=("go",), image=image.ref) for image in images)
    task = TaskSpec(container=ContainerSpec(image="web:1", stop_grace_seconds=1.0), pre_start=wanted)
    async with process.serving(number, after) as engine:
        await process.deploy(spec(task=task))
        await (process.until(_has_failed) if fails else process.settled())
        tasks = await process.store.view(lambda tx: tx.find(Task))
        steps_of = {task.id: task.step for task in tasks if task.step >= 0}
        await process.store.update(Writer.API, lambda tx: tx.put(replace(tx.get(App, "shop"), removing=True)))
        await process.until(lambda tx: tx.find(App) == [])
    begun = [steps_of[name.rpartition(".")[2]] for name in process.host.begun if name.rpartition(".")[2] in steps_of]
    return begun, len(engine.calls)


def _has_failed(tx):
    service = tx.get(Service, "shop/web")
    return service is not None and bool(service.notice)


@pytest.mark.parametrize(
    ("steps", "fails", "stride"),
    [(2, False, 9), (1, True, 9), *(pytest.param(*kind, 1, marks=pytest.mark.slow) for kind in KINDS)],
)
async def test_each_step_runs_once_if_the_agent_is_killed_at_any_call_to_the_engine(tmp_path, steps, fails, stride):
    expected, calls = await agents_story(tmp_path / "whole", steps, fails)
    assert expected == list(range(steps))
    assert calls > 8
    for number in range(1, calls + 1, stride):
        for after in (False, True):
            begun, _ = await agents_story(tmp_path / f"{number}-{after}", steps, fails, number, after)
            assert begun == expected, f"killed {'after' if after else 'before'} call {number}"
