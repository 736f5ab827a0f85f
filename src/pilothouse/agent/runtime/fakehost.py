"""A machine with a container engine, kept in memory: what is left when the agent that used it is killed.

Images are scripts: they say when their containers exit, turn healthy or write. Time is the clock's alone, and nothing
runs in the background: whatever was due by now happens the moment somebody looks or waits. `agent.runtime.fake` is the
driver for it; tests reach in here to be the world (kill a container, take the daemon down).
"""

import asyncio
from collections.abc import Callable

import msgspec

from pilothouse.agent.runtime.interface import ContainerPlan, ContainerState, ExitStatus, StoredImage
from pilothouse.clock import Clock
from pilothouse.errors import NotFoundError
from pilothouse.model.base import Value
from pilothouse.model.container import ContainerSpec
from pilothouse.model.names import INSTALLATION_LABEL, task_id_of
from pilothouse.model.spec import Resources
from pilothouse.model.wire import ForeignContainer, LogLine, Stream

KILLED = 137


class FakeImage(Value, frozen=True, kw_only=True):
    """An image and how its containers behave.

    Attributes:
        exit_after_seconds: After the start; None runs until stopped.
        exit_code, oom: How it exits then.
        start_error: If set, `start` raises PermanentError with it and the container stays created.
        health: (seconds after the start, "healthy" or "unhealthy") in order; empty: no check of its own.
        logs: (seconds after the start, line) in order.
        stops_in_seconds: Between the stop signal and the exit; None ignores the signal.
        stop_code: Its exit code then.
        commands: What `exec` answers: (exit code, output, seconds it takes); one that is not here gives (0, "", 0).
        present: Whether the node has it before anybody pulls.
        pull_seconds, pull_failures: How long a pull takes, and how many fail before one succeeds.
        pull_error: If set, every pull fails for good with it.
        size_bytes: What it takes on the node.
    """

    ref: str
    id: str = ""
    digest: str = ""
    platform: str = "linux/amd64"
    labels: dict[str, str] = {}
    exit_after_seconds: float | None = None
    exit_code: int = 0
    oom: bool = False
    start_error: str = ""
    health: tuple[tuple[float, str], ...] = ()
    logs: tuple[tuple[float, str], ...] = ()
    stops_in_seconds: float | None = 0.0
    stop_code: int = 143
    commands: dict[tuple[str, ...], tuple[int, str, float]] = {}
    present: bool = True
    pull_seconds: float = 0.0
    pull_failures: int = 0
    pull_error: str = ""
    size_bytes: int = 1 << 20

    @property
    def image_id(self) -> str:
        """The content id: *id*, or one made from the reference."""
        return self.id or f"sha256:{self.ref.encode().hex():0<64.64}"


class FakeContainer:
    """One container of a FakeHost: its plan, its script and what became of it."""

    def __init__(self, number: int, plan: ContainerPlan, image: FakeImage) -> None:
        self.id = f"{number:064x}"
        self.plan = plan
        self.image = image
        self.state = ContainerState(
            name=plan.name,
            task_id=task_id_of(plan.name) or "",
            id=self.id,
            image_id=image.image_id,
            phase="created",
            installation=plan.labels.get(INSTALLATION_LABEL, ""),
        )
        self.logs: list[LogLine] = []
        self.due: list[tuple[float, Callable[[float], None]]] = []

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.state.phase in {"running", "paused"}

    def change(self, **changes: object) -> None:
        """Replace fields of its state."""
        self.state = msgspec.structs.replace(self.state, **changes)


class FakeHost:
    """The machine. Its methods are what the world does to it; the agent goes through `FakeEngine`.

    Attributes:
        images: By reference; assign to push a new image or change a script for later containers.
        networks, volumes: The app each belongs to ("" is not ours), by name.
        makers: The installation that made each network and volume, by "network NAME" and "volume NAME".
        capacity: What `describe` says the node has.
        changes: The name of every container that changed, in order, for ever.
        begun: The name of every container that was started, in order, for ever.
        down: The daemon does not answer; `outage` and `recover` set it.
    """

    def __init__(self, clock: Clock, *images: FakeImage, capacity: Resources | None = None) -> None:
        self.clock = clock
        self.images = {image.ref: image for image in images}
        self.containers: dict[str, FakeContainer] = {}
        self.networks: dict[str, str] = {}
        self.volumes: dict[str, str] = {}
        self.makers: dict[str, str] = {}
        self.foreign: list[ForeignContainer] = []
        self.capacity = capacity or Resources(cpu_nano=4_000_000_000, memory_bytes=8 << 30, pids=32_768)
        self.changes: list[str] = []
        self.begun: list[str] = []
        self.down = False
        self._changed = asyncio.Event()
        self._made = 0

    # What the world does

    def kill(self, name: str, code: int = KILLED, *, oom: bool = False) -> None:
        """End a running container from outside, as `kill` on the host would."""
        self._exit(self.find(name), self.clock.now(), code, oom=oom)

    def set_health(self, name: str, health: str) -> None:
        """Make the engine's own check of a container say *health* from now on."""
        self._set_health(self.find(name), health)

    def write(self, name: str, text: str, stream: Stream = Stream.OUT) -> None:
        """Let a container write one line."""
        self._write(self.find(name), self.clock.now(), text, stream)

    def outage(self) -> None:
        """Kill the daemon: every call fails, event streams break, containers run on."""
        self.down = True
        self.touch("")

    def recover(self, *, live_restore: bool = True) -> None:
        """Start the daemon again; without live restore it kills everything that runs, as Docker does."""
        self.down = False
        for container in self.containers.values() if not live_restore else ():
            self._exit(container, self.clock.now(), KILLED)
        self.touch("")

    def leftovers(self) -> tuple[str, ...]:
        """Return "KIND NAME" of every container, network and volume of ours that exists, sorted."""
        found = [f"container {name}" for name in self.containers if task_id_of(name)]
        found += [f"network {name}" for name, app in self.networks.items() if app]
        found += [f"volume {name}" for name, app in self.volumes.items() if app]
        return tuple(sorted(found))

    def running(self) -> tuple[str, ...]:
        """Return the names of the containers whose process lives, sorted."""
        self.advance()
        return tuple(sorted(name for name, container in self.containers.items() if container.running))

    # What the driver does

    def stock(self) -> tuple[StoredImage, ...]:
        """Return every image that is present, each once, whatever it is called."""
        found: dict[str, StoredImage] = {}
        for image in self.images.values():
            if image.present:
                names = (*found[image.image_id].names, image.ref) if image.image_id in found else (image.ref,)
                names += (image.digest,) if image.digest else ()
                found[image.image_id] = StoredImage(id=image.image_id, names=names, size_bytes=image.size_bytes)
        return tuple(found.values())

    def images_in_use(self) -> frozenset[str]:
        """Return the ids of the images that containers are made from, foreign ones included."""
        ours = {container.image.image_id for container in self.containers.values()}
        return frozenset(ours | {each.image_id for each in self.foreign})

    def find(self, name: str) -> FakeContainer:
        """Return a container as it is now.

        Raises:
            NotFoundError: There is none of that name.
        """
        self.advance()
        if name not in self.containers:
            raise NotFoundError(f"there is no container {name!r} on the fake engine")
        return self.containers[name]

    def image(self, ref: str) -> FakeImage | None:
        """Return the image *ref* names, by reference, id or digest, whether present or not."""
        return next((i for i in self.images.values() if ref and ref in {i.ref, i.image_id, i.digest}), None)

    def create(self, plan: ContainerPlan, image: FakeImage) -> FakeContainer:
        """Add a container in phase "created"."""
        self._made += 1
        container = self.containers[plan.name] = FakeContainer(self._made, plan, image)
        self.touch(plan.name)
        return container

    def begin(self, container: FakeContainer) -> None:
        """Let the container's script run from now."""
        self.begun.append(container.plan.name)
        now, image = self.clock.now(), container.image
        addresses = {e.network: e.ipv4_address or self._address(container, e.network) for e in container.plan.endpoints}
        container.change(
            phase="running",
            pid=1000 + len(self.changes),
            started_at=now,
            addresses=addresses,
            health="starting" if image.health else "none",
        )
        for after, text in image.logs:
            container.due.append((now + after, lambda at, text=text: self._write(container, at, text, Stream.OUT)))  # type: ignore[misc]  # mypy cannot infer lambda defaults
        for after, health in image.health:
            container.due.append((now + after, lambda _, health=health: self._set_health(container, health)))  # type: ignore[misc]  # as above
        if image.exit_after_seconds is not None:
            at = now + image.exit_after_seconds
            container.due.append((at, lambda at: self._exit(container, at, image.exit_code, oom=image.oom)))
        self.touch(container.plan.name)
        self.advance()

    def ask_to_stop(self, container: FakeContainer, signal: str = "") -> None:
        """Deliver the stop signal, or the one that is named; "KILL" is never ignored."""
        image = container.image
        if signal == "KILL":
            self._exit(container, self.clock.now(), KILLED)
            return
        if image.stops_in_seconds is not None:
            at = self.clock.now() + image.stops_in_seconds
            container.due.append((at, lambda at: self._exit(container, at, image.stop_code)))

    def delete(self, name: str) -> None:
        """Remove a container, running or not."""
        self.kill(name)
        del self.containers[name]
        self.touch(name)

    def adopt(self, found: ForeignContainer, name: str) -> None:
        """Turn a foreign container into one of the name of a task; it runs on if it ran."""
        self.foreign.remove(found)
        plan = ContainerPlan(name=name, task_id=task_id_of(name) or "", image=found.image, spec=ContainerSpec(image=""))
        image = self.image(found.image) or FakeImage(ref=found.image, id=found.image_id)
        container = self.create(plan, image)
        container.id = found.id
        container.change(id=found.id)
        if found.running:
            self.begin(container)

    def touch(self, name: str) -> None:
        """Say that a container changed, and wake everybody who waits."""
        self.changes.append(name)
        self._changed.set()
        self._changed = asyncio.Event()

    def advance(self) -> None:
        """Make everything happen that was due by now, in the order it was due."""
        now = self.clock.now()
        while due := [(at, c, act) for c in self.containers.values() for at, act in c.due if at <= now]:
            at, container, act = min(due, key=lambda entry: entry[0])
            container.due.remove((at, act))
            act(at)

    async def until(self, true: Callable[[], bool], within_seconds: float | None = None) -> bool:
        """Wait until *true* or until the time is over, and return which."""
        deadline = None if within_seconds is None else self.clock.now() + within_seconds
        while True:
            self.advance()
            now = self.clock.now()
            if true():
                return True
            if deadline is not None and now >= deadline:
                return False
            times = [at for container in self.containers.values() for at, _ in container.due]
            times += [] if deadline is None else [deadline]
            await self._change_or(min(times) - now if times else None)

    async def _change_or(self, seconds: float | None) -> None:
        changed = self._changed
        if seconds is None:
            await changed.wait()
            return
        async with asyncio.TaskGroup() as group:
            waits = {group.create_task(self.clock.sleep(seconds)), group.create_task(_wait(changed))}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for waiting in waits:
                waiting.cancel()

    def _exit(self, container: FakeContainer, at: float, code: int, *, oom: bool = False) -> None:
        if not container.running:
            return
        ended = ExitStatus(code=code, oom=oom, started_at=container.state.started_at, finished_at=at)
        container.due.clear()
        container.change(phase="exited", pid=0, addresses={}, exit=ended)
        self.touch(container.plan.name)

    def _set_health(self, container: FakeContainer, health: str) -> None:
        if container.running and container.state.health != health:
            container.change(health=health)
            self.touch(container.plan.name)

    def _write(self, container: FakeContainer, at: float, text: str, stream: Stream) -> None:
        container.logs.append(LogLine(task_id=container.state.task_id, at=at, stream=stream, text=text))
        self.touch(container.plan.name)

    def _address(self, container: FakeContainer, network: str) -> str:
        subnet = sorted(self.networks).index(network) if network in self.networks else 254
        number = int(container.id, 16)
        return f"10.{subnet}.{number // 250 % 250}.{number % 250 + 2}"


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
