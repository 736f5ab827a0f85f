"""A session over the network: who gets in, what an agent may say, and what it is told."""

import asyncio

import msgspec
import pytest

from pilothouse.errors import (
    ConflictError,
    InvalidRequestError,
    NodeUnavailableError,
    NotLeadingError,
    PilothouseError,
    SessionLostError,
    SkewError,
    UnauthorizedError,
)
from pilothouse.model.container import FileGrant
from pilothouse.model.node import Node, NodeDescription
from pilothouse.model.objects import Network, Secret, Task, TaskStatus, Volume
from pilothouse.model.session import Beat, BeatAnswer, Method, Report
from pilothouse.model.spec import FileSpec, NetworkSpec, VolumeSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.wire import LogQuery, ResourceReport, TaskReport
from tests.server.agents import Office, changes, lost, say_hello, until
from tests.server.harness import SimulatedNode, line, reading, service, shop, task_of
from tests.server.test_sessions import assigned, current, placed

replace = msgspec.structs.replace
encode = msgspec.msgpack.encode


def report(task, state=TaskState.RUNNING, **status):
    return encode(Report(tasks=(TaskReport(task_id=task.id, state=state, status=TaskStatus(**status)),)))


async def raised(work):
    with pytest.raises(PilothouseError) as found:
        await work
    return found.value


async def test_a_node_that_shows_its_certificate_is_welcomed_and_there():
    async with Office().running() as office, office.raw(hello=False) as link:
        welcome = await say_hello(link, "i1")
        assert (welcome.epoch, welcome.leader, welcome.managers) == (1, "", ("m1:7444",))
        assert "n1" in office.presence
        assert office.reception.present == ("n1",)
        link.close("the agent ends")
        await until(lambda: office.reception.present == ())
        assert "n1" not in office.presence
        assert "n1" not in office.world.context.nodes.connected


@pytest.mark.parametrize(
    ("node_id", "serial", "why"),
    [("n3", "n3", "removed from the cluster"), ("n1", "n2", "taken back"), ("n1", "0", "taken back")],
)
async def test_a_certificate_that_is_not_on_the_list_gets_no_session(node_id, serial, why):
    async with Office().running() as office, office.raw(node_id, serial=serial, hello=False) as link:
        error = await raised(say_hello(link, "i1"))
        assert isinstance(error, UnauthorizedError)
        assert why in str(error)
        assert office.reception.present == ()


async def test_nothing_is_answered_before_hello():
    async with Office().running() as office, office.raw(hello=False) as link:
        for method in Method:
            if method is Method.HELLO:
                continue
            error = await raised(link.ask(method.value, b"\x80"))
            assert isinstance(error, (UnauthorizedError, InvalidRequestError))
        assert isinstance(await raised(anext(changes(link))), UnauthorizedError)


async def test_a_rogue_agent_cannot_call_what_is_the_managers_to_ask():
    async with Office().running() as office, office.raw() as link:
        for method in (Method.IMAGE, Method.LOGS, Method.STATS, Method.FOREIGN, Method.ADOPT):
            assert isinstance(await raised(link.ask(method.value)), InvalidRequestError)
            assert isinstance(await raised(anext(link.stream(method.value))), InvalidRequestError)
        assert isinstance(await raised(link.ask("nonsense")), InvalidRequestError)


async def test_a_rogue_agent_can_report_its_own_tasks_only():
    async with Office().running() as office:
        task = await assigned(office.world, shop(service("web", "web:1")))
        async with office.raw("n2") as rogue, office.raw("n1") as link:
            await rogue.ask(Method.REPORT.value, report(task, message="mine now"))
            assert (await current(office.world, task)).state is TaskState.ASSIGNED
            await link.ask(Method.REPORT.value, report(task, message="runs"))
            assert (await current(office.world, task)).status.message == "runs"


async def test_a_rogue_agent_cannot_say_that_anothers_volume_is_gone():
    async with Office().running() as office:

        def write(tx):
            for key, nodes in (("kept", ("n1",)), ("nowhere", ())):
                volume = Volume(
                    id=f"shop/{key}", app="shop", spec=VolumeSpec(key=key, name=f"shop_{key}"), removing=True
                )
                tx.put(replace(tx.put(volume)))
                yield_nodes[key] = nodes

        yield_nodes = {}
        await office.world.store.update(Writer.API, write)
        await office.world.store.update(
            Writer.SCHEDULER, lambda tx: tx.put(replace(tx.get(Volume, "shop/kept"), nodes=("n1",)))
        )
        gone = encode(Report(resources=tuple(ResourceReport(kind="volume", id=f"shop/{k}") for k in yield_nodes)))
        async with office.raw("n2") as rogue, office.raw("n1") as link:
            await rogue.ask(Method.REPORT.value, gone)
            assert [v.id for v in await office.world.store.view(lambda tx: tx.find(Volume))] == ["shop/kept"]
            await link.ask(Method.REPORT.value, gone)
            assert await office.world.store.view(lambda tx: tx.find(Volume)) == []


async def test_a_rogue_agent_gets_its_own_secrets_only():
    async with Office().running() as office:
        uses = service("web", "web:1", secrets=(FileGrant(source="key", target="/k"),))
        spec = shop(uses, secrets=(FileSpec(key="key", name="shop_key"),))
        await assigned(office.world, spec, secrets={"key": b"hunter2"})
        async with office.raw("n2") as rogue, office.raw("n1") as link:
            other, own = await anext(changes(rogue)), await anext(changes(link))
            assert (other.tasks, other.secrets) == ((), ())
            assert [file.content for file in own.secrets] == [b"hunter2"]


async def test_a_rogue_agent_cannot_describe_or_beat_for_another_node():
    async with Office().running() as office, office.raw("n2") as rogue:
        await rogue.ask(
            Method.DESCRIBE.value, encode(NodeDescription(hostname="n1", kernel="evil", version="9", format=9))
        )
        await rogue.ask(Method.BEAT.value, encode(Beat(sequence=1, pressure={"disk": "full"})))
        nodes = {node.id: node for node in await office.world.store.view(lambda tx: tx.find(Node))}
        assert (nodes["n1"].description.kernel, nodes["n2"].description.kernel) == ("", "evil")
        assert (nodes["n2"].description.version, nodes["n2"].description.format) == ("1", 1)  # as said with hello
        assert set(office.presence.heard()) == {"n2"}


async def test_garbage_for_a_body_is_refused_and_the_session_lives():
    async with Office().running() as office, office.raw() as link:
        for method in (Method.BEAT, Method.DESCRIBE, Method.REPORT, Method.TRAFFIC, Method.RENEW, Method.HELLO):
            assert isinstance(await raised(link.ask(method.value, b"\xc1garbage")), InvalidRequestError)
        assert office.reception.present == ("n1",)


async def test_a_report_of_one_agent_that_cannot_be_written_spoils_no_others():
    async with Office().running() as office:
        task = await assigned(office.world, shop(service("web", "web:1")))
        async with office.raw("n2") as rogue, office.raw("n1") as link, asyncio.TaskGroup() as group:
            bad = [group.create_task(rogue.ask(Method.REPORT.value, report(task))) for _ in range(5)]
            await link.ask(Method.REPORT.value, report(task, message="runs"))
            await asyncio.gather(*bad)
        assert (await current(office.world, task)).status.message == "runs"


async def test_taking_a_serial_out_cuts_the_session_at_once():
    async with Office().running() as office:
        async with office.raw("n2") as other, office.raw("n1", hello=False) as link:
            serving = office.group.create_task(lost(link))
            await say_hello(link, "i1")
            async with asyncio.timeout(5):
                await office.world.store.update(
                    Writer.API, lambda tx: tx.put(replace(tx.get(Node, "n1"), certificates=()))
                )
                assert "taken back" in await serving
            await other.ask(Method.BEAT.value, encode(Beat(sequence=1)))
        assert isinstance(await raised(hello_of(office, "n1")), UnauthorizedError)


async def hello_of(office, node_id, incarnation="x"):
    async with office.raw(node_id, hello=False) as link:
        return await say_hello(link, incarnation)


async def test_removing_a_node_cuts_its_session():
    async with Office().running() as office, office.raw("n1") as link:
        serving = office.group.create_task(lost(link))
        await office.world.store.update(Writer.API, lambda tx: tx.delete(tx.get(Node, "n1")))
        assert "removed from the cluster" in await serving


async def test_of_two_agents_of_one_name_the_newest_is_served_and_the_older_stays_out():
    async with Office().running() as office, office.raw("n1", hello=False) as older:
        serving = office.group.create_task(lost(older))
        await say_hello(older, "older")
        async with office.raw("n1", hello=False) as newer:
            await say_hello(newer, "newer")
            assert "two machines have one name" in await serving
            assert isinstance(await raised(hello_of(office, "n1", "older")), ConflictError)
            assert "n1" in office.presence
            await newer.ask(Method.BEAT.value, encode(Beat(sequence=1)))
        await until(lambda: office.reception.present == ())
        assert (await hello_of(office, "n1", "older")).epoch == 1


async def test_the_same_agent_coming_again_replaces_its_own_dead_session():
    async with Office().running() as office, office.raw("n1", hello=False) as old:
        serving = office.group.create_task(lost(old))
        await say_hello(old, "same")
        async with office.raw("n1", hello=False) as new:
            await say_hello(new, "same")
            assert "came again" in await serving
            await until(lambda: len(office.reception._visitors) == 1)
            assert "n1" in office.presence
            assert office.world.context.nodes.connected == ("n1",)


async def test_an_agent_that_was_served_in_a_later_term_is_not_taken_back_in_time():
    async with Office().running() as office, office.raw(hello=False) as link:
        assert isinstance(await raised(say_hello(link, "i1", epoch=2)), NotLeadingError)


async def test_an_agent_of_a_version_too_old_is_told_to_upgrade():
    async with Office().running() as office, office.raw(hello=False) as link:
        error = await raised(say_hello(link, "i1", protocol=-1))
        assert isinstance(error, SkewError)
        assert "the agent speaks protocol -1" in str(error)


async def test_a_beat_that_may_not_be_answered_ends_the_session():
    async with Office().running() as office, office.raw() as link:
        answer = msgspec.msgpack.decode(await link.ask(Method.BEAT.value, encode(Beat(sequence=7))), type=BeatAnswer)
        assert answer.now == office.world.clock.now(), "a node learns how far its clock is from the manager's"
        assert answer.sequence == 7
        office.presence.give_up(["n1"])
        assert isinstance(await raised(link.ask(Method.BEAT.value, encode(Beat(sequence=8)))), SessionLostError)
        office.presence.given_up()


async def test_the_first_assignment_waits_while_tasks_of_the_node_are_being_given_to_others():
    async with Office().running() as office, office.raw() as link:
        office.presence.give_up(["n1"])
        first = office.group.create_task(anext(changes(link)))
        _, waiting = await asyncio.wait({first}, timeout=0.1)
        assert waiting
        office.presence.given_up()
        assert (await first).base == 0


async def test_an_assignment_comes_whole_and_then_as_differences_without_what_the_agent_said_itself():
    async with Office().running() as office:
        task = await assigned(office.world, shop(service("web", "web:1")))
        async with office.raw() as link:
            stream = changes(link)
            first = await anext(stream)
            assert (first.base, first.number, [t.id for t in first.tasks]) == (0, 1, [task.id])
            await link.ask(Method.REPORT.value, report(task, message="runs"))
            other = await placed(office.world, replace(task_of_service(task), id="t00000000002", slot=2))
            second = await anext(stream)
            assert (second.base, second.number, [t.id for t in second.tasks]) == (1, 2, [other.id])
            assert (second.networks, second.secrets, second.gone) == (None, None, ())
            await stop(office, task)
            third = await anext(stream)
            assert [(t.id, t.desired_state) for t in third.tasks] == [(task.id, TaskState.SHUTDOWN)]
            await stream.aclose()


def task_of_service(task):
    return replace(task, version=0, state=TaskState.NEW, node_id="", status=TaskStatus())


async def stop(office, task):
    found = await current(office.world, task)
    await office.world.store.update(
        Writer.ORCHESTRATOR, lambda tx: tx.put(replace(found, desired_state=TaskState.SHUTDOWN))
    )


async def test_a_secret_is_sent_once_and_again_only_in_a_new_version():
    async with Office().running() as office:
        uses = service("web", "web:1", secrets=(FileGrant(source="key", target="/k"),))
        spec = shop(uses, secrets=(FileSpec(key="key", name="shop_key"), FileSpec(key="other", name="shop_other")))
        task = await assigned(office.world, spec, secrets={"key": b"one", "other": b"b"})
        async with office.raw() as link:
            stream = changes(link)
            assert [f.content for f in (await anext(stream)).secrets] == [b"one"]
            secret = await office.world.store.view(lambda tx: tx.get(Secret, "shop/key"))
            both = {"key": secret.content_version}
            await placed(office.world, replace(task_of_service(task), id="t2", slot=2, secret_versions=both))
            assert (await anext(stream)).secrets is None
            body = msgspec.to_builtins({"spec": spec, "secrets": {"key": b"two", "other": b"b"}})
            assert (await office.world.call("PUT", "/v1/apps/shop", body)).status == 200
            found = {file.version: file.content for file in (await anext(stream)).secrets}
            assert sorted(found.values()) == [b"", b"two"]
            assert found[secret.content_version] == b""
            await stream.aclose()


async def test_a_session_sleeps_through_commits_that_do_not_concern_its_node():
    async with Office().running() as office:
        task = await assigned(office.world, shop(service("web", "web:1")))
        async with office.raw("n1") as link, office.raw("n2") as other:
            mine, others = changes(link), changes(other)
            await anext(mine)
            await anext(others)
            bells = {bell: set(apps) for bell, apps in office.reception.kit.calls._followed.items()}
            assert sorted(map(sorted, bells.values())) == [[], ["shop"]]
            await asyncio.sleep(0.1)
            await stop(office, task)
            await anext(mine)
            assert [bell._rung.is_set() for bell, apps in bells.items() if not apps] == [False]
            await mine.aclose()
            await others.aclose()


async def test_a_network_that_has_to_go_is_told_to_every_node():
    async with Office().running() as office, office.raw("n2") as link:
        stream = changes(link)
        assert (await anext(stream)).networks == ()
        network = Network(id="shop/front", app="shop", spec=NetworkSpec(key="front", name="shop_front"))
        await office.world.store.update(Writer.API, lambda tx: tx.put(network))
        stored = await office.world.store.view(lambda tx: tx.get(Network, "shop/front"))
        await office.world.store.update(Writer.API, lambda tx: tx.put(replace(stored, removing=True)))
        assert [n.id for n in (await anext(stream)).networks] == ["shop/front"]
        await stream.aclose()


async def test_a_burst_of_commits_makes_one_look():
    async with Office().running() as office:
        task = await assigned(office.world, shop(service("web", "web:1")))
        async with office.raw() as link:
            stream = changes(link)
            await anext(stream)
            await asyncio.sleep(0.1)
            for number in range(20):
                made = replace(task_of_service(task), id=f"t{number:02}", slot=number + 2)
                await placed(office.world, made)
            got = 0
            looks = 0
            while got < 20:
                got += len((await anext(stream)).tasks)
                looks += 1
            assert looks <= 4
            await stream.aclose()


async def test_the_manager_asks_a_node_over_its_session():
    node = SimulatedNode()
    node.lines["t1"] = [line("t1", 1.0, "one"), line("t1", 2.0, "two")]
    node.usage = (reading("t1"),)
    async with Office().running() as office, office.raw("n1", services=node):
        stub = office.world.context.nodes.of("n1")
        assert [entry.text async for entry in stub.logs(LogQuery(task_id="t1"))] == ["one", "two"]
        assert await stub.stats() == node.usage
        assert await stub.list_foreign() == ()
        assert await stub.list_images() == node.stock
        assert ((await stub.prune_images()).images, node.pruned) == (("old:1",), 1)
        steps = [step async for step in stub.ensure_image("web:1", "missing")]
        assert steps[-1].phase == "resolved"
        await stub.adopt("c1", task_of((await deployed(office)), id="t9"))
        assert node.adopted == {"c1": "t9"}


async def deployed(office):
    from pilothouse.model.objects import Service

    await office.world.call("PUT", "/v1/apps/shop", msgspec.to_builtins({"spec": shop(service("web", "web:1"))}))
    return await office.world.store.view(lambda tx: tx.get(Service, "shop/web"))


async def test_a_node_whose_session_ended_is_not_available():
    async with Office().running() as office:
        async with office.raw("n1") as link:
            stub = office.world.context.nodes.of("n1")
            link.close("gone")
            await until(lambda: office.reception.present == ())
        assert isinstance(await raised(stub.stats()), NodeUnavailableError)


async def test_a_silent_session_is_ended():
    office = Office()
    async with office.running(), office.raw() as link:
        (visitor,) = office.reception._visitors
        visitor.heard_at -= 30.0
        office.reception._end_the_silent()
        with pytest.raises(SessionLostError, match="nothing was heard on it for 30 s"):
            await link.ask(Method.BEAT.value, encode(Beat(sequence=1)))


async def test_a_container_that_is_adopted_has_its_name_before_the_agent_hears_of_the_task():
    from tests.server.harness import foreign

    node = SimulatedNode()
    node.foreign = (foreign("c1", name="old", image="web:1", image_id="sha256:web:1"),)
    async with Office().running() as office:
        found = await deployed(office)
        await placed(office.world, task_of(found, adopts="c1"))
        async with office.raw("n1", services=node) as link:
            first = await anext(changes(link))
            assert node.adopted == {"c1": first.tasks[0].id}


async def test_what_agents_report_at_once_is_written_in_few_commits():
    async with Office(*(f"n{i}" for i in range(40))).running() as office:
        found = await deployed(office)
        tasks = [await placed(office.world, task_of(found, id=f"t{i:02}", slot=i + 1), f"n{i}") for i in range(40)]
        before = await office.world.store.view(lambda tx: tx.revision)
        kit = office.reception.kit
        async with asyncio.TaskGroup() as group:
            for number, task in enumerate(tasks):
                told = TaskReport(task_id=task.id, state=TaskState.RUNNING, status=TaskStatus())
                group.create_task(kit.intake.report(f"n{number}", (told,), ()))
        states = {task.state for task in await office.world.store.view(lambda tx: tx.find(Task))}
        assert states == {TaskState.RUNNING}
        assert await office.world.store.view(lambda tx: tx.revision) - before <= 2
