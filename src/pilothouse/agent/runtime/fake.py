"""A driver for an engine in memory, with every power, a journal of calls, and a way to die at any of them.

It is not a mock: `check_runtime` holds for it as for the real engines. The host (`fakehost.FakeHost`) outlives it, so
an agent that was killed is followed by another with a new FakeEngine on the same host.
"""

from collections.abc import AsyncIterator

from pilothouse.agent.runtime.fakecalls import Killed as Killed
from pilothouse.agent.runtime.fakehost import KILLED
from pilothouse.agent.runtime.fakeimages import FakeImages
from pilothouse.agent.runtime.interface import ContainerPlan, ContainerState, ExitStatus, NetworkPlan
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.names import RESERVED_LABEL_PREFIX, task_id_of
from pilothouse.model.node import NodeDescription
from pilothouse.model.wire import ForeignContainer, LogLine, LogQuery, TaskUsage

EXEC_OUTPUT = 4096


class FakeEngine(FakeImages):
    """One agent's connection to a FakeHost."""

    async def describe(self) -> NodeDescription:
        async with self._call("describe"):
            return NodeDescription(
                hostname="fake", os="linux", arch="amd64", engine="fake 1", capacity=self.host.capacity
            )

    async def prepare(self, plan: ContainerPlan) -> str:
        async with self._call("prepare", plan.name):
            if plan.name in self.host.containers:
                return self.host.containers[plan.name].id
            image = self.host.image(plan.image)
            if image is None or not image.present:
                raise PermanentError(f"there is no image {plan.image} on this node")
            reserved = sorted(key for key in image.labels if key.startswith(RESERVED_LABEL_PREFIX))
            if reserved:
                raise PermanentError(f"the image {plan.image} has the label {reserved[0]}, which is reserved")
            missing = [e.network for e in plan.endpoints if e.network not in self.host.networks]
            if missing:
                raise PermanentError(f"there is no network {missing[0]} on this node")
            return self.host.create(plan, image).id

    async def start(self, name: str) -> None:
        async with self._call("start", name):
            container = self._find(name)
            if container.state.phase != "created":
                return
            if container.image.start_error:
                raise PermanentError(container.image.start_error)
            for other in self.host.containers.values():
                taken = {(p.protocol, p.host_port) for p in other.plan.ports} if other.running else set()
                if clash := taken & {(p.protocol, p.host_port) for p in container.plan.ports}:
                    raise PermanentError(f"port {min(clash)[1]} is taken by {other.plan.name}")
            self.host.begin(container)

    async def wait(self, name: str) -> ExitStatus:
        async with self._call("wait", name):
            container = self._find(name)
            await self.host.until(
                lambda: (
                    container.state.exit is not None
                    or self.host.down
                    or self.host.containers.get(name) is not container
                )
            )
            if container.state.exit is None:
                self._reachable()
                raise PermanentError(f"the container {name} was removed")
            return container.state.exit

    async def stop(self, name: str, grace_seconds: float, signal: str = "") -> None:
        async with self._call("stop", name):
            container = self.host.containers.get(name)
            if container is None or not container.running:
                return
            self.host.ask_to_stop(container, signal)
            if not await self.host.until(lambda: not container.running, grace_seconds):
                self.host.kill(name, KILLED)

    async def remove(self, name: str) -> None:
        async with self._call("remove", name):
            if name in self.host.containers:
                self.host.delete(name)

    async def status(self) -> tuple[ContainerState, ...]:
        async with self._call("status"):
            self.host.advance()
            return tuple(c.state for name, c in sorted(self.host.containers.items()) if task_id_of(name))

    async def close(self) -> None:
        return

    async def inspect(self, name: str) -> ContainerState | None:
        async with self._call("inspect", name):
            self.host.advance()
            container = self.host.containers.get(name)
            return container.state if container else None

    async def events(self) -> AsyncIterator[str]:
        while True:
            seen = len(self.host.changes)
            await self.host.until(lambda: not self.host.down)
            yield ""
            while not self.host.down:
                await self.host.until(lambda seen=seen: len(self.host.changes) > seen)  # type: ignore[misc]  # mypy cannot infer lambda defaults
                new, seen = self.host.changes[seen:], len(self.host.changes)
                for name in new:
                    if task_id_of(name):
                        yield name

    async def ensure_network(self, name: str, options: NetworkPlan) -> None:
        async with self._call("ensure_network", name):
            owner = self.host.networks.get(name)
            if owner is None and options.spec.external:
                raise PermanentError(
                    f"networks.{options.spec.key} is external, and there is no network {name} on this node: create it "
                    f"with `docker network create {name}`, or remove `external: true`"
                )
            if owner is not None and owner != options.app and not options.spec.external:
                raise PermanentError(f"the network {name} exists and is not of app {options.app}")
            if owner is None:
                self.host.networks[name] = options.app
                self.host.makers[f"network {name}"] = options.installation

    async def remove_network(self, name: str, installation: str = "") -> bool:
        async with self._call("remove_network", name):
            if not self.host.networks.get(name) or self.host.makers.get(f"network {name}", "") != installation:
                return True
            used = any(c.running and name in c.state.addresses for c in self.host.containers.values())
            if used:
                return False
            del self.host.networks[name]
            self.host.makers.pop(f"network {name}", None)
            return True

    async def list_networks(self, installation: str = "") -> tuple[str, ...]:
        async with self._call("list_networks"):
            ours = (name for name, app in self.host.networks.items() if app)
            return tuple(sorted(n for n in ours if self.host.makers.get(f"network {n}", "") == installation))

    async def ensure_volume(
        self, name: str, app: str, driver: str, options: dict[str, str], installation: str = ""
    ) -> None:
        async with self._call("ensure_volume", name):
            if name not in self.host.volumes:
                self.host.volumes[name] = app
                self.host.makers[f"volume {name}"] = installation

    async def remove_volume(self, name: str, installation: str = "") -> bool:
        async with self._call("remove_volume", name):
            if not self.host.volumes.get(name) or self.host.makers.get(f"volume {name}", "") != installation:
                return True
            used = any(m.kind == "volume" and m.source == name for c in self._plans() for m in c.mounts)
            if used:
                return False
            del self.host.volumes[name]
            self.host.makers.pop(f"volume {name}", None)
            return True

    async def has_volume(self, name: str) -> bool:
        async with self._call("has_volume", name):
            return name in self.host.volumes

    async def list_volumes(self) -> tuple[str, ...]:
        async with self._call("list_volumes"):
            return tuple(sorted(name for name, app in self.host.volumes.items() if app))

    async def logs(self, name: str, query: LogQuery) -> AsyncIterator[LogLine]:
        async with self._call("logs", name):
            container = self.host.containers.get(name)
        if container is None:
            return
        self.host.advance()
        low, high = query.since or 0.0, float("inf") if query.until is None else query.until
        lines = [line for line in container.logs if low <= line.at <= high]
        for line in lines if query.tail is None else lines[max(0, len(lines) - query.tail) :]:
            yield line
        seen = len(container.logs)
        while query.follow and not self.host.down:
            await self.host.until(lambda seen=seen: len(container.logs) > seen or not container.running)  # type: ignore[misc]  # mypy cannot infer lambda defaults
            for line in container.logs[seen:]:
                if line.at <= high:
                    yield line
            seen = len(container.logs)
            if not container.running or self.host.clock.now() > high:
                return

    async def exec(
        self,
        name: str,
        command: tuple[str, ...],
        *,
        timeout_seconds: float,
        user: str = "",
        working_dir: str = "",
        environment: dict[str, str] | None = None,
        privileged: bool = False,
    ) -> tuple[int, str]:
        async with self._call("exec", f"{name} {' '.join(command)}"):
            container = self._find(name)
            if not container.running:
                raise PermanentError(f"the container {name} does not run")
            code, output, seconds = container.image.commands.get(command, (0, "", 0.0))
            await self.host.clock.sleep(min(seconds, timeout_seconds))
            if seconds > timeout_seconds:
                raise TemporaryError(f"{command[0]} did not end in {timeout_seconds:g} s in {name}")
            return code, output[:EXEC_OUTPUT]

    async def stats(self) -> tuple[TaskUsage, ...]:
        async with self._call("stats"):
            now = self.host.clock.now()
            running = [c for n, c in sorted(self.host.containers.items()) if task_id_of(n) and c.running]
            return tuple(
                TaskUsage(
                    task_id=c.state.task_id,
                    at=now,
                    cpu_nano_total=int((now - (c.state.started_at or now)) * 1e7),
                    memory_bytes=8 << 20,
                    memory_limit_bytes=c.plan.spec.limits.memory_bytes,
                    pids=1,
                )
                for c in running
            )

    async def list_foreign(self) -> tuple[ForeignContainer, ...]:
        async with self._call("list_foreign"):
            return tuple(self.host.foreign)

    async def rename(self, container_id: str, name: str) -> None:
        async with self._call("rename", name):
            if name in self.host.containers:
                return
            found = next((f for f in self.host.foreign if f.id == container_id), None)
            if found is None:
                raise PermanentError(f"there is no container {container_id}")
            self.host.adopt(found, name)

    def _plans(self) -> list[ContainerPlan]:
        return [container.plan for container in self.host.containers.values()]
