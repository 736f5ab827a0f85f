"""A session hands a node what it must have and nothing else, and believes only what can have happened."""

import asyncio

import msgspec
import pytest

from pilothouse.control.nodes.liveness import Presence
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.model.container import FileGrant
from pilothouse.model.node import Node, NodeDescription
from pilothouse.model.objects import App, Network, Secret, Service, Task, TaskStatus
from pilothouse.model.release import Release, Traffic, release_id
from pilothouse.model.rollout import Golden, Stage
from pilothouse.model.spec import FileSpec, NetworkSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.wire import ResourceReport, Split, TaskReport, TrafficReport
from pilothouse.server.sessions.local import LocalSession
from tests.server.harness import SimulatedNode, World, service, shop, task_of


def session(world, node_id="n1", presence=None):
    context = world.context
    return LocalSession(
        node_id=node_id,
        store=world.store,
        vault=context.vault,
        commits=context.commits,
        nodes=context.nodes,
        presence=presence or Presence(world.clock),
    )


async def assigned(world, spec, state=TaskState.ASSIGNED, node_id="n1", **fields):
    """Return a stored task in *state*, put there by the writers that may."""
    await world.call("PUT", "/v1/apps/shop", msgspec.to_builtins({"spec": spec, **fields}))
    stored = await world.store.view(lambda tx: tx.get(Service, f"shop/{spec.services[0].name}"))
    task = await placed(world, task_of(stored), node_id)
    if state > TaskState.ASSIGNED:
        task = await world.store.update(Writer.AGENT, lambda tx: tx.put(msgspec.structs.replace(task, state=state)))
    return task


async def placed(world, task, node_id="n1"):
    """Store *task* and have it placed on a node."""
    replace = msgspec.structs.replace
    task = await world.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(task))
    task = await world.store.update(Writer.RESOURCES, lambda tx: tx.put(replace(task, state=TaskState.PENDING)))
    return await world.store.update(
        Writer.SCHEDULER, lambda tx: tx.put(replace(task, state=TaskState.ASSIGNED, node_id=node_id))
    )


async def current(world, task):
    return await world.store.view(lambda tx: tx.get(Task, task.id))


async def test_a_node_gets_its_task_with_the_contents_it_was_granted_and_no_others():
    world = World()
    uses = service("web", "web:1", secrets=(FileGrant(source="key", target="/run/secrets/key"),))
    spec = shop(uses, secrets=(FileSpec(key="key", name="shop_key"), FileSpec(key="other", name="shop_other")))
    task = await assigned(world, spec, secrets={"key": b"hunter2", "other": b"not yours"})
    found = await anext(session(world).assignments())
    assert [t.id for t in found.tasks] == [task.id]
    assert [(c.id, c.content) for c in found.secrets] == [("shop/key", b"hunter2")]
    secret = await world.store.view(lambda tx: tx.get(Secret, "shop/key"))
    assert found.secrets[0].version == secret.content_version
    assert "hunter2" not in repr(found)


async def test_a_node_gets_each_content_in_every_version_that_a_live_task_was_made_for():
    world = World()
    grants = {"secrets": (FileGrant(source="key", target="/k"),), "configs": (FileGrant(source="c", target="/c"),)}
    files = {"secrets": (FileSpec(key="key", name="key"),), "configs": (FileSpec(key="c", name="conf"),)}
    spec = shop(service("web", "web:1", **grants), **files)

    async def task(id, slot, **contents):
        """Deploy *contents* and return a task on the node that was made for them."""
        answer = await world.call("PUT", "/v1/apps/shop", msgspec.to_builtins({"spec": spec, **contents}))
        assert answer.status == 200, answer
        stored = await world.store.view(lambda tx: tx.get(Service, "shop/web"))
        secrets, configs = await world.store.view(lambda tx: Scenes(tx).file_versions(stored))
        made = task_of(stored, id, slot, secret_versions=secrets, config_versions=configs)
        return await placed(world, made)

    first = await task("t00000000001", 1, secrets={"key": b"old"}, configs={"c": b"a=1"})
    second = await task("t00000000002", 2, secrets={"key": b"new"}, configs={"c": b"a=2"})
    found = await anext(session(world).assignments())
    assert {(c.id, c.content) for c in found.secrets} == {("shop/key", b"old"), ("shop/key", b"new")}
    assert {c.content for c in found.configs} == {b"a=1", b"a=2"}
    for made, content in ((first, b"old"), (second, b"new")):
        (given,) = [c for c in found.secrets if c.version == made.secret_versions["key"]]
        assert given.content == content
    await world.store.update(Writer.AGENT, lambda tx: tx.put(msgspec.structs.replace(first, state=TaskState.FAILED)))
    found = await anext(session(world).assignments())
    assert {c.content for c in (*found.secrets, *found.configs)} == {b"new", b"a=2"}


async def test_another_node_gets_nothing_of_it():
    world = World()
    uses = service("web", "web:1", secrets=(FileGrant(source="key", target="/k"),))
    await assigned(world, shop(uses, secrets=(FileSpec(key="key", name="shop_key"),)), secrets={"key": b"x"})
    found = await anext(session(world, "n2").assignments())
    assert (found.tasks, found.secrets) == ((), ())


async def test_a_change_brings_a_new_assignment_and_an_agents_own_report_does_not():
    world = World()
    task = await assigned(world, shop(service("web", "web:1")))
    link = session(world)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(world.context.commits.run(world.store))
        assignments = link.assignments()
        await anext(assignments)
        await link.report((TaskReport(task_id=task.id, state=TaskState.RUNNING, status=TaskStatus(message="runs")),))
        upcoming = group.create_task(anext(assignments))
        _, waiting = await asyncio.wait({upcoming}, timeout=0.1)
        assert waiting
        stop = msgspec.structs.replace(await current(world, task), desired_state=TaskState.SHUTDOWN)
        await world.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(stop))
        found = await asyncio.wait_for(upcoming, 5)
        assert found.tasks[0].desired_state is TaskState.SHUTDOWN
        await assignments.aclose()
        watching.cancel()


async def test_many_changes_while_nobody_reads_come_as_one_assignment():
    world = World()
    await assigned(world, shop(service("web", "web:1")))
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(world.context.commits.run(world.store))
        assignments = session(world).assignments()
        first = await anext(assignments)
        for number in range(20):
            spec = NetworkSpec(key=f"n{number}", name=f"n{number}")
            going = Network(id=f"shop/n{number}", app="shop", spec=spec, removing=True)
            await world.store.update(Writer.API, lambda tx, going=going: tx.put(going))
        await asyncio.sleep(0)
        second = await asyncio.wait_for(anext(assignments), 5)
        assert len(second.networks) == len(first.networks) + 20
        await assignments.aclose()
        watching.cancel()


async def test_a_report_is_written_once_however_often_it_comes():
    world = World()
    task = await assigned(world, shop(service("web", "web:1")))
    report = TaskReport(task_id=task.id, state=TaskState.RUNNING, status=TaskStatus(message="runs", since=1.0))
    await session(world).report((report,))
    before = await current(world, task)
    assert (before.state, before.status.message) == (TaskState.RUNNING, "runs")
    await session(world).report((report,))
    assert (await current(world, task)).version == before.version


@pytest.mark.parametrize(
    ("stored", "reported"),
    [
        (TaskState.RUNNING, TaskState.STARTING),
        (TaskState.FAILED, TaskState.RUNNING),
        (TaskState.COMPLETE, TaskState.FAILED),
        (TaskState.RUNNING, TaskState.REJECTED),
        (TaskState.RUNNING, TaskState.ORPHANED),
    ],
)
async def test_what_cannot_have_happened_after_what_is_known_is_dropped(stored, reported):
    world = World()
    task = await assigned(world, shop(service("web", "web:1")), state=stored)
    await session(world).report((TaskReport(task_id=task.id, state=reported, status=TaskStatus(message="late")),))
    assert await current(world, task) == task


async def test_what_a_node_says_of_anothers_tasks_is_not_believed():
    world = World()
    task = await assigned(world, shop(service("web", "web:1")))
    report = TaskReport(task_id=task.id, state=TaskState.FAILED, status=TaskStatus(message="killed"))
    await session(world, "n2").report(
        (report, TaskReport(task_id="none", state=TaskState.RUNNING, status=TaskStatus()))
    )
    assert await current(world, task) == task


async def test_a_network_that_is_gone_from_the_node_leaves_the_store():
    world = World()
    spec = NetworkSpec(key="n", name="shop_n")
    for removing in (True, False):
        network = Network(id=f"shop/{removing}", app="shop", spec=spec, removing=removing)
        await world.store.update(Writer.API, lambda tx, network=network: tx.put(network))
    gone = tuple(ResourceReport(kind="network", id=f"shop/{removing}") for removing in (True, False))
    await session(world).report((), gone)
    assert [n.id for n in await world.store.view(lambda tx: tx.find(Network))] == ["shop/False"]


async def test_a_node_registers_itself_and_is_reachable_while_its_session_lasts():
    world = World()
    presence = Presence(world.clock)
    link = session(world, "n7", presence)
    node = SimulatedNode()
    await link.open(node, NodeDescription(engine="docker 20.10.24"))
    assert "n7" in presence
    assert world.context.nodes.of("n7") is node
    await link.describe(NodeDescription(engine="docker 24.0.0"))
    assert (await world.store.view(lambda tx: tx.get(Node, "n7"))).description.engine == "docker 24.0.0"
    link.close()
    assert "n7" not in presence
    assert "n7" not in world.context.nodes.connected


async def test_opening_a_session_keeps_what_the_agent_said_of_its_node():
    world = World()
    link = session(world, "n7")
    await link.describe(NodeDescription(engine="docker 24.0.0"))
    await link.open(SimulatedNode())
    assert (await world.store.view(lambda tx: tx.get(Node, "n7"))).description.engine == "docker 24.0.0"


async def judged(world, **stages):
    """Have the newest release of shop be judged in these stages."""

    def write(tx):
        release = tx.get(Release, release_id("shop", tx.get(App, "shop").revision))
        tx.put(msgspec.structs.replace(release, stages=stages))

    await world.store.update(Writer.RELEASER, write)


async def test_a_node_divides_the_traffic_of_a_service_that_is_judged_until_it_is_promoted():
    world = World()
    await assigned(world, shop(service("web", "web:1")))
    fingerprint = await world.store.view(lambda tx: Scenes(tx).fingerprint(tx.get(Service, "shop/web")))
    link = session(world)
    await judged(world, web=Stage(tasks=1, weight=10))
    found = await anext(link.assignments())
    assert found.splits == (Split(app="shop", service="web", fingerprint=fingerprint, weight=10),)
    await judged(world, web=Stage(step=1, tasks=1, weight=10, promoted=True), gone=Stage(weight=5))
    assert (await anext(link.assignments())).splits == ()


async def test_a_new_step_of_the_judgement_brings_a_new_assignment():
    world = World()
    await assigned(world, shop(service("web", "web:1")))
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(world.context.commits.run(world.store))
        assignments = session(world).assignments()
        assert (await anext(assignments)).splits == ()
        await judged(world, web=Stage(weight=50))
        async with asyncio.timeout(5):
            assert [split.weight for split in (await anext(assignments)).splits] == [50]
        await assignments.aclose()
        watching.cancel()


async def test_what_a_proxy_counted_is_kept_for_each_service_and_node_and_only_the_newest():
    world = World()
    await assigned(world, shop(service("web", "web:1")))
    counted = TrafficReport(
        app="shop",
        service="web",
        fingerprint="f",
        measured_from=1.0,
        measured_at=2.0,
        old=Golden(requests=9),
        new=Golden(requests=1, errors=1),
    )
    await session(world).traffic((counted, msgspec.structs.replace(counted, service="nobody")))
    await session(world, "n2").traffic((counted,))
    newer = msgspec.structs.replace(counted, measured_at=4.0, new=Golden(requests=5))
    await session(world).traffic((newer,))
    found = await world.store.view(lambda tx: tx.find(Traffic))
    assert [(t.id, t.node_id, t.measured_at, t.new.requests) for t in found] == [
        ("shop/web/n1", "n1", 4.0, 5),
        ("shop/web/n2", "n2", 2.0, 1),
    ]
