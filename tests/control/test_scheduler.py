"""The scheduler's loop on a real store: what can be placed is placed, whatever wakes it, and nothing is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.scheduler import loop
from pilothouse.control.scheduler.fleet import fleet_of
from pilothouse.control.scheduler.loop import Scheduler
from pilothouse.control.scheduler.place import place
from pilothouse.control.scheduler.shape import shape_of
from pilothouse.model.cluster import Cluster, ClusterSpec, Disruption, PoolPolicy
from pilothouse.model.container import Mount, MountKind
from pilothouse.model.node import Availability, Node
from pilothouse.model.objects import Task, Volume
from pilothouse.model.placement import Affinity, Pool
from pilothouse.model.spec import VolumeSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.memory import MemoryStore
from tests.control.test_batches import node, tasks
from tests.examples import examples


class Clock:
    at = 1000.0

    def now(self):
        return self.at


class Stage:
    """A store, a scheduler, and everybody else played by the test; the scheduler hears of each commit by itself."""

    def __init__(self, *nodes):
        self.store = MemoryStore()
        self.clock = Clock()
        self.scheduler = Scheduler(self.store, self.clock)
        self.heard = 0
        self.nodes = nodes

    async def __aenter__(self):
        for each in self.nodes:
            await self.put_node(each)
        await self.store.view(self.scheduler.survey)
        self.heard = await self.store.view(lambda tx: tx.revision)
        return self

    async def __aexit__(self, *_):
        await self.store.close()

    async def write(self, writer, change):
        return await self.store.update(writer, change)

    async def put_node(self, new):
        def write(kind, fields):
            def change(tx):
                old = tx.get(Node, new.id)
                base = old or Node(id=new.id)
                tx.put(replace(base, **{name: getattr(new, name) for name in fields}))

            return self.write(kind, change)

        await write(Writer.AGENT, ("description",))
        await write(Writer.API, ("spec",))
        await write(Writer.NODES, ("ready",))

    async def ask(self, *some):
        """Have tasks made and given their ports."""
        new = [replace(task, state=TaskState.NEW, version=0, ports=()) for made in some for task in made]
        ports = {task.id: task.ports for made in some for task in made}
        new = await self.write(Writer.ORCHESTRATOR, lambda tx: [tx.put(task) for task in new])
        await self.write(
            Writer.RESOURCES,
            lambda tx: [tx.put(replace(task, state=TaskState.PENDING, ports=ports[task.id])) for task in new],
        )

    async def change(self, writer, task_id, **fields):
        await self.write(writer, lambda tx: tx.put(replace(tx.get(Task, task_id), **fields)))

    async def end(self, task_id):
        await self.change(Writer.AGENT, task_id, state=TaskState.COMPLETE)

    async def rest(self, turns=50):
        """Let the scheduler hear what happened and act until it has nothing to do."""
        for _ in range(turns):
            commits = await self.store.history(self.heard, 1000)
            woken = [self.scheduler.note(commit) for commit in commits]
            self.heard = commits[-1].revision if commits else self.heard
            if not any(woken):
                if not commits:
                    return await self.where()
                continue
            await self.scheduler.act()
        raise AssertionError("the scheduler does not come to rest")

    async def where(self):
        every = await self.store.view(lambda tx: tx.find(Task))
        return {task.id: task.node_id for task in every if task.state is not TaskState.COMPLETE}

    async def get(self, kind, id):
        return await self.store.view(lambda tx: tx.get(kind, id))

    async def fleet(self):
        """The fleet as it would be read now, to be held against the one that was kept."""
        return await self.store.view(lambda tx: fleet_of(tx.find(Node), tx.find(Task), volumes=tx.find(Volume)))


async def test_a_task_that_waits_is_placed_when_the_one_in_its_way_ends():
    async with Stage(node("a", cpu=2)) as stage:
        await stage.ask(tasks("first", 1, cpu=2))
        await stage.rest()
        await stage.ask(tasks("web", 1, cpu=2))
        assert (await stage.rest())["web-1"] == ""
        waiting = await stage.get(Task, "web-1")
        assert waiting.placement_message.startswith("no place: a: has 0 of 0 cores free")
        await stage.end("first-1")
        assert (await stage.rest())["web-1"] == "a"


@pytest.mark.parametrize(
    "change",
    [
        lambda stage: stage.put_node(node("b", cpu=2)),
        lambda stage: stage.put_node(node("a", cpu=2)),
        lambda stage: stage.put_node(node("a", cpu=1, availability=Availability.ACTIVE, labels={"disk": "ssd"})),
    ],
    ids=["a node joins", "a node grows", "a label is set"],
)
async def test_every_change_of_a_node_has_waiting_tasks_looked_at(change):
    async with Stage(node("a", cpu=1)) as stage:
        await stage.ask(tasks("web", 1, cpu=2), tasks("disk", 1, constraints=("node.labels.disk==ssd",)))
        await stage.rest()
        await change(stage)
        assert any((await stage.rest()).values())


MOUNT = Mount(kind=MountKind.VOLUME, source="data", target="/data")


def with_data(made):
    return [replace(t, spec=replace(t.spec, container=replace(t.spec.container, mounts=(MOUNT,)))) for t in made]


async def test_a_volume_is_not_bound_by_a_decision_that_did_not_hold():
    async with Stage(node("a", cpu=4)) as stage:
        volume = Volume(id="shop/data", app="shop", spec=VolumeSpec(key="data", name="shop_data"))
        await stage.write(Writer.API, lambda tx: tx.put(volume))
        await stage.ask(with_data(tasks("db", 1, cpu=1)))
        for commit in await stage.store.history(stage.heard, 100):
            stage.scheduler.note(commit)
        await stage.put_node(node("a", cpu=4, ready=False))
        await stage.scheduler.act()
        await stage.put_node(node("b", cpu=4))
        assert (await stage.rest())["db-1"] == "b"
        assert (await stage.get(Volume, "shop/data")).nodes == ("b",)


async def test_the_first_task_that_uses_a_local_volume_binds_it_and_the_others_follow():
    async with Stage(node("a", cpu=4), node("b", cpu=8)) as stage:
        volume = Volume(id="shop/data", app="shop", spec=VolumeSpec(key="data", name="shop_data"))
        await stage.write(Writer.API, lambda tx: tx.put(volume))
        await stage.ask(with_data(tasks("db", 2, cpu=1)))
        where = await stage.rest()
        assert len(set(where.values())) == 1
        assert (await stage.get(Volume, "shop/data")).nodes == (where["db-1"],)
        await stage.ask(with_data(tasks("backup", 1)))
        assert (await stage.rest())["backup-1"] == where["db-1"]
        await stage.put_node(node(where["db-1"], cpu=8, ready=False))
        await stage.end("db-1")
        await stage.ask(with_data(tasks("db", 1, cpu=1, first=3)))
        assert (await stage.rest())["db-3"] == ""
        said = (await stage.get(Task, "db-3")).placement_message
        assert f"the data of the volume shop/data is on {where['db-1']}" in said


async def test_tasks_that_share_a_network_go_together_or_wait_together():
    def shares(made, name):
        return [
            replace(t, spec=replace(t.spec, container=replace(t.spec.container, network_mode=f"service:{name}")))
            for t in made
        ]

    async with Stage(node("a", cpu=2), node("b", cpu=3)) as stage:
        await stage.ask(tasks("vpn", 2, cpu=1), shares(tasks("web", 2, cpu=2), "vpn"))
        where = await stage.rest()
        assert sorted(where.values()) == ["", "", "b", "b"]
        (slot,) = {key.rpartition("-")[2] for key, at in where.items() if at}
        assert {key.rpartition("-")[2] for key, at in where.items() if not at} == {"12".replace(slot, "")}
        waiting = await stage.get(Task, f"web-{'12'.replace(slot, '')}")
        assert "vpn" in waiting.placement_message
        assert "go together" in waiting.placement_message or "goes together" in waiting.placement_message
        await stage.put_node(node("a", cpu=3))
        assert all((await stage.rest()).values())


async def test_a_pool_gets_no_more_than_it_may_have():
    async with Stage(node("a", cpu=10, memory=10)) as stage:
        cluster = Cluster(id="cluster", cluster="c", created_at=0.0)
        limits = {Pool.BATCH: PoolPolicy(most=50), Pool.DATASTORES: PoolPolicy(reserved=20)}
        await stage.write(Writer.API, lambda tx: tx.put(replace(cluster, spec=ClusterSpec(pools=limits))))
        await stage.ask(tasks("job", 8, cpu=1, pool=Pool.BATCH))
        assert sum(bool(at) for at in (await stage.rest()).values()) == 5
        said = next(t for t in await stage.store.view(lambda tx: tx.find(Task)) if not t.node_id).placement_message
        assert "the pool 'batch' has 50 % of all CPU time, the task wants 10 %, and it may have 50 %" in said
        await stage.ask(tasks("web", 8, cpu=1))
        where = await stage.rest()
        assert sum(bool(at) for key, at in where.items() if key.startswith("web")) == 3
        await stage.write(Writer.API, lambda tx: tx.put(replace(tx.get(Cluster, "cluster"), spec=ClusterSpec())))
        assert sum(bool(at) for at in (await stage.rest()).values()) == 10


async def test_room_that_is_taken_for_somebody_goes_to_nobody_else_also_after_a_restart():
    async with Stage(node("a", cpu=2)) as stage:
        await stage.ask(tasks("low", 2, cpu=1, priority=100))
        await stage.rest()
        await stage.ask(tasks("web", 1, cpu=2, priority=900))
        await stage.rest()
        asked = await stage.store.view(lambda tx: tx.find(Disruption))
        assert {(each.id, each.beneficiary, each.at_once) for each in asked} == {
            ("low-1", "web-1", True), ("low-2", "web-1", True)
        }  # fmt: skip
        for each in asked:
            await stage.change(Writer.ORCHESTRATOR, each.id, desired_state=TaskState.SHUTDOWN)
        await stage.ask(tasks("small", 2, cpu=1, priority=100))
        await stage.end("low-1")
        await stage.rest()
        stage.scheduler = Scheduler(stage.store, Clock())
        await stage.store.view(stage.scheduler.survey)
        await stage.scheduler.act()
        assert not any(at for key, at in (await stage.rest()).items() if key.startswith("small"))
        await stage.end("low-2")
        assert (await stage.rest())["web-1"] == "a"
        assert await stage.store.view(lambda tx: tx.find(Disruption)) == []


async def test_nobody_is_stopped_for_a_task_that_was_called_off():
    async with Stage(node("a", cpu=2)) as stage:
        await stage.ask(tasks("low", 2, cpu=1, priority=100))
        await stage.rest()
        await stage.ask(tasks("web", 1, cpu=2, priority=900))
        await stage.rest()
        await stage.change(Writer.ORCHESTRATOR, "web-1", state=TaskState.SHUTDOWN, desired_state=TaskState.SHUTDOWN)
        await stage.rest()
        assert await stage.store.view(lambda tx: tx.find(Disruption)) == []


async def test_a_node_that_changed_after_the_decision_gets_nothing_from_it():
    async with Stage(node("a", cpu=2)) as stage:
        await stage.ask(tasks("web", 1, cpu=1))
        for commit in await stage.store.history(stage.heard, 100):
            stage.scheduler.note(commit)
        await stage.put_node(node("a", cpu=2, ready=False))
        await stage.scheduler.act()
        assert (await stage.where())["web-1"] == ""
        assert (await stage.rest())["web-1"] == ""
        await stage.put_node(node("a", cpu=2))
        assert (await stage.rest())["web-1"] == "a"


async def test_a_node_that_changes_between_the_decision_and_the_transaction_gets_nothing_from_it():
    async with Stage(node("a", cpu=2), node("b", cpu=1)) as stage:
        await stage.ask(tasks("web", 1, cpu=2))
        for commit in await stage.store.history(stage.heard, 100):
            stage.heard = commit.revision
            stage.scheduler.note(commit)
        update = stage.store.update

        async def later(writer, fn):
            # As the replicated store does: what the loop hears of meanwhile must not make an old decision look new.
            stage.store.update = update
            await stage.put_node(node("a", cpu=2, ready=False))
            for commit in await stage.store.history(stage.heard, 100):
                stage.heard = commit.revision
                stage.scheduler.note(commit)
            return await update(writer, fn)

        stage.store.update = later
        await stage.scheduler.act()
        assert (await stage.where())["web-1"] == ""
        await stage.put_node(node("a", cpu=2))
        assert (await stage.rest())["web-1"] == "a"


async def test_a_transaction_places_no_more_than_a_batch(monkeypatch):
    monkeypatch.setattr(loop, "BATCH", 10)
    async with Stage(node("a", cpu=100)) as stage:
        await stage.ask(tasks("web", 35, cpu=1))
        before = await stage.store.view(lambda tx: tx.revision)
        assert all((await stage.rest()).values())
        commits = await stage.store.history(before, 100)
        assert [len(commit.changes) for commit in commits] == [10, 10, 10, 5]


WHAT = ["ask", "ask", "end", "stop", "node", "lose", "off"]
EVENTS = st.lists(st.tuples(st.sampled_from(WHAT), st.integers(0, 5), st.integers(1, 4)), max_size=20)


async def happen(stage, number, what, which, size):
    every = await stage.store.view(lambda tx: tx.find(Task))
    task = every[which % len(every)] if every else None
    placed = task is not None and TaskState.ASSIGNED <= task.state <= TaskState.RUNNING
    if what == "ask":
        bond = (Affinity(service="s0", apart=True),) if size == 4 else ()
        priority = [100, 500, 900][which % 3]
        await stage.ask(tasks(f"s{which}", size, cpu=size, first=10 * number + 1, affinities=bond, priority=priority))
    elif what in {"node", "lose"}:
        await stage.put_node(node(f"n{which}", cpu=2 * size, ready=what == "node"))
    elif what == "end" and placed:
        await stage.end(task.id)
    elif what == "stop" and placed:
        await stage.change(Writer.ORCHESTRATOR, task.id, desired_state=TaskState.SHUTDOWN)
    elif what == "off" and task is not None and task.state is TaskState.PENDING:
        gone = {"state": TaskState.SHUTDOWN, "desired_state": TaskState.SHUTDOWN}
        await stage.change(Writer.ORCHESTRATOR, task.id, **gone)
    if size % 2:
        await stage.rest()


@examples(40)
@given(EVENTS)
async def test_what_can_be_placed_is_placed_after_whatever_happens(happened):
    async with Stage(node("n0", cpu=4)) as stage:
        for number, each in enumerate(happened):
            await happen(stage, number, *each)
        await stage.rest()
        pending = [t for t in await stage.store.view(lambda tx: tx.find(Task)) if t.state is TaskState.PENDING]
        assert all(task.placement_message for task in pending)
        kept, read = stage.scheduler._fleet, await stage.fleet()
        for task_id, claim in kept.claims.items():
            read.hold(task_id, claim._replace(at=read.columns.place[kept.columns.nodes[claim.at].id]))
        for each, at in kept.columns.place.items():
            assert kept.columns.free_of("cpu")[at] == read.columns.free_of("cpu")[read.columns.place[each]]
            assert kept.columns.orders[at] == read.columns.orders[read.columns.place[each]]
        others = [(task, shape_of(task)) for task in pending if task.id not in kept.claims]
        assert [task.id for task in place(read, others).placed] == []
