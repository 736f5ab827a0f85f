"""A manager and agents in processes of their own, over TLS on loopback: killed, cut off, and back."""

import asyncio
import contextlib
import json
import pathlib
import sys

import msgspec
import pytest

from pilothouse.clock import SystemClock
from pilothouse.link.tls import server_context
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import Authority, AuthorityState, Cluster, ManagerMember, Role
from pilothouse.model.node import Node
from pilothouse.model.objects import Task
from pilothouse.model.states import TaskState, Writer
from pilothouse.server.sessions.listener import SessionListener
from tests.pki import CLUSTER, Pki
from tests.server.agents import Office, until
from tests.server.harness import World, service, shop
from tests.server.test_sessions import assigned

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parent.parent.parent
AGENT = """
import asyncio, json, pathlib, sys
from pilothouse.agent.beats import Signs
from pilothouse.agent.managers import Managers
from pilothouse.agent.remote import RemoteLink, dialler
from pilothouse.agent.reports import Reports
from pilothouse.clock import SystemClock
from pilothouse.errors import PilothouseError
from pilothouse.ids import SystemIds
from pilothouse.link.credentials import Credentials
from pilothouse.link.tls import client_context
from pilothouse.model.objects import TaskStatus
from pilothouse.model.states import TaskState
from pilothouse.model.wire import TaskReport
from tests.server.agents import Lease
from tests.server.harness import SimulatedNode

async def main(data, address):
    clock, ids = SystemClock(), SystemIds()
    signs = Signs(
        clock=clock, ids=ids, lease=Lease(), boottime=clock.monotonic, pressure=dict, renewal_due=lambda: None
    )
    connect = dialler(clock, lambda: client_context(Credentials(data)))
    link = RemoteLink(connect=connect, managers=Managers((address,), lambda _: None), signs=signs, version="t")
    reports = Reports(link, clock, ids)

    async def follow():
        while True:
            try:
                async for assignment in link.assignments():
                    print(json.dumps([task.id for task in assignment.tasks]), flush=True)
                    for task in assignment.tasks:
                        told = TaskReport(task_id=task.id, state=TaskState.RUNNING, status=TaskStatus(ready=True))
                        reports.add(told, urgent=True)
            except PilothouseError as error:
                print(json.dumps(str(error)), flush=True)
                await clock.sleep(0.05)

    await asyncio.gather(link.run(SimulatedNode()), reports.run(), follow())

asyncio.run(main(pathlib.Path(sys.argv[1]), sys.argv[2]))
"""


class Agent:
    """An agent's process; what it says comes line by line."""

    def __init__(self, process):
        self.process = process

    async def says(self):
        return json.loads(await self.process.stdout.readline())


@contextlib.asynccontextmanager
async def agent(data, port):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENT, str(data), f"127.0.0.1:{port}",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    try:
        yield Agent(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def cluster(world, pki, directory, now):
    """Found a cluster with two nodes that have certificates."""

    def write(tx):
        tx.put(Cluster(id="cluster", cluster=CLUSTER, created_at=now))
        tx.put(
            Authority(
                id="1", certificate=pki.made.certificate, sealed_key=b"", state=AuthorityState.ACTIVE,
                created_at=now - 60, not_after=now + 86_400,
            )
        )  # fmt: skip
        tx.put(ManagerMember(id="m1", api="127.0.0.1:1", sessions="127.0.0.1:2", approved_at=now))
        for name, request in requests.items():
            tx.put(Node(id=name, role="agent", certificates=(request,)))

    requests = {}
    for name in ("n1", "n2"):
        held = pki.credentials(directory / name, name, now).held()
        requests[name] = Certificate(serial=held.serial, not_before=now - 60, not_after=now + 3600, authority="1")
    await world.store.update(Writer.API, write)


async def has(world, task, state):
    """Wait until the task's state is known to be *state*."""
    while (await world.store.view(lambda tx: tx.get(Task, task.id))).state is not state:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_an_agent_in_its_own_process_works_over_tls_through_cuts_kills_and_revocation(tmp_path):
    clock = SystemClock()
    now = clock.now()
    pki, world = Pki(now), World()
    world.clock = clock
    await cluster(world, pki, tmp_path, now)
    manager = pki.credentials(tmp_path / "m1", "m1", now, Role.MANAGER)
    office = Office(world=world)
    listener = SessionListener(server_context(manager), clock)
    listener.lead(office.reception)
    port = await listener.open("127.0.0.1", 0)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = [group.create_task(world.context.commits.run(world.store)), group.create_task(listener.run())]
        running += [group.create_task(loop()) for loop in office.reception.loops().values()]
        task = await assigned(world, shop(service("web", "web:1")))
        async with agent(tmp_path / "n1", port) as first:
            while await first.says() != [task.id]:
                pass
            await has(world, task, TaskState.RUNNING)
            assert office.reception.present == ("n1",)

            office.reception.close("a test cuts it")
            while (said := await first.says()) != [task.id]:
                assert "a test cuts it" in said

            first.process.kill()
            await until(lambda: not office.reception.present)
        async with agent(tmp_path / "n1", port) as again, agent(tmp_path / "n2", port) as other:
            while await again.says() != [task.id]:
                pass
            assert await other.says() == []

            listener.follow("127.0.0.1:9")
            await until(lambda: not office.reception.present)
            listener.lead(office.reception)
            while (said := await again.says()) != [task.id]:
                assert "session" in said

            await world.store.update(
                Writer.API, lambda tx: tx.put(msgspec.structs.replace(tx.get(Node, "n1"), certificates=()))
            )
            assert "taken back" in await again.says()
            await until(lambda: "n1" not in office.reception.present)
        for each in running:
            each.cancel()
