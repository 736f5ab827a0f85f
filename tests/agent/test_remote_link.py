"""The agent's end of a session: it comes back, loses no report, and follows whoever leads."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.managers import CAP_SECONDS, HELLO_SECONDS, Managers, patience_seconds, wait_seconds
from pilothouse.errors import NodeRemovedError, SessionLostError
from pilothouse.ids import SeededIds
from pilothouse.model.node import Node, NodeDescription
from pilothouse.model.objects import TaskStatus
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.wire import TaskReport
from tests.server.agents import Office, until
from tests.server.harness import service, shop
from tests.server.test_remote_sessions import stop
from tests.server.test_sessions import assigned, current


def seen(task, message="runs"):
    return TaskReport(task_id=task.id, state=TaskState.RUNNING, status=TaskStatus(message=message))


async def test_an_agent_finds_a_manager_and_gets_its_assignment():
    async with Office().running() as office:
        task = await assigned(office.world, shop(service("web", "web:1")))
        async with office.agent() as link:
            found = await anext(link.assignments())
            assert [each.id for each in found.tasks] == [task.id]
            assert link.remembered == [("m1:7444",)]
            assert link.lease.begun == 1
            await until(lambda: link.lease.answered, "a beat is answered")


async def test_differences_are_put_together_to_whole_assignments():
    async with Office().running() as office:
        task = await assigned(office.world, shop(service("web", "web:1")))
        async with office.agent() as link:
            assignments = link.assignments()
            await anext(assignments)
            await link.report((seen(task),))
            assert (await current(office.world, task)).state is TaskState.RUNNING
            await stop(office, task)
            assert (await anext(assignments)).tasks[0].desired_state is TaskState.SHUTDOWN
            await assignments.aclose()


async def test_an_agent_comes_back_after_its_session_was_lost_and_reports_what_waited():
    async with Office().running() as office:
        task = await assigned(office.world, shop(service("web", "web:1")))
        async with office.agent() as link:
            await anext(link.assignments())
            link.down = True
            office.reception.close("a test cuts it")
            await until(lambda: not link.connected)
            waiting = office.group.create_task(link.report((seen(task),)))
            await until(lambda: len(link.addresses) >= 4, "it tries again and again")
            assert set(link.addresses) >= {"m1:7444"}
            link.down = False
            await waiting
            assert (await current(office.world, task)).state is TaskState.RUNNING
            assert [each.id for each in (await anext(link.assignments())).tasks] == [task.id]
            assert link.lease.begun == 2


async def test_what_the_node_is_is_said_again_in_every_session():
    async with Office().running() as office, office.agent() as link:
        await link.describe(NodeDescription(kernel="7"))
        import msgspec

        from pilothouse.model.node import Node

        await office.world.store.update(
            Writer.AGENT,
            lambda tx: tx.put(msgspec.structs.replace(tx.get(Node, "n1"), description=NodeDescription())),
        )
        office.reception.close("a test cuts it")

        async def said():
            return (await office.world.store.view(lambda tx: tx.get(Node, "n1"))).description.kernel

        async with asyncio.timeout(10):
            while await said() != "7":  # noqa: ASYNC110 - a store has no event for it
                await asyncio.sleep(0.01)


async def test_pressure_travels_with_the_beats():
    async with Office().running() as office, office.agent(pressure=lambda: {"disk": "it is full"}) as link:
        await until(lambda: link.lease.answered)
        assert office.presence.heard()["n1"].pressure == {"disk": "it is full"}


async def test_a_lease_that_had_ended_begins_a_new_session():
    async with Office().running() as office, office.agent() as link:
        link.lease.holds = False
        await until(lambda: link.lease.begun >= 2, "another session begins")
        link.lease.holds = True


async def test_a_dropped_session_ends_the_assignments_and_the_next_one_begins_whole():
    async with Office().running() as office:
        await assigned(office.world, shop(service("web", "web:1")))
        async with office.agent() as link:
            stream = link.assignments()
            await anext(stream)
            office.reception.close("a test cuts it")
            with pytest.raises(SessionLostError, match="a test cuts it"):
                await anext(stream)
            await until(lambda: link.lease.begun == 2, "the next session begins")
            assert len((await anext(link.assignments())).tasks) == 1


async def test_an_agent_whose_node_was_removed_ends_instead_of_coming_again():
    async with Office().running() as office, office.agent() as link:
        await until(lambda: link.connected, "it has a session")
        await office.world.store.update(Writer.API, lambda tx: tx.delete(tx.get(Node, "n1")))
        with pytest.raises(NodeRemovedError, match="n1 was removed from the cluster"):
            await link.running


async def test_an_agent_whose_certificate_was_taken_back_comes_again_and_ends_nothing():
    async with Office().running() as office, office.agent() as link:
        await until(lambda: link.connected, "it has a session")
        await office.world.store.update(
            Writer.API, lambda tx: tx.put(msgspec.structs.replace(tx.get(Node, "n1"), certificates=()))
        )
        dialled = len(link.addresses)
        await until(lambda: len(link.addresses) > dialled + 1, "it goes on trying")
        assert not link.running.done()


def test_waits_grow_and_are_spread_over_their_whole_length():
    bounds = [max(wait_seconds(failures, i / 100, 0.0) for i in range(100)) for failures in range(12)]
    assert bounds == sorted(bounds)
    assert bounds[0] <= 0.1
    assert bounds[-1] <= CAP_SECONDS
    assert wait_seconds(11, 0.0, 0.0) == 0.0
    assert wait_seconds(10**6, 0.5, 0.0) == CAP_SECONDS / 2


@given(failures=st.integers(0, 10**6), left=st.floats(0.5, 8.0), chances=st.lists(st.floats(0, 0.999), min_size=5))
def test_who_holds_a_lease_tries_several_times_before_it_ends_whatever_failed_before(failures, left, chances):
    tries = 0
    for chance in [*chances, 0.999, 0.999]:
        if (wait := wait_seconds(failures + tries, chance, left)) >= left:
            break
        left, tries = left - wait, tries + 1
    assert tries >= 4


@given(left=st.floats(0.001, 60.0))
def test_who_holds_a_lease_has_time_to_ask_another_manager_when_one_is_silent(left):
    assert patience_seconds(3, left) <= max(left / 2, 1.0)
    assert patience_seconds(1, left) == patience_seconds(3, 0.0) == HELLO_SECONDS


def test_every_known_manager_is_tried_and_who_leads_first():
    managers = Managers(("a", "b", "c"), lambda _: None)
    assert sorted(managers.next(0.4) for _ in range(3)) == ["a", "b", "c"]
    managers.lead("x:1")
    assert managers.next(0.4) == "x:1"
    assert sorted(managers.next(0.4) for _ in range(3)) == ["a", "b", "c"]


def test_agents_that_lost_one_manager_do_not_all_go_to_the_same_next_one():
    chosen = {Managers(("a", "b", "c"), lambda _: None).next(SeededIds(seed).fraction()) for seed in range(20)}
    assert chosen == {"a", "b", "c"}


def test_managers_are_remembered_when_they_change():
    kept = []
    managers = Managers(("a",), kept.append)
    managers.learn(("b", "c"))
    managers.learn(("b", "c"))
    managers.learn(())
    assert kept == [("b", "c")]
    assert managers.known == ("b", "c")
