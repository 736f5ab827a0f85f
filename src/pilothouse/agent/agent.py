"""One node's agent: a worker for each assigned task, an ear for the engine's events, and a broom.

`Agent.run` is the only place that starts asyncio tasks for the node's tasks. It touches no running container that is
assigned, whatever happens to the manager or to itself.
"""

import asyncio
import pathlib

from pilothouse import log
from pilothouse.agent.equipment import Equipment
from pilothouse.agent.fence import Fence
from pilothouse.agent.health import Health
from pilothouse.agent.images.collector import Collector
from pilothouse.agent.images.decide import Policy
from pilothouse.agent.images.ledger import Ledger
from pilothouse.agent.introduction import Introduction
from pilothouse.agent.lease import Lease
from pilothouse.agent.measuring import Measuring
from pilothouse.agent.orphans import Leftovers, leftovers
from pilothouse.agent.plan import neighbours_of
from pilothouse.agent.proxy.interface import Ingress
from pilothouse.agent.runtime.interface import ContainerState, Engine
from pilothouse.agent.services import Services
from pilothouse.agent.session import ManagerLink
from pilothouse.agent.worker import Worker
from pilothouse.backoff import delay_seconds
from pilothouse.clock import Clock
from pilothouse.errors import PilothouseError
from pilothouse.ids import Ids
from pilothouse.model.names import container_name, task_id_of
from pilothouse.model.objects import Task
from pilothouse.model.wire import Assignment, ResourceReport

RELIST_SECONDS = 30.0
AGAIN_SECONDS = 1.0
ORPHAN_GRACE_SECONDS = 10.0
RETRY_CAP_SECONDS = 5.0


class Agent:
    """The agent of this node.

    Attributes:
        services: What the manager may ask of the node (`server.sessions.interface.NodeServices`).
        health: What keeps new work away from it.
    """

    def __init__(
        self,
        link: ManagerLink,
        engine: Engine,
        ingress: Ingress,
        clock: Clock,
        ids: Ids,
        data_directory: pathlib.Path,
        run_directory: pathlib.Path,
        fence: Fence | None = None,
        policy: Policy = Policy(),  # noqa: B008 - a frozen value
    ) -> None:
        """Put the parts together; without a *fence* the node cannot be cut off: its manager is in this process."""
        self._link = link
        fence = fence or Fence(Lease(clock, endless=True), clock)
        self._kit = Equipment(link, engine, ingress, clock, ids, data_directory, run_directory, fence)
        self._kit.neighbours = self._neighbours
        self.health = Health(engine, clock, fence.trouble)
        ledger = Ledger(data_directory / "images.json", clock)
        self._collector = Collector(
            engine, self._kit.archive, ledger, clock, link.needed_images, lambda: self._kit.assignment, policy
        )
        self.health.relief = lambda: self._collector.relief
        self._introduction = Introduction(link, self._kit, clock, self._warnings, lambda: ledger.last)
        self._measuring = Measuring(link, ingress, clock)
        self._workers: dict[str, Worker] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._found: dict[str, ContainerState] | None = None
        self._known: set[str] = set()
        self._leaving: set[str] = set()
        self._sweep_now = asyncio.Event()
        self.services = Services(self._kit, self._workers.get, self._collector)

    async def run(self) -> None:
        """Serve the node until cancelled; containers run on afterwards."""
        try:
            async with asyncio.TaskGroup() as group:
                # What is served goes on being served, whoever has yet to answer.
                group.create_task(self._kit.ingress.run(), name="ingress")
                group.create_task(self._kit.fence.run(self._think_again), name="fence")
                group.create_task(self.health.run(), name="health")
                await self._introduce()
                group.create_task(self._introduction.run(), name="introduction")
                group.create_task(self._collector.run(self.health.room), name="images")
                group.create_task(self._measuring.run(), name="measuring")
                group.create_task(self._kit.reports.run(), name="reports")
                group.create_task(self._listen(), name="events")
                group.create_task(self._tidy(), name="tidy")
                await self._follow(group)
        finally:
            self._kit.files.close()

    async def _introduce(self) -> None:
        """See what is there and tell the manager what this node is; waits for an engine and a manager that answer."""
        failures = 0
        while True:
            try:
                self._found = await self._introduction.begin()
            except PilothouseError as error:
                failures = await self._wait_again("agent.waits", error, failures)
            else:
                return

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Apply every assignment; a manager that went away is waited for."""
        failures = 0
        while True:
            try:
                async for assignment in self._link.assignments():
                    failures = 0
                    self._apply(assignment, group)
                error = PilothouseError("the manager ended the stream of assignments")
            except PilothouseError as problem:
                error = problem
            failures = await self._wait_again("session.lost", error, failures)
            for worker in self._workers.values():
                worker.repeat()

    def _apply(self, assignment: Assignment, group: asyncio.TaskGroup) -> None:
        kit = self._kit
        if assignment.revision < kit.assignment.revision:
            log.event("warning", "assignment.older", got=assignment.revision, have=kit.assignment.revision)
        first, kit.assignment = self._found is not None, assignment
        found = self._found or {}
        kit.fence.assigned(assignment.cut_offs)
        wanted = {task.id for task in assignment.tasks}
        self._known |= wanted
        kit.fence.clear_first({task.id for task in assignment.tasks if task.state.terminal and self._runs(task, found)})
        for task in assignment.tasks:
            worker = self._workers.get(task.id)
            if worker is not None:
                worker.assign(task)
                continue
            # What was not here when the agent began was made by it, but for what is being adopted.
            unsure = not first and (task.id in self.services.adopting or task.status.container_id != "")
            self.services.adopting.pop(task.id, None)
            worker = Worker(task, found.get(container_name(task)), kit, look_first=unsure)
            self._workers[task.id] = worker
            self._running[task.id] = group.create_task(self._drive(worker), name=worker.name)
        self._drop(set(self._workers) - wanted, group)
        kit.ingress.settle([task.id for task in assignment.tasks if not task.state.terminal])
        self._measuring.divide(assignment.splits)
        if first:
            kit.archive.sweep(wanted)
            kit.fence.sweep(wanted | {state.task_id for state in found.values()})
            kit.files.sweep({task.id for task in assignment.tasks if not task.state.terminal})
            group.create_task(self._sweep_first(tuple(found.values())))
            self._found = None
        self._sweep_if_due()

    def _runs(self, task: Task, found: dict[str, ContainerState]) -> bool:
        """Whether the container of *task* runs, as far as is known."""
        worker, state = self._workers.get(task.id), found.get(container_name(task))
        return (worker is not None and worker.running) or (state is not None and state.phase in {"running", "paused"})

    def _think_again(self) -> None:
        for worker in self._workers.values():
            worker.wake()

    async def _drive(self, worker: Worker) -> None:
        await worker.run()
        # Its container may have been the last on a network that has to go.
        self._sweep_if_due()

    def _sweep_if_due(self) -> None:
        """Sweep now if something has to go that no running worker may still use."""
        assignment = self._kit.assignment
        apps = {network.app for network in assignment.networks if network.removing}
        apps |= {volume.app for volume in assignment.volumes if volume.removing}
        busy = {worker.task.app for worker in self._workers.values() if not worker.over}
        if apps - busy:
            self._sweep_now.set()

    def _drop(self, task_ids: set[str], group: asyncio.TaskGroup) -> None:
        """Forget tasks that left the assignment, and remove what is left of them."""
        for task_id in task_ids:
            worker = self._workers.pop(task_id)
            self._running.pop(task_id).cancel()
            worker.abandon()
            self._kit.archive.forget(task_id)
            if not worker.over:
                self._leaving.add(worker.name)
                group.create_task(self._finish(worker))
            self._kit.files.wipe(task_id)
            if worker.task.spec.pre_start:
                self._sweep_now.set()
        self._kit.reports.forget(task_ids)

    async def _listen(self) -> None:
        """Wake the worker whose container changed; the stream never ends by itself."""
        async for name in self._kit.engine.events():
            if name:
                worker = self._workers.get(task_id_of(name) or "")
                if worker is not None and worker.name == name:
                    worker.look()
            else:
                self._sweep_now.set()

    async def _tidy(self) -> None:
        """Compare what is there with what should be, from time to time and when something calls for it."""
        wait = RELIST_SECONDS
        while True:
            try:
                async with asyncio.timeout(wait):
                    await self._sweep_now.wait()
            except TimeoutError:
                pass
            self._sweep_now.clear()
            if self._found is not None:
                continue  # before the first assignment nothing can be told apart
            try:
                states = await self._kit.engine.status()
                self._compare(states)
                self._kit.archive.sweep(set(self._workers))
                done = await self._sweep(states)
            except PilothouseError as error:
                log.event("warning", "sweep.failed", error=str(error))
                done = False
            wait = RELIST_SECONDS if done else AGAIN_SECONDS

    def _compare(self, states: tuple[ContainerState, ...]) -> None:
        """Let every worker look whose container is not as it last saw it."""
        now = {state.name: _essence(state) for state in states}
        for worker in self._workers.values():
            if _essence(worker.container) != now.get(worker.name):
                worker.look()

    async def _sweep_first(self, states: tuple[ContainerState, ...]) -> None:
        try:
            done = await self._sweep(states)
        except PilothouseError as error:
            log.event("warning", "sweep.failed", error=str(error))
            done = False
        if not done:
            self._sweep_now.set()

    async def _sweep(self, states: tuple[ContainerState, ...]) -> bool:
        """Remove what does not belong; return False if something is still in use and should be tried again soon."""
        networks = await self._kit.networks.refresh()
        await self._kit.volumes.refresh()
        existing = {state.task_id for state in states}
        self._known = {task_id for task_id in self._known if task_id in self._workers or task_id in existing}
        found = leftovers(
            self._kit.assignment,
            states,
            networks,
            self.services.protected(),
            installation=self._kit.installation,
            known=self._known,
        )
        for name in found.containers:
            await self._remove_orphan(name)
        return await self._remove_places(found)

    async def _remove_places(self, found: Leftovers) -> bool:
        done = True
        for network in found.networks:
            gone = network.spec.external or await self._kit.networks.remove(network.spec.name)
            if gone:
                self._kit.reports.gone(ResourceReport(kind="network", id=network.id))
            done = done and gone
        for volume in found.volumes:
            gone = await self._kit.volumes.remove(volume)
            if gone:
                self._kit.reports.gone(ResourceReport(kind="volume", id=volume.id))
            done = done and gone
        for name in found.strays:
            await self._kit.networks.remove(name)
        return done

    async def _finish(self, worker: Worker) -> None:
        """Remove the container of a task that was forgotten before its worker had cleaned up."""
        if not worker.ended:
            log.event("info", "container.orphaned", name=worker.name)
        # Only what was given up leaves an assignment alive, and others may run in its place.
        await self._remove(worker.name, grace_seconds=0.0)
        self._leaving.discard(worker.name)
        self._sweep_if_due()

    async def _remove_orphan(self, name: str) -> None:
        """Remove a container that belongs to no task, unless that is being done or was done meanwhile."""
        if name in self._leaving:
            return
        try:
            if await self._kit.engine.inspect(name) is None:
                return
        except PilothouseError as error:
            log.event("warning", "container.stays", name=name, error=str(error))
            self._sweep_now.set()
            return
        log.event("info", "container.orphaned", name=name)
        await self._remove(name)

    async def _remove(self, name: str, grace_seconds: float = ORPHAN_GRACE_SECONDS) -> None:
        """Stop and remove a container; a failure leaves it to the next sweep."""
        try:
            await self._kit.engine.stop(name, grace_seconds)
            await self._kit.engine.remove(name)
            self._kit.fence.leave(task_id_of(name) or "")
        except PilothouseError as error:
            log.event("warning", "container.stays", name=name, error=str(error))
            self._sweep_now.set()

    def _warnings(self) -> tuple[str, ...]:
        """Return what a person should know of the node beside what its engine says."""
        full = self._collector.relief
        disk = f"the engine's disk is getting full: {full}" if full and "disk" not in self.health.pressure else ""
        return tuple(text for text in (self.health.clocks.warning(), disk) if text)

    def _neighbours(self, task: Task) -> dict[str, str]:
        """Return the running container of each service *task* refers to: that of its own slot, else of the lowest."""
        chosen: dict[str, str] = {}
        for service in neighbours_of(task):
            running = [
                worker
                for worker in self._workers.values()
                if (worker.task.app, worker.task.service, worker.task.step) == (task.app, service, -1)
                and worker.container is not None
                and worker.container.phase == "running"
            ]
            running.sort(key=lambda worker: (worker.task.slot != task.slot, worker.task.slot, -worker.task.created_at))
            if running and running[0].container is not None:
                chosen[service] = running[0].container.id
        return chosen

    async def _wait_again(self, event: str, error: PilothouseError, failures: int) -> int:
        failures += 1
        log.event("warning", event, error=str(error))
        fraction = self._kit.ids.fraction()
        await self._kit.clock.sleep(delay_seconds(failures + 1, fraction=fraction, first=0.1, cap=RETRY_CAP_SECONDS))
        return failures


def _essence(state: ContainerState | None) -> tuple[str, str, str] | None:
    return None if state is None else (state.id, state.phase, state.health)
