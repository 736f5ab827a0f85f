"""A manager put together: its loops, its socket, a session, and the client that people use."""

import asyncio
import contextlib

import pytest

from pilothouse.cli.client import Client
from pilothouse.cli.transport import Transport
from pilothouse.errors import NotFoundError
from pilothouse.governance.secrets.seal import load_vault
from pilothouse.ids import SeededIds
from pilothouse.model.api import DeployRequest, GrantRequest, ImageRequest
from pilothouse.model.node import NodeDescription
from pilothouse.model.objects import Health, TaskStatus
from pilothouse.model.spec import Resources, UpdatePolicy
from pilothouse.model.states import TaskState
from pilothouse.model.wire import TaskReport
from pilothouse.server.manager import Manager
from pilothouse.store.memory import MemoryStore
from pilothouse.supervise import run_term
from tests.server.harness import SimulatedNode, TestClock, service, shop

DESCRIPTION = NodeDescription(
    hostname="host", engine="docker 20.10.24", capacity=Resources(cpu_nano=8 * 10**9, memory_bytes=2**33)
)


async def obey(link):
    """An agent that does at once what it is told, without containers."""
    async for assignment in link.assignments():
        reports = []
        for task in assignment.tasks:
            if task.state.terminal:
                continue
            stopping = task.desired_state is TaskState.SHUTDOWN
            state = TaskState.SHUTDOWN if stopping else min(task.desired_state, TaskState.RUNNING)
            ready = state is TaskState.RUNNING
            started = None if state is TaskState.READY else 1.0
            status = TaskStatus(message="simulated", since=1.0, started_at=started, ready=ready, health=Health.NONE)
            reports.append(TaskReport(task_id=task.id, state=state, status=status))
        await link.report(tuple(reports))


@contextlib.asynccontextmanager
async def running(tmp_path):
    """A manager with its loops, its socket and one obedient node; yields a client of its API."""
    path = tmp_path / "api.sock"
    manager = Manager(
        store=MemoryStore(),
        clock=TestClock(),
        ids=SeededIds(3),
        vault=load_vault(tmp_path / "data"),
        data_directory=tmp_path / "data",
        socket=path,
    )
    async with asyncio.TaskGroup() as group:
        term = group.create_task(run_term(manager.loops()))
        await manager.listener.open_unix(path)
        link = manager.session("n1")
        await link.open(SimulatedNode(), DESCRIPTION)
        agent = group.create_task(obey(link))
        try:
            async with asyncio.timeout(15):
                yield Client(Transport(str(path)))
        finally:
            link.close()
            await manager.listener.close(grace_seconds=1.0)
            agent.cancel()
            term.cancel()


def until(client, condition):
    """Return the first state of the app that *condition* accepts, as the watch brings them."""
    for view in client.watch_app("shop"):
        if condition(view):
            return view
    raise AssertionError("the watch ended")


async def test_an_app_is_deployed_runs_changes_and_goes(tmp_path):
    async with running(tmp_path) as client:
        call = asyncio.to_thread
        made = await call(
            client.deploy,
            DeployRequest(spec=shop(service("web", "web:1", replicas=3, update=UpdatePolicy(monitor_seconds=0.0)))),
            "key-1",
        )
        assert made.created == ("web",)
        view = await call(until, client, lambda app: app.converged)
        assert (view.services[0].running, view.services[0].healthy) == (3, 3)
        before = {task.id for task in await call(client.tasks, "shop")}
        await call(client.restart, "shop", "web")
        await call(until, client, lambda app: app.converged)
        assert not before & {task.id for task in await call(client.tasks, "shop")}
        names = {event.name for event in await call(lambda: list(client.events("shop")))}
        assert {"app.deployed", "task.started"} <= names
        await call(client.remove, "shop")
        await call(_drain, client)
        with pytest.raises(NotFoundError):
            await call(client.app, "shop")


def _drain(client):
    with contextlib.suppress(NotFoundError):
        for _ in client.watch_app("shop"):
            pass


async def test_the_client_reads_everything_the_api_shows(tmp_path):
    async with running(tmp_path) as client:

        def everything():
            client.deploy(DeployRequest(spec=shop(), secrets={}))
            granted = client.grant(GrantRequest(app="shop", kind="gpu", reason="x"))
            client.revoke(granted.id)
            assert client.info().apps == 1
            assert [app.name for app in client.apps()] == ["shop"]
            assert client.service("shop", "web").name == "web"
            assert client.nodes()[0].id == "n1"
            assert [g.kind for g in client.grants("shop")] == ["gpu"]
            assert [r.action for r in client.audit()] == ["app.deploy", "grant.create", "grant.revoke"]
            assert client.usage("shop") == []
            assert {f.level for f in client.doctor()} <= {"ok", "warning", "error"}
            assert client.inspect("service", "shop/web")["name"] == "web"
            for noun in ("volumes", "networks", "secrets", "configs"):
                assert client.plain(noun, "shop") == []
            assert list(client.logs("shop")) == []
            assert [p.phase for p in client.ensure_image(ImageRequest(ref="web:1"))] == ["resolved"]
            assert client.check().ok
            return True

        assert await asyncio.to_thread(everything)
