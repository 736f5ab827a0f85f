"""The fake keeps the drivers' contract, and can be killed at any call."""

import contextlib

import pytest

from pilothouse.agent.runtime.conformance import CHECKS, check_runtime
from pilothouse.agent.runtime.fake import FakeEngine, Killed
from pilothouse.agent.runtime.fakehost import FakeHost, FakeImage
from pilothouse.agent.runtime.specimens import SLEEPER, SPEAKER, conformance_images, plan
from pilothouse.clock import SystemClock
from pilothouse.errors import PermanentError, RuntimeUnavailableError
from pilothouse.model.wire import ForeignContainer


@pytest.fixture
def host():
    return FakeHost(SystemClock(), *conformance_images())


@pytest.mark.parametrize("check", [check for _, check in CHECKS], ids=lambda check: check.__name__)
async def test_the_fake_keeps_the_contract(host, check):
    await check(FakeEngine(host))
    assert host.leftovers() == ()


async def test_the_whole_suite_runs_in_one_call_and_names_the_broken_promise(host):
    @contextlib.asynccontextmanager
    async def make():
        yield FakeEngine(host)

    class Forgetful(FakeEngine):
        async def remove(self, name):
            await self.inspect(name)

    @contextlib.asynccontextmanager
    async def make_broken():
        yield Forgetful(FakeHost(SystemClock(), *conformance_images()))

    await check_runtime(make)
    with pytest.raises(AssertionError) as caught:
        await check_runtime(make_broken)
    assert "in check_runtime: an end is told to those who wait and to those who come late" in caught.value.__notes__


@pytest.mark.parametrize(("after", "left"), [(False, ()), (True, (f"container {plan('web').name}",))])
async def test_a_crash_before_a_call_leaves_nothing_and_after_it_leaves_its_work(host, after, left):
    engine = FakeEngine(host)
    engine.crash_at(2, after=after)
    await engine.status()
    with pytest.raises(Killed):
        await engine.prepare(plan("web"))
    with pytest.raises(Killed):
        await engine.status()
    assert [call.verb for call in engine.calls] == ["status", "prepare"]
    assert host.leftovers() == left
    await FakeEngine(host).prepare(plan("web"))
    assert len(host.leftovers()) == 1


async def test_an_answer_can_be_lost_after_the_work_was_done(host):
    engine = FakeEngine(host)
    engine.fail_at(1, RuntimeUnavailableError("gone"), after=True)
    with pytest.raises(RuntimeUnavailableError):
        await engine.prepare(plan("web"))
    assert (await engine.status())[0].phase == "created"


async def test_without_live_restore_a_daemon_that_comes_back_has_killed_everything(host):
    engine = FakeEngine(host)
    await engine.prepare(plan("web"))
    await engine.start(plan("web").name)
    host.outage()
    with pytest.raises(RuntimeUnavailableError):
        await engine.status()
    assert host.running() == (plan("web").name,)
    host.recover(live_restore=False)
    assert (await engine.status())[0].exit.code == 137


async def test_an_image_of_the_script_runs_out_of_memory(host):
    host.images["app:1"] = FakeImage(ref="app:1", exit_after_seconds=0.0, exit_code=137, oom=True)
    engine = FakeEngine(host)
    await engine.prepare(plan("web", "app:1"))
    await engine.start(plan("web").name)
    assert (await engine.wait(plan("web").name)).oom


async def test_a_pull_fails_as_often_as_the_script_says(host):
    host.images["app:1"] = FakeImage(ref="app:1", present=False, pull_failures=1)

    class Clock(SystemClock):
        async def sleep(self, seconds):
            await super().sleep(0)

    host.clock = Clock()
    phases = [step.phase async for step in FakeEngine(host).ensure_image("app:1", "missing")]
    assert phases == ["pulling", "waiting", "pulling", "resolved"]


async def test_a_host_port_is_given_once(host):
    from pilothouse.model.objects import PortBinding

    engine = FakeEngine(host)
    ports = (PortBinding(target=80, host_port=8080),)
    for name in ("one", "two"):
        await engine.prepare(plan(name, ports=ports))
    await engine.start(plan("one").name)
    with pytest.raises(PermanentError, match="8080"):
        await engine.start(plan("two").name)


async def test_a_foreign_container_becomes_ours_by_its_name_and_runs_on(host):
    host.foreign.append(ForeignContainer(id="f" * 64, name="shop-web-1", image=SLEEPER, image_id="", running=True))
    engine = FakeEngine(host)
    assert await engine.status() == ()
    (found,) = await engine.list_foreign()
    await engine.rename(found.id, plan("web").name)
    assert await engine.list_foreign() == ()
    assert [(state.id, state.phase) for state in await engine.status()] == [("f" * 64, "running")]


async def test_a_container_that_was_killed_from_outside_says_so(host):
    engine = FakeEngine(host)
    await engine.prepare(plan("web", SPEAKER))
    await engine.start(plan("web").name)
    host.kill(plan("web").name)
    assert (await engine.inspect(plan("web").name)).exit.code == 137
