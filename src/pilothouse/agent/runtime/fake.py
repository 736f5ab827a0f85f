"""A driver for an engine in memory, with every power, a journal of calls, and a way to die at any of them.

It is not a mock: `check_runtime` holds for it as for the real engines. The host (`fakehost.FakeHost`) outlives it, so
an agent that was killed is followed by another with a new FakeEngine on the same host.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from pilothouse.agent.runtime.fakehost import KILLED, FakeContainer, FakeHost, FakeImage
from pilothouse.agent.runtime.interface import ContainerPlan, ContainerState, ExitStatus, NetworkPlan
from pilothouse.errors import NotFoundError, PermanentError, RuntimeUnavailableError, TemporaryError
from pilothouse.model.names import RESERVED_LABEL_PREFIX, task_id_of
from pilothouse.model.node import NodeDescription
from pilothouse.model.wire import ForeignContainer, ImageProgress, LogLine, LogQuery, TaskUsage

PULL_ATTEMPTS = 5
EXEC_OUTPUT = 4096


class Killed(BaseException):
    """The process of the agent was killed here; not an Exception, so that no handler can swallow it."""


class Call(msgspec.Struct, frozen=True):
    """One call the agent made: its number from 1, its verb, and what it was about."""

    number: int
    verb: str
    subject: str


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong at a call: *error* is raised before the engine acts, or after it did."""

    error: BaseException
    after: bool


class FakeEngine:
    """One agent's connection to a FakeHost.

    Attributes:
        calls: Everything that was asked, in order, the interrupted call included.
        dead: A Killed was raised; every later call raises it too.
    """

    def __init__(self, host: FakeHost, *, latency_seconds: float = 0.0) -> None:
        self.host = host
        self.calls: list[Call] = []
        self.dead = False
        self._latency_seconds = latency_seconds
        self._faults: dict[int, Fault] = {}

    def crash_at(self, number: int, *, after: bool) -> None:
        """Kill the agent at its call *number* (from 1): before the engine acts, or after it and before the answer."""
        self._faults[number] = Fault(Killed(f"at call {number}"), after)

    def fail_at(self, number: int, error: Exception, *, after: bool = False) -> None:
        """Raise *error* at call *number*; *after* means the engine did it and only the answer was lost."""
        self._faults[number] = Fault(error, after)

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

    async def find_image(self, ref: str) -> tuple[str, str] | None:
        async with self._call("find_image", ref):
            image = self.host.image(ref)
            return (image.image_id, image.digest) if image and image.present else None

    async def ensure_image(self, ref: str, policy: str, platform: str = "") -> AsyncIterator[ImageProgress]:
        async with self._call("ensure_image", ref):
            image = self.host.image(ref)
        if image and image.present and policy != "always":
            yield ImageProgress(ref=ref, phase="present")
            yield _resolved(ref, image)
            return
        if policy in {"never", "build"} or image is None or image.pull_error:
            why = image.pull_error if image and image.pull_error else f"there is no image {ref}"
            yield ImageProgress(ref=ref, phase="failed", message=why)
            return
        for attempt in range(PULL_ATTEMPTS):
            yield ImageProgress(ref=ref, phase="pulling")
            await self.host.clock.sleep(image.pull_seconds)
            if attempt >= image.pull_failures:
                async with self._call("pull", ref):
                    self.host.images[image.ref] = msgspec.structs.replace(image, present=True, pull_failures=0)
                yield _resolved(ref, image)
                return
            yield ImageProgress(ref=ref, phase="waiting", message="the registry did not answer")
            await self.host.clock.sleep(2.0**attempt)
        yield ImageProgress(ref=ref, phase="failed", message="the registry did not answer")

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

    @asynccontextmanager
    async def _call(self, verb: str, subject: str = "") -> AsyncIterator[None]:
        """Journal one call and let its fault happen around it."""
        if self.dead:
            raise Killed("the process is dead already")
        self.calls.append(Call(len(self.calls) + 1, verb, subject))
        fault = self._faults.pop(len(self.calls), None)
        if fault and not fault.after:
            self._raise(fault.error)
        if self._latency_seconds:
            await self.host.clock.sleep(self._latency_seconds)
        self._reachable()
        yield
        if self.dead:
            raise Killed("another call killed the process")
        if fault:
            self._raise(fault.error)

    def _raise(self, error: BaseException) -> None:
        self.dead = isinstance(error, Killed)
        raise error

    def _reachable(self) -> None:
        if self.host.down:
            raise RuntimeUnavailableError("the container engine does not answer: start it, or look at its log")

    def _find(self, name: str) -> FakeContainer:
        try:
            return self.host.find(name)
        except NotFoundError as error:
            raise PermanentError(f"there is no container {name} on this node") from error

    def _plans(self) -> list[ContainerPlan]:
        return [container.plan for container in self.host.containers.values()]


def _resolved(ref: str, image: FakeImage) -> ImageProgress:
    return ImageProgress(ref=ref, phase="resolved", id=image.image_id, digest=image.digest, platform=image.platform)
