"""Manager and agent as they are shipped, joined in one process over an engine in memory, in real time."""

import asyncio
import contextlib

import pytest
from msgspec.structs import replace

from pilothouse.agent.agent import Agent
from pilothouse.agent.proxy.fake import FakeIngress, FakeProxy
from pilothouse.agent.runtime.fake import FakeEngine
from pilothouse.agent.runtime.fakehost import FakeHost, FakeImage
from pilothouse.clock import SystemClock
from pilothouse.governance.secrets.seal import KEY_BYTES, Vault
from pilothouse.ids import SystemIds
from pilothouse.model.container import ContainerSpec, NetworkAttachment, Port, PortMode
from pilothouse.model.names import container_name
from pilothouse.model.objects import App, Network, Task
from pilothouse.model.spec import Condition, Mode, NetworkSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.server.explain import explain
from pilothouse.server.manager import Manager
from pilothouse.server.views import app_view
from pilothouse.store.memory import MemoryStore
from pilothouse.supervise import run_term
from tests.control.world import needs, spec
from tests.scenarios.simulation import Platform

DEADLINE_SECONDS = 10


class OneProcess:
    """A manager, an agent and a host; both ends can be stopped and started again."""

    def __init__(self, directory, *images):
        self.clock = SystemClock()
        self.store = MemoryStore(self.clock)
        self.host = FakeHost(self.clock, *images)
        self.proxy = FakeProxy()
        self.directory = directory
        # Only to write specs as the API does.
        self.person = Platform(self.store, self.clock)

    @contextlib.asynccontextmanager
    async def running(self):
        manager = Manager(store=self.store, clock=self.clock, ids=SystemIds(), vault=Vault(b"k" * KEY_BYTES))
        self.manager = manager
        session = manager.session("node1")
        engine = FakeEngine(self.host)
        ingress = FakeIngress(self.clock, self.proxy)
        agent = Agent(
            session, engine, ingress, self.clock, SystemIds(), self.directory / "data", self.directory / "run"
        )
        async with asyncio.TaskGroup() as group:
            term = group.create_task(run_term(manager.loops()))
            await session.open(agent.services)
            node = group.create_task(agent.run())
            yield self
            node.cancel()
            term.cancel()
        session.close()

    async def until(self, holds):
        """Wait until *holds* of the store, looking again after each commit."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            revision = await self.store.view(lambda tx: tx.revision)
            if await self.store.view(holds):
                return
            async for _ in self.store.watch(revision):
                if await self.store.view(holds):
                    return

    async def deploy(self, *services):
        await self.person.deploy(*services)

    async def settled(self):
        await self.until(lambda tx: (view := app_view(tx, "shop", self.clock.now())) is not None and view.converged)

    async def tasks(self, name="web"):
        return await self.store.view(lambda tx: tx.find(Task, service_id=f"shop/{name}"))


def _service(name, image, **fields):
    container = ContainerSpec(
        image=image,
        stop_grace_seconds=1.0,
        networks=(NetworkAttachment(network="default"),),
        **fields.pop("container", {}),
    )
    return spec(name, container=container, **fields)


@pytest.fixture
def process(tmp_path):
    images = [FakeImage(ref=ref, id=f"sha256:{ref}") for ref in ("db:1", "web:1", "web:2")]
    return OneProcess(tmp_path, *images, FakeImage(ref="job:1", id="sha256:job:1", exit_after_seconds=0.05))


async def _with_network(process):
    network = Network(id="shop/default", app="shop", spec=NetworkSpec(key="default", name="shop_default"))
    await process.store.update(Writer.API, lambda tx: tx.put(network))


async def test_an_app_comes_up_heals_changes_and_goes_down_and_leaves_nothing(process):
    async with process.running():
        await _with_network(process)
        after = (needs("db"), needs("job", Condition.COMPLETED))
        db, job = _service("db", "db:1"), _service("job", "job:1", mode=Mode.REPLICATED_JOB)
        ports = {"ports": (Port(target=80, published=(8080, 8080), mode=PortMode.HOST),)}
        await process.deploy(db, job, _service("web", "web:1", depends_on=after, container=ports))
        await process.settled()

        (web,) = await process.tasks()
        assert web.status.started_at >= (await process.tasks("job"))[0].status.finished_at
        process.host.kill(container_name(web), 137)
        await process.until(lambda tx: tx.get(Task, web.id).state is TaskState.FAILED)
        await process.settled()
        healed = next(task for task in await process.tasks() if task.replaces == web.id)
        died = next(task for task in await process.tasks() if task.id == web.id)
        assert healed.status.started_at - died.status.finished_at < 5, "no back-off before the first repair"
        told = await process.store.view(lambda tx: explain(tx, "shop/web", process.clock.now()))
        assert "the task before it was killed by SIGKILL (exit code 137)" in told.sentence

        await process.deploy(db, job, _service("web", "web:2", depends_on=after, container=ports))
        await process.settled()
        running = [task for task in await process.tasks() if task.state is TaskState.RUNNING]
        assert [task.spec.container.image for task in running] == ["web:2"]

        def take_down(tx):
            tx.put(replace(tx.get(App, "shop"), removing=True))
            tx.put(replace(tx.get(Network, "shop/default"), removing=True))

        await process.store.update(Writer.API, take_down)
        await process.until(lambda tx: tx.find(App) == [])
        assert process.host.running() == ()
        assert process.host.networks == {}


async def test_a_restart_of_manager_and_agent_touches_no_container(process):
    async with process.running():
        await _with_network(process)
        await process.deploy(_service("web", "web:1", replicas=3))
        await process.settled()
        before = process.host.running()
    assert process.host.running() == before
    async with process.running():
        await process.until(lambda tx: all(task.status.ready for task in tx.find(Task)))
        await process.deploy(_service("web", "web:1", replicas=4))
        await process.settled()
        assert set(before) < set(process.host.running())
        assert len(process.host.running()) == 4
