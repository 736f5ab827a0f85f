"""Time the control plane's decisions at 10,000 tasks: one full pass over all services, and one change of one task.

    .venv/bin/python bench/reconcile.py [SERVICES] [REPLICAS]

A full pass is what the orchestrator does after a start: read every service with all its tasks and decide. A single
change is what it does when one task reports: find whom it concerns, decide, and, as the task crashed, write its
replacement. Both on the memory store, so that the figure is the deciders' and not a disk's. The last line ends with the
two figures in milliseconds; the targets are 250 and 5.
"""

import asyncio
import statistics
import sys
import time

import msgspec

from pilothouse.clock import SystemClock
from pilothouse.control.orchestrators.loop import Orchestrator
from pilothouse.ids import SeededIds
from pilothouse.model.container import ContainerSpec, Healthcheck
from pilothouse.model.fingerprint import fingerprint
from pilothouse.model.objects import App, Ending, Health, ResolvedImage, Service, Task, TaskStatus
from pilothouse.model.spec import AppSpec, Condition, Dependency, ServiceSpec, TaskSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.interface import Change, Commit
from pilothouse.store.memory import MemoryStore

PASSES, SINGLES = 7, 60
PER_APP = 20


def services(count, replicas):
    """Apps of 20 services each; every second service depends on the one before it."""
    for number in range(count):
        app, name = f"app{number // PER_APP}", f"s{number % PER_APP:02}"
        edges = (Dependency(service=f"s{number % PER_APP - 1:02}", condition=Condition.HEALTHY),)
        container = ContainerSpec(
            image="registry.example/team/web:1.2.3",
            environment={f"KEY_{n}": f"value {n}" for n in range(20)},
            healthcheck=Healthcheck(test=("CMD", "true")),
        )
        yield Service(
            id=f"{app}/{name}",
            app=app,
            name=name,
            image=ResolvedImage(ref="web", id="sha256:1"),
            spec=ServiceSpec(
                name=name,
                task=TaskSpec(container=container),
                replicas=replicas,
                depends_on=edges if number % 2 else (),
            ),
        )


async def fill(store, count, replicas, ids):
    every = list(services(count, replicas))
    apps = {service.app: App(id=service.app, spec=AppSpec(name=service.app)) for service in every}
    await store.update(Writer.API, lambda tx: [tx.put(obj) for obj in [*apps.values(), *every]])
    made = [
        Task(
            id=ids.new(), app=service.app, service=service.name, slot=slot, spec=service.spec.task,
            image=service.image, fingerprint=fingerprint(service, {}, {}, ()), created_at=1.0, desired_reason="wanted",
        )
        for service in every
        for slot in range(1, replicas + 1)
    ]  # fmt: skip
    await store.update(Writer.ORCHESTRATOR, lambda tx: [tx.put(task) for task in made])
    await move(store, Writer.RESOURCES, TaskState.PENDING)
    await move(store, Writer.SCHEDULER, TaskState.ASSIGNED, node_id="n1")
    status = TaskStatus(started_at=1.0, since=1.0, ready=True, health=Health.HEALTHY)
    await move(store, Writer.AGENT, TaskState.RUNNING, status=status)


async def move(store, writer, state, **fields):
    def write(tx):
        for task in tx.find(Task):
            tx.put(msgspec.structs.replace(task, state=state, **fields))

    await store.update(writer, write)


async def full_pass(store, ids):
    orchestrator = Orchestrator(store, SystemClock(), ids)
    began = time.perf_counter()
    await store.view(orchestrator.survey)
    await orchestrator.act()
    return (time.perf_counter() - began) * 1000


async def single(store, orchestrator, number):
    def crash(tx):
        running = [
            task for task in tx.find(Task, service_id=f"app{number % 10}/s{number % PER_APP:02}") if task.status.ready
        ]
        task = running[0]
        ended = msgspec.structs.replace(task.status, ready=False, finished_at=2.0, ending=Ending(exit_code=1))
        after = tx.put(msgspec.structs.replace(task, state=TaskState.FAILED, status=ended))
        return Commit(revision=tx.revision, at=2.0, writer=Writer.AGENT, changes=(Change(before=task, after=after),))

    commit = await store.update(Writer.AGENT, crash)
    before = len(await store.view(lambda tx: tx.find(Task)))
    began = time.perf_counter()
    assert orchestrator.note(commit)
    await orchestrator.act()
    took = (time.perf_counter() - began) * 1000
    assert len(await store.view(lambda tx: tx.find(Task))) == before + 1
    return took


async def main(count, replicas):
    store, ids = MemoryStore(SystemClock()), SeededIds(1)
    await fill(store, count, replicas, ids)
    passes = [await full_pass(store, ids) for _ in range(PASSES)]
    orchestrator = Orchestrator(store, SystemClock(), ids)
    singles = [await single(store, orchestrator, number) for number in range(SINGLES)]
    print(f"{count} services of {replicas} tasks: {count * replicas} tasks")
    print(f"full pass: {PASSES} passes, fastest {min(passes):.1f} ms, slowest {max(passes):.1f} ms")
    print(f"single change: {SINGLES} crashes, fastest {min(singles):.2f} ms, slowest {max(singles):.2f} ms")
    print(
        f"reconcile: median full pass and median single change in ms: "
        f"{statistics.median(passes):.1f} {statistics.median(singles):.2f}"
    )


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:3]]
    asyncio.run(main(*(given or [200, 50])))
