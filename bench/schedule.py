"""Placements per second: pure, with constraints, spread and resources; with the durable commit; and one explanation.

    .venv/bin/python bench/schedule.py [--nodes N] [--tasks M] [--durable D]

The nodes are in five zones and have one of two kinds of disk and 64 cores and 256 GiB, or what the tasks need to fill
them to nine tenths. The tasks belong to services of 200, 50 and 5 replicas, a third each; four fifths ask for a zone
spread, a third for a kind of disk, all for CPU time and memory in one of six sizes. Pure placement starts from stored
tasks and ends with the tasks as they are to be written, booked: grouping, rules, division and sentences are in it.
Beside it stands the same with all tasks in small services. The durable figure runs the scheduler's own loop on a
SQLite store with group commit and full sync, from its start to the last commit heard by who watches the store.
Nothing is printed that was not checked: no node has more than it can hold, and every task has a place. Beside each
rate stands the rate by the process's own time, which says more on a machine that does other things too. The last line
is the summary.
"""

import argparse
import asyncio
import pathlib
import resource
import statistics
import tempfile
import time
from typing import NamedTuple

import msgspec

from pilothouse.clock import SystemClock
from pilothouse.control.scheduler.fleet import Fleet
from pilothouse.control.scheduler.loop import BATCH, Scheduler, slices
from pilothouse.control.scheduler.matrix import explain
from pilothouse.control.scheduler.place import Outcome, place_requests
from pilothouse.control.scheduler.units import requests
from pilothouse.control.scheduler.write import Shapes
from pilothouse.model.container import ContainerSpec
from pilothouse.model.node import Node, NodeDescription, NodeSpec
from pilothouse.model.objects import ResolvedImage, Task
from pilothouse.model.placement import Placement, Spread
from pilothouse.model.spec import Resources, TaskSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.pulse import pulse
from pilothouse.store.sqlite import SQLiteStore

ZONES = 5
SIZES = ((1, 2), (1, 4), (2, 4), (2, 8), (4, 8), (4, 16))
UNIT_CPU, UNIT_MEMORY = 10_000_000, 64 << 20
MIX = (200, 50, 5)
EXPLANATIONS = 40


class Rate(NamedTuple):
    """So many in so many seconds, by the clock and by the process's own time."""

    number: int
    seconds: float
    busy: float

    @property
    def wall(self):
        return self.number / self.seconds

    def __str__(self):
        own = self.number / max(self.busy, 1e-9)
        return f"{self.seconds:.2f} s, {self.wall:,.0f} placements/s ({own:,.0f} by the process's own time)"


class Watch:
    def __init__(self):
        self._at, self._busy = time.perf_counter(), time.process_time()

    def rate(self, number):
        return Rate(number, time.perf_counter() - self._at, time.process_time() - self._busy)


def machines(number, tasks):
    """Nodes that the tasks fill to nine tenths, if 64 cores and 256 GiB are not enough."""
    each = -(-tasks // number)
    cpu = max(64_000_000_000, each * UNIT_CPU * 26 // 10)
    memory = max(256 << 30, each * UNIT_MEMORY * 78 // 10)
    return [
        Node(
            id=f"n{n:05}",
            spec=NodeSpec(labels={"zone": f"z{n % ZONES}", "disk": "ssd" if n % 2 else "hdd"}),
            description=NodeDescription(
                hostname=f"n{n:05}", os="linux", arch="x86_64", capacity=Resources(cpu_nano=cpu, memory_bytes=memory)
            ),
            ready=True,
        )
        for n in range(number)
    ]


def workload(tasks, mix=MIX):
    """PENDING tasks of services of each size in *mix*, the same number of tasks of each."""
    made, number = [], 0
    for replicas in mix:
        for _ in range(max(1, tasks // len(mix) // replicas)):
            made += service(number, replicas)
            number += 1
    return made


def service(number, replicas):
    cpu, memory = SIZES[number % len(SIZES)]
    spec = TaskSpec(
        container=ContainerSpec(image="registry.example/team/web:1.2.3"),
        reservations=Resources(cpu_nano=cpu * UNIT_CPU, memory_bytes=memory * UNIT_MEMORY),
        placement=Placement(
            constraints=("node.labels.disk==ssd",) if number % 3 == 0 else (),
            spread=(Spread(level="node.labels.zone"),) if number % 5 else (),
        ),
    )
    image = ResolvedImage(ref="web", id="sha256:1")
    return [
        Task(
            id=f"t{number:06}x{slot}", app=f"a{number // 20}", service=f"s{number}", slot=slot, spec=spec, image=image,
            fingerprint="f", created_at=float(number), state=TaskState.PENDING,
        )
        for slot in range(1, replicas + 1)
    ]  # fmt: skip


def pure(nodes, tasks):
    """Return the rate at which *tasks* are placed, in batches as the loop does, and the fleet after it."""
    shapes, fleet = Shapes(), Fleet(nodes)
    watch = Watch()
    wanted = requests(fleet, ((task, shapes.of(task)) for task in tasks))
    placed = 0
    for some in slices(wanted, BATCH):
        outcome = Outcome()
        place_requests(fleet, some, outcome)
        placed += len(outcome.placed)
    rate = watch.rate(len(tasks))
    assert placed == len(tasks), f"{len(tasks) - placed} of {len(tasks)} tasks have no place"
    assert int(fleet.columns.free.min()) >= 0, "a node has more than it can hold"
    return rate, fleet


async def durable(nodes, tasks):
    """Return the rate at which the loop has *tasks* committed."""
    with tempfile.TemporaryDirectory(prefix="ph-bench-schedule-") as name:
        store = await SQLiteStore.open(pathlib.Path(name))
        await store.update(Writer.AGENT, lambda tx: [tx.put(described(node)) for node in nodes])
        stored = await store.view(lambda tx: tx.find(Node))
        await store.update(Writer.API, lambda tx: [tx.put(msgspec.structs.replace(n, spec=s.spec))
                                                   for n, s in zip(stored, nodes, strict=True)])  # fmt: skip
        stored = await store.view(lambda tx: tx.find(Node))
        await store.update(Writer.NODES, lambda tx: [tx.put(msgspec.structs.replace(n, ready=True)) for n in stored])
        for start in range(0, len(tasks), 5_000):
            some = tasks[start : start + 5_000]
            new = [msgspec.structs.replace(task, state=TaskState.NEW) for task in some]
            new = await store.update(Writer.ORCHESTRATOR, lambda tx, new=new: [tx.put(task) for task in new])
            await store.update(Writer.RESOURCES, lambda tx, new=new: [tx.put(pending(task)) for task in new])
        watch = Watch()
        async with asyncio.TaskGroup() as group:
            clock = SystemClock()
            loop = group.create_task(pulse("scheduler", store, clock, Scheduler(store, clock)))
            await acknowledged(store, len(tasks))
            loop.cancel()
        rate = watch.rate(len(tasks))
        placed = await store.view(lambda tx: sum(task.state is TaskState.ASSIGNED for task in tx.find(Task)))
        assert placed == len(tasks), f"{len(tasks) - placed} of {len(tasks)} tasks have no place"
        await store.close()
    return rate


async def acknowledged(store, number):
    """Return once so many tasks have a node, as whoever watches the store hears of it."""
    since = await store.view(lambda tx: tx.revision)
    async for commit in store.watch(since):
        number -= sum(change.after.state is TaskState.ASSIGNED for change in commit.changes)
        if number <= 0:
            return


def described(node):
    return Node(id=node.id, description=node.description)


def pending(task):
    return msgspec.structs.replace(task, state=TaskState.PENDING)


def explanations(fleet):
    """Return the milliseconds of explanations of tasks that no node suits, each for another reason."""
    found = []
    for number in range(EXPLANATIONS):
        (task,) = service(number, 1)
        spec = msgspec.structs.replace(
            task.spec,
            reservations=Resources(cpu_nano=(1 + number) * 10**12, memory_bytes=1 << (20 + number % 30)),
            placement=Placement(constraints=(f"node.labels.disk==d{number % 3}", f"node.labels.zone!=z{number % 5}")),
        )
        task = msgspec.structs.replace(task, id=f"why{number}", service=f"why{number}", spec=spec)
        begun = time.perf_counter()
        answer = explain(fleet, task)
        found.append(1000 * (time.perf_counter() - begun))
        assert not answer.suitable
        assert sum(group.count for group in answer.groups) == answer.nodes
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=5_000)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--durable", type=int, default=50_000, help="tasks of the durable figure; 0 leaves it out")
    given = parser.parse_args()
    nodes = machines(given.nodes, given.tasks)
    tasks = workload(given.tasks)
    rate, fleet = pure(nodes, tasks)
    print(f"pure: {len(tasks)} tasks on {given.nodes} nodes: {rate}")
    why = explanations(fleet)
    print(f"explanation of one pending task: median {statistics.median(why):.1f} ms, worst {max(why):.1f} ms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory at its highest: {peak:,.0f} MiB")
    del tasks, fleet
    small = workload(min(given.tasks, 100_000), mix=(5,))
    alike, _ = pure(nodes, small)
    print(f"small: {len(small)} tasks of services of 5: {alike}")
    kept = Rate(0, 1, 1)
    if given.durable:
        some = workload(given.durable)
        kept = asyncio.run(durable(nodes, some))
        print(f"durable: {len(some)} tasks: {kept}")
    print(
        f"schedule, {given.nodes} nodes, {given.tasks} tasks: placements/s pure, small, durable; ms to explain: "
        f"{rate.wall:.0f} {alike.wall:.0f} {kept.wall:.0f} {statistics.median(why):.1f}"
    )


if __name__ == "__main__":
    main()
