"""The contract of a runtime driver as a suite that runs on the fake and on real engines alike.

A test calls `check_runtime(make)`, or each of `CHECKS` by itself. The engine must have the images of `specimens`;
`specimens.conformance_images()` are the fake's. Checks of a power the driver does not have are left out.
"""

# ruff: noqa: D103 - the name of a check is its sentence

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from pilothouse.agent.runtime.interface import ContainerPlan, EndpointPlan, Engine, NetworkPlan, PlannedMount
from pilothouse.agent.runtime.specimens import (
    ABSENT,
    BROKEN,
    DEADLINE_SECONDS,
    DEAF,
    HEALTHY,
    HOSTILE,
    SLEEPER,
    SPARE,
    SPEAKER,
    plan,
    refused,
    running,
    state_of,
)
from pilothouse.errors import TemporaryError
from pilothouse.model.spec import NetworkSpec
from pilothouse.model.wire import LogLine, LogQuery


async def a_node_describes_itself(engine: Engine) -> None:
    described = await engine.describe()
    assert (bool(described.hostname), described.os) == (True, "linux")
    assert described.engine
    assert described.capacity.cpu_nano > 0
    assert described.capacity.memory_bytes > 0


async def preparing_twice_makes_one_container(engine: Engine) -> None:
    wanted = plan("twice")
    try:
        first = await engine.prepare(wanted)
        assert first == await engine.prepare(wanted)
        state = await state_of(engine, wanted.name)
        assert state is not None
        assert (state.id, state.task_id, state.phase, state.pid) == (first, wanted.task_id, "created", 0)
    finally:
        await engine.remove(wanted.name)


async def a_started_container_runs_and_starting_again_changes_nothing(engine: Engine) -> None:
    wanted = plan("runs")
    async with running(engine, wanted):
        before = await engine.inspect(wanted.name)
        await engine.start(wanted.name)
        assert before is not None
        assert before.phase == "running"
        assert before.pid > 0
        assert before.started_at is not None
        assert before.exit is None
        assert await engine.inspect(wanted.name) == before


async def an_end_is_told_to_those_who_wait_and_to_those_who_come_late(engine: Engine) -> None:
    wanted = plan("ends", SPEAKER)
    async with running(engine, wanted):
        ended = await engine.wait(wanted.name)
        assert ended.code == 3
        assert not ended.oom
        late = await engine.wait(wanted.name)
        assert late.code == 3
        await engine.start(wanted.name)
        state = await engine.inspect(wanted.name)
        assert state is not None
        assert state.phase == "exited", "a container that ended is never started again"
        assert state.exit is not None
        assert state.exit.code == 3
        assert state.exit.finished_at is not None
    await refused(engine.wait(wanted.name))


async def one_may_wait_before_the_start(engine: Engine) -> None:
    wanted = plan("early", SPEAKER)
    try:
        await engine.prepare(wanted)
        async with asyncio.timeout(DEADLINE_SECONDS), asyncio.TaskGroup() as group:
            waiting = group.create_task(engine.wait(wanted.name))
            group.create_task(engine.start(wanted.name))
        assert waiting.result().code == 3
    finally:
        await engine.remove(wanted.name)


async def stopping_asks_first(engine: Engine) -> None:
    wanted = plan("stops")
    async with running(engine, wanted):
        await engine.stop(wanted.name, 20.0)
        assert (await engine.wait(wanted.name)).code != 137
        await engine.stop(wanted.name, 20.0)


async def a_container_that_ignores_the_signal_is_killed_after_the_grace(engine: Engine) -> None:
    wanted = plan("deaf", DEAF)
    async with running(engine, wanted):
        await engine.stop(wanted.name, 1.0)
        assert (await engine.wait(wanted.name)).code == 137


async def what_is_not_there_needs_no_stopping_or_removing(engine: Engine) -> None:
    name = plan("nobody").name
    await engine.stop(name, 1.0)
    await engine.remove(name)
    assert await engine.inspect(name) is None
    await refused(engine.start(name))


async def removing_kills_what_runs(engine: Engine) -> None:
    wanted = plan("removed", DEAF)
    async with running(engine, wanted):
        await engine.remove(wanted.name)
        assert await state_of(engine, wanted.name) is None
        await engine.remove(wanted.name)


async def an_absent_image_is_refused(engine: Engine) -> None:
    await refused(engine.prepare(plan("absent", ABSENT)))
    assert await state_of(engine, plan("absent").name) is None


async def an_image_that_pretends_to_be_ours_is_refused(engine: Engine) -> None:
    await refused(engine.prepare(plan("hostile", HOSTILE)))
    assert await state_of(engine, plan("hostile").name) is None


async def a_command_that_does_not_exist_fails_the_start(engine: Engine) -> None:
    wanted = plan("broken", BROKEN)
    try:
        await engine.prepare(wanted)
        await refused(engine.start(wanted.name))
    finally:
        await engine.remove(wanted.name)


async def many_start_at_once(engine: Engine) -> None:
    plans = [plan(f"many-{number}") for number in range(6)]

    async def bring_up(wanted: ContainerPlan) -> None:
        await engine.prepare(wanted)
        await engine.start(wanted.name)

    try:
        async with asyncio.TaskGroup() as group:
            for each in plans:
                group.create_task(bring_up(each))
        phases = {state.name: state.phase for state in await engine.status()}
        assert [phases.get(each.name) for each in plans] == ["running"] * len(plans)
    finally:
        async with asyncio.TaskGroup() as group:
            for each in plans:
                group.create_task(engine.remove(each.name))


async def events_begin_with_look_and_name_what_changed(engine: Engine) -> None:
    wanted = plan("events", SPEAKER)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(engine.events()) as events:  # type: ignore[type-var]  # every driver's is a generator
        assert await anext(events) == ""
        async with running(engine, wanted):
            async for name in events:
                state = await engine.inspect(wanted.name) if name == wanted.name else None
                if state is not None and state.phase == "exited":
                    break


async def health_is_seen(engine: Engine) -> None:
    wanted = plan("healthy", HEALTHY)
    async with asyncio.timeout(DEADLINE_SECONDS), running(engine, wanted):
        async for _ in engine.events():
            state = await engine.inspect(wanted.name)
            assert state is not None
            assert state.health in {"starting", "healthy"}
            if state.health == "healthy":
                return


async def _lines(engine: Engine, name: str, **query: object) -> list[LogLine]:
    asked = LogQuery(task_id=plan("logs").task_id, **query)  # type: ignore[arg-type]  # the callers are below
    return [line async for line in engine.logs(name, asked)]


async def logs_are_lines_in_order(engine: Engine) -> None:
    wanted = plan("logs", SPEAKER)
    assert await _lines(engine, wanted.name) == []
    async with asyncio.timeout(DEADLINE_SECONDS), running(engine, wanted):
        assert [line.text for line in await _lines(engine, wanted.name, follow=True)] == ["one", "two"]
        both = await _lines(engine, wanted.name)
        assert [line.text for line in both] == ["one", "two"]
        assert {(line.task_id, line.stream.value) for line in both} == {(wanted.task_id, "stdout")}
        assert 0 < both[0].at <= both[1].at
        assert [line.text for line in await _lines(engine, wanted.name, tail=1)] == ["two"]
        assert await _lines(engine, wanted.name, tail=0) == []
        assert await _lines(engine, wanted.name, since=both[1].at + 1.0) == []
        assert await _lines(engine, wanted.name, until=both[0].at - 1.0) == []


async def exec_runs_inside_and_is_cut_short(engine: Engine) -> None:
    wanted = plan("exec")
    await refused(engine.exec(wanted.name, ("true",), timeout_seconds=5.0))
    async with running(engine, wanted):
        assert await engine.exec(wanted.name, ("sh", "-c", "echo said; exit 7"), timeout_seconds=5.0) == (7, "said\n")
        await refused(engine.exec(wanted.name, ("sleep", "20"), timeout_seconds=0.3), TemporaryError)
        await engine.stop(wanted.name, 1.0)
        await refused(engine.exec(wanted.name, ("true",), timeout_seconds=5.0))


async def a_container_has_an_address_on_each_network(engine: Engine) -> None:
    names = ("check_front", "check_back")
    wanted = plan("networks", endpoints=tuple(EndpointPlan(network=n, key=n, aliases=("web",)) for n in names))
    try:
        for name in names * 2:
            await engine.ensure_network(name, NetworkPlan(app="check", spec=NetworkSpec(key=name, name=name)))
        assert set(names) <= set(await engine.list_networks())
        async with running(engine, wanted):
            state = await engine.inspect(wanted.name)
            assert state is not None
            assert set(state.addresses) == set(names)
            assert len(set(state.addresses.values())) == 2
            assert "" not in state.addresses.values()
            assert not await engine.remove_network(names[0]), "a network in use stays"
    finally:
        gone = [await engine.remove_network(name) for name in names]
    assert gone == [True, True]
    assert not set(names) & set(await engine.list_networks())
    assert await engine.remove_network(names[0])


async def a_network_of_somebody_else_is_refused(engine: Engine) -> None:
    spec = NetworkSpec(key="front", name="check_taken")
    try:
        await engine.ensure_network("check_taken", NetworkPlan(app="check", spec=spec))
        await refused(engine.ensure_network("check_taken", NetworkPlan(app="other", spec=spec)))
    finally:
        await engine.remove_network("check_taken")
    external = NetworkSpec(key="front", name="check_taken", external=True)
    await refused(engine.ensure_network("check_taken", NetworkPlan(app="check", spec=external)))


async def a_volume_stays_while_it_is_used(engine: Engine) -> None:
    mount = PlannedMount(kind="volume", source="check_data", target="/data")
    wanted = plan("volumes", mounts=(mount,))
    try:
        await engine.ensure_volume("check_data", "check", "", {})
        await engine.ensure_volume("check_data", "check", "", {})
        assert "check_data" in await engine.list_volumes()
        async with running(engine, wanted):
            assert not await engine.remove_volume("check_data")
    finally:
        gone = await engine.remove_volume("check_data")
    assert gone
    assert "check_data" not in await engine.list_volumes()
    assert await engine.remove_volume("check_data")


async def images_are_found_and_absent_ones_are_told(engine: Engine) -> None:
    found = await engine.find_image(SLEEPER)
    assert found is not None
    assert found[0].startswith("sha256:")
    assert await engine.find_image(ABSENT) is None
    steps = [step async for step in engine.ensure_image(SLEEPER, "missing")]
    assert (steps[-1].phase, steps[-1].id) == ("resolved", found[0])
    assert steps[-1].platform.partition("/")[::2] != ("", ""), "an image is for a platform"
    steps = [step async for step in engine.ensure_image(found[0], "never")]
    assert (steps[-1].phase, steps[-1].id) == ("resolved", found[0]), "an image is found by its id too, without a tag"
    steps = [step async for step in engine.ensure_image("sha256:" + "0" * 64, "never")]
    assert steps[-1].phase == "failed"
    steps = [step async for step in engine.ensure_image(ABSENT, "never")]
    assert steps[-1].phase == "failed"
    assert steps[-1].message


async def images_are_listed_once_each(engine: Engine) -> None:
    found = await engine.find_image(SLEEPER)
    assert found is not None
    stock = await engine.list_images()
    assert len({image.id for image in stock}) == len(stock)
    sleeper = next(image for image in stock if image.id == found[0])
    assert any(name.removeprefix("docker.io/").removeprefix("localhost/") == SLEEPER for name in sleeper.names)
    assert sleeper.size_bytes > 0


async def an_image_stays_while_any_container_is_made_from_it(engine: Engine) -> None:
    wanted = plan("image", SPEAKER)
    found = await engine.find_image(SPEAKER)
    assert found is not None
    async with running(engine, wanted):
        await engine.wait(wanted.name)
        assert found[0] in await engine.images_in_use(), "one that has ended may still be looked at"
        stock = {image.id: image for image in await engine.list_images()}
        assert not await engine.remove_image(stock[found[0]])
        assert await engine.find_image(found[0]) is not None
    assert found[0] not in await engine.images_in_use()


async def an_image_that_nothing_needs_is_removed_with_its_names(engine: Engine) -> None:
    found = await engine.find_image(SPARE)
    assert found is not None
    assert found[0] not in await engine.images_in_use()
    spare = next(image for image in await engine.list_images() if image.id == found[0])
    assert await engine.remove_image(spare)
    assert await engine.find_image(SPARE) is None
    assert found[0] not in {image.id for image in await engine.list_images()}
    assert await engine.remove_image(spare), "what is gone already is gone"
    assert await engine.find_image(SLEEPER) is not None, "an image that shares its layers stays"


async def usage_is_read(engine: Engine) -> None:
    wanted = plan("usage")
    async with running(engine, wanted):
        usage = next(usage for usage in await engine.stats() if usage.task_id == wanted.task_id)
        assert usage.pids >= 1
        assert usage.memory_bytes > 0
        assert usage.at > 0


Check = Callable[[Engine], Awaitable[None]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("describe", a_node_describes_itself),
    ("prepare", preparing_twice_makes_one_container),
    ("start", a_started_container_runs_and_starting_again_changes_nothing),
    ("wait", an_end_is_told_to_those_who_wait_and_to_those_who_come_late),
    ("wait", one_may_wait_before_the_start),
    ("stop", stopping_asks_first),
    ("stop", a_container_that_ignores_the_signal_is_killed_after_the_grace),
    ("stop", what_is_not_there_needs_no_stopping_or_removing),
    ("remove", removing_kills_what_runs),
    ("prepare", an_absent_image_is_refused),
    ("prepare", an_image_that_pretends_to_be_ours_is_refused),
    ("start", a_command_that_does_not_exist_fails_the_start),
    ("start", many_start_at_once),
    ("events", events_begin_with_look_and_name_what_changed),
    ("events", health_is_seen),
    ("logs", logs_are_lines_in_order),
    ("exec", exec_runs_inside_and_is_cut_short),
    ("ensure_network", a_container_has_an_address_on_each_network),
    ("ensure_network", a_network_of_somebody_else_is_refused),
    ("ensure_volume", a_volume_stays_while_it_is_used),
    ("find_image", images_are_found_and_absent_ones_are_told),
    ("list_images", images_are_listed_once_each),
    ("remove_image", an_image_stays_while_any_container_is_made_from_it),
    ("remove_image", an_image_that_nothing_needs_is_removed_with_its_names),
    ("stats", usage_is_read),
)


async def check_runtime(make: Callable[[], AbstractAsyncContextManager[Engine]]) -> None:
    """Run every check whose verb the driver has, each on an engine that *make* opens.

    Raises:
        AssertionError: The driver breaks the contract; the note names the check.
    """
    for verb, check in CHECKS:
        async with make() as engine:
            if not hasattr(engine, verb):
                continue
            try:
                await check(engine)
            except Exception as error:
                error.add_note(f"in check_runtime: {check.__name__.replace('_', ' ')}")
                raise
