"""No loop keeps everybody else waiting: what it has to do is written in portions, and nothing of it is left out."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.orchestrators import loop as orchestrating
from pilothouse.control.orchestrators.loop import Orchestrator
from pilothouse.control.orchestrators.passes import Found, transactions
from pilothouse.control.resources import loop as resources
from pilothouse.control.resources.loop import Resources
from pilothouse.ids import SeededIds
from pilothouse.model.container import ContainerSpec, Port
from pilothouse.model.objects import App, ResolvedImage, Service, Task
from pilothouse.model.spec import AppSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.memory import MemoryStore
from tests.control.world import spec
from tests.server.harness import TestClock

COUNTS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 30), max_size=12)


@given(COUNTS, st.integers(1, 40))
def test_every_service_that_must_change_is_in_one_transaction_and_none_is_larger_than_it_must_be(counts, most):
    found = {name: Found(changes=count) for name, count in counts.items()}
    parts = list(transactions(found, most))
    assert [name for part in parts for name in part] == [name for name, count in counts.items() if count]
    for part in parts:
        assert len(part) == 1 or sum(counts[name] for name in part) <= most


async def services(store, number, replicas, **fields):
    """Deploy one app of so many services."""
    made = [spec(f"s{i:02}", replicas=replicas, **fields) for i in range(number)]

    def write(tx):
        tx.put(App(id="shop", spec=AppSpec(name="shop", services=tuple(made))))
        for each in made:
            image = ResolvedImage(ref="web:1", id="sha256:0")
            tx.put(Service(id=f"shop/{each.name}", app="shop", name=each.name, spec=each, image=image))

    await store.update(Writer.API, write)


async def tasks_by_commit(store):
    commits = await store.history(0, 1000)
    return [sum(isinstance(change.object, Task) for change in commit.changes) for commit in commits]


async def test_a_large_deployment_is_made_in_portions(monkeypatch):
    monkeypatch.setattr(orchestrating, "MOST_CHANGES", 20)
    clock = TestClock()
    store = MemoryStore(clock)
    await services(store, 12, 8)
    it = Orchestrator(store, clock, SeededIds(1))
    await store.view(it.survey)
    await it.act()
    assert len(await store.view(lambda tx: tx.find(Task))) == 12 * 8
    assert max(await tasks_by_commit(store)) <= 20


async def test_others_get_a_turn_between_the_portions_of_a_look():
    clock = TestClock()
    store = MemoryStore(clock)
    await services(store, 3 * orchestrating.BATCH, 0)
    it = Orchestrator(store, clock, SeededIds(1))
    await store.view(it.survey)
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        counting = group.create_task(count())
        await it.act()
        counting.cancel()
    assert turns >= 3


async def test_ports_are_given_in_portions_oldest_first_and_what_cannot_have_one_waits(monkeypatch):
    monkeypatch.setattr(resources, "BATCH", 4)
    store = MemoryStore(TestClock())
    container = ContainerSpec(image="web:1", ports=(Port(target=80, published=(8000, 8009), protocol="udp"),))
    await services(store, 1, 12, container=container)
    found = (await store.view(lambda tx: tx.find(Service)))[0]

    def write(tx):
        for number in range(12):
            made = Task(
                id=f"t{number:02}", app="shop", service=found.name, slot=number + 1, spec=found.spec.task,
                image=found.image, fingerprint="f", created_at=float(number),
            )  # fmt: skip
            tx.put(made)

    await store.update(Writer.ORCHESTRATOR, write)
    it = Resources(store)
    await store.view(it.survey)
    await it.act()
    tasks = await store.view(lambda tx: tx.find(Task))
    pending = [task for task in tasks if task.state is TaskState.PENDING]
    assert [task.id for task in pending] == [f"t{number:02}" for number in range(10)]
    assert len({task.ports[0].host_port for task in pending}) == 10
    assert all(task.resource_message for task in tasks if task not in pending)
    assert max((await tasks_by_commit(store))[2:]) <= 4
    gone = replace(pending[0], desired_state=TaskState.SHUTDOWN, state=TaskState.SHUTDOWN)
    await store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(gone))
    for commit in await store.history(0, 1000):
        it.note(commit)
    await it.act()
    assert (await store.view(lambda tx: tx.get(Task, "t10"))).state is TaskState.PENDING
