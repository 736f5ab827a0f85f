"""The simulated platform with everything that makes releases: the API's own door, the releaser and the restorer."""

import asyncio
import functools
from collections import Counter

from pilothouse.control.term import loops
from pilothouse.governance.identity.principal import Principal
from pilothouse.governance.secrets.seal import KEY_BYTES, Vault
from pilothouse.model.api import DeployRequest
from pilothouse.model.objects import Task
from pilothouse.model.release import Release
from pilothouse.model.spec import AppSpec
from pilothouse.model.states import TaskState
from pilothouse.model.wire import ImageProgress
from pilothouse.release.loop import loops as release_loops
from pilothouse.server.api.context import Context
from pilothouse.server.commits import Commits
from pilothouse.server.deploy.pipeline import Caller, deploy
from pilothouse.server.deploy.rollback import restore
from pilothouse.server.sessions.registry import Nodes
from pilothouse.store.memory import MemoryStore
from pilothouse.supervise import run_term
from tests.scenarios.simulation import JumpingClock, Platform, SimulatedNode

CALLER = Caller(Principal(kind="uid", id="1000", name="alice"), "r1")


class EveryImage:
    """A node that has every image; keeps as much of `NodeServices` as deployments ask for."""

    async def ensure_image(self, ref, policy, platform=""):
        yield ImageProgress(ref=ref, phase="resolved", id=ref if ref.startswith("sha256:") else f"sha256:{ref}")


class WatchedNode(SimulatedNode):
    """Remembers the fewest ready tasks and the most that run and are not stopping, by service, since `watch`."""

    def watch(self):
        self.fewest, self.crowd = {}, Counter()

    def _count(self, now):
        super()._count(now)
        if not hasattr(self, "fewest"):
            return
        slots = [c for c in self.containers.values() if c.task.step < 0]
        ready = Counter(c.task.service for c in slots if c.running(now) and self._ready(c, now))
        for service in {c.task.service for c in slots}:
            self.fewest[service] = min(ready[service], self.fewest.get(service, ready[service]))
        staying = Counter(c.task.service for c in slots if c.running(now) and c.stop_at is None)
        for service, number in staying.items():
            self.crowd[service] = max(self.crowd[service], number)

    @staticmethod
    def _ready(container, now):
        takes = container.behaviour.ready_seconds
        return takes is not None and now >= container.started_at + takes


class Releases(Platform):
    """A platform on which a person deploys through the API's door, and which undoes what fails."""

    def __init__(self, script, seed=0):
        clock = JumpingClock()
        super().__init__(MemoryStore(clock), clock, script, seed)
        self.node = WatchedNode(store=self.store, clock=clock, script=script)
        self.store.kill_any = True
        nodes = Nodes()
        nodes.connect("node1", EveryImage())
        self.context = Context(
            store=self.store,
            clock=clock,
            ids=self.ids,
            vault=Vault(b"k" * KEY_BYTES),
            nodes=nodes,
            commits=Commits(),
            closing=asyncio.Event(),
            started_at=clock.now(),
        )

    async def _manager(self):
        undo = functools.partial(restore, self.context)
        every = {
            **loops(self.store, self.clock, self.ids, self.presence),
            **release_loops(self.store, self.clock, undo),
        }
        await run_term(every)

    async def deploy(self, *services, app="shop"):
        """Deploy as a person does; that commit kills nobody."""
        armed, self.store.kill_after = self.store.kill_after, None
        result = await deploy(self.context, CALLER, DeployRequest(spec=AppSpec(name=app, services=services)))
        self.store.kill_after = armed
        return result.revision

    async def release(self, number):
        return await self.store.view(lambda tx: tx.get(Release, f"shop/{number:06d}"))

    async def reaches(self, number, *states, limit_seconds=3600.0):
        """Let time pass until release *number* is in one of *states*; return it."""

        async def there():
            found = await self.release(number)
            return found is not None and found.state in states

        await self.until(there, limit_seconds)
        return await self.release(number)

    async def live(self, name="web"):
        """The service's tasks in slots that are not dead."""
        found = await self.store.view(lambda tx: tx.find(Task, service_id=f"shop/{name}"))
        return [task for task in found if task.step < 0 and task.state <= TaskState.RUNNING]
