"""What the agent needs of a container engine: eight verbs; everything else is an optional power.

Drivers raise `TemporaryError` (try again) and `PermanentError` (never will), and `RuntimeUnavailableError` when the
engine does not answer at all; nobody parses messages. Every verb is idempotent, because the agent may die after the
engine did what it was asked and before anybody wrote that down. `agent.runtime.conformance` tests the contract.
"""

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

import msgspec

from pilothouse.model.container import ContainerSpec
from pilothouse.model.node import NodeDescription
from pilothouse.model.objects import PortBinding
from pilothouse.model.spec import NetworkSpec
from pilothouse.model.wire import ForeignContainer, ImageProgress, LogLine, LogQuery, TaskUsage


class EndpointPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The container's place on one engine network; *network* is the engine's name of it."""

    network: str
    key: str
    aliases: tuple[str, ...] = ()
    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: tuple[str, ...] = ()
    mac_address: str = ""
    driver_opts: dict[str, str] = {}
    gateway_priority: int = 0
    interface_name: str = ""


class ContainerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One container to make, with every name resolved: nothing is left for the driver to look up.

    Attributes:
        name: Unique on the engine; the container's identity.
        image: An image id or digest that is present on the node.
        spec: The hardened spec (`model.hardening`). The driver takes from it everything that is not resolved below:
            of its mounts only the kinds, of its networks, secrets, configs and ports nothing.
        mounts: Volume mounts carry engine volume names; secrets and configs are read-only binds of agent files.
        endpoints: In the order they should be connected; empty with a *network_mode*.
        network_mode, ipc, pid, uts: Engine values; "service:NAME" has become "container:ID".
        volumes_from: Engine values ("CONTAINER:ro").
        labels: The spec's labels and ours.
    """

    name: str
    task_id: str
    image: str
    spec: ContainerSpec
    mounts: tuple["PlannedMount", ...] = ()
    endpoints: tuple[EndpointPlan, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    network_mode: str = ""
    ipc: str = ""
    pid: str = ""
    uts: str = ""
    volumes_from: tuple[str, ...] = ()
    labels: dict[str, str] = {}


class PlannedMount(msgspec.Struct, frozen=True, kw_only=True):
    """A mount with its source as the engine knows it; *kind* is "volume", "bind", "tmpfs" or "image"."""

    kind: str
    target: str
    source: str = ""
    read_only: bool = False
    nocopy: bool = False
    subpath: str = ""
    propagation: str = ""
    create_host_path: bool = False
    selinux: str = ""
    size_bytes: int | None = None
    mode: int | None = None


class ExitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a container ended; times are wall-clock seconds."""

    code: int
    oom: bool = False
    error: str = ""
    started_at: float | None = None
    finished_at: float | None = None


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """One of our containers as the engine sees it.

    Attributes:
        phase: "created", "running", "paused", "exited" or "dead".
        health: "none", "starting", "healthy" or "unhealthy": the engine's own check.
        pid: Of its first process on the host; 0 unless running.
        addresses: By the engine's network name.
        exit: Set once it exited.
        user: What its processes run as, the image's own where the plan said nothing; "" is root.
        installation: The id of the installation that made it, by its label; "" for one that was adopted.
    """

    name: str
    task_id: str
    id: str
    image_id: str
    phase: str
    health: str = "none"
    pid: int = 0
    started_at: float | None = None
    addresses: dict[str, str] = {}
    exit: ExitStatus | None = None
    user: str = ""
    installation: str = ""


class Runtime(Protocol):
    """A container engine on this node."""

    async def describe(self) -> NodeDescription:
        """Return what the node and its engine are; *hostname* and *capacity* included."""
        ...

    async def prepare(self, plan: ContainerPlan) -> str:
        """Create the container without starting it and return its id; if one of that name exists, return its id.

        Raises:
            PermanentError: The engine refuses the plan, or the image is not there.
        """
        ...

    async def start(self, name: str) -> None:
        """Start a created container; one that runs already, or already ended, is left alone.

        Raises:
            PermanentError: It cannot be started as it is (no such command, port taken …).
        """
        ...

    async def wait(self, name: str) -> ExitStatus:
        """Return how the container ended, once it has; at once if it did before.

        Raises:
            PermanentError: There is no such container.
        """
        ...

    async def stop(self, name: str, grace_seconds: float, signal: str = "") -> None:
        """Ask the container to stop, kill it after *grace_seconds*, return when it has; a missing one is no error."""
        ...

    async def remove(self, name: str) -> None:
        """Remove the container and its anonymous volumes, killing it if it runs; a missing one is no error."""
        ...

    async def status(self) -> tuple[ContainerState, ...]:
        """Return every container on the engine whose name is one of ours, in any phase."""
        ...

    async def close(self) -> None:
        """Let go of the engine; containers are not touched."""
        ...


class Inspects(Protocol):
    """A runtime that can say one container's state cheaper than all of them."""

    async def inspect(self, name: str) -> ContainerState | None:
        """Return the container's state, or None if there is none of that name."""
        ...


class Signals(Protocol):
    """A runtime that says when something changed."""

    def events(self) -> AsyncIterator[str]:
        """Yield the name of one of our containers after its phase or health changed, for ever.

        Only a hint to look again: names may repeat, and "" means "look at everything" (sent at the beginning and after
        the stream was interrupted). Reconnects by itself.
        """
        ...


class Images(Protocol):
    """A runtime that can look for and pull images."""

    async def find_image(self, ref: str) -> tuple[str, str] | None:
        """Return (id, digest) of an image that is present, digest "" if it has none, or None."""
        ...

    def ensure_image(self, ref: str, policy: str, platform: str = "") -> AsyncIterator[ImageProgress]:
        """Make *ref* present as Compose's `pull_policy` says, and yield progress.

        The last item is "resolved" or "failed". A pull that fails for a temporary reason is repeated with back-off,
        at most 5 times; a policy of "never" never pulls; "" is "missing".
        """
        ...


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image on the node.

    Attributes:
        names: Its tags, then its digests ("NAME@sha256:…"); none if it lost them.
        size_bytes: With the layers that it shares with others.
        created_at: When it was built, wall-clock seconds; 0.0 if nobody says.
    """

    id: str
    names: tuple[str, ...] = ()
    size_bytes: int = 0
    created_at: float = 0.0


class Stocks(Protocol):
    """A runtime that can say which images it keeps, and let one go."""

    async def list_images(self) -> tuple[StoredImage, ...]:
        """Return every image on the node; layers that only other images are built on are left out."""
        ...

    async def images_in_use(self) -> frozenset[str]:
        """Return the ids of the images that containers are made from: anybody's, in any phase."""
        ...

    async def remove_image(self, image: StoredImage) -> bool:
        """Remove an image with all its names, never by force; return False if something still needs it."""
        ...


class Networks(Protocol):
    """A runtime with networks of its own."""

    async def ensure_network(self, name: str, options: "NetworkPlan") -> None:
        """Make a network of that name exist; one that exists with our label or as external is left alone."""
        ...

    async def remove_network(self, name: str, installation: str = "") -> bool:
        """Remove a network that *installation* made if nothing uses it; return False if it has to wait.

        One of that name that carries no label of ours, or another installation's, is left: nothing is to be done.
        """
        ...

    async def list_networks(self, installation: str = "") -> tuple[str, ...]:
        """Return the names of the networks that *installation* made."""
        ...


class NetworkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A network to make: the spec, and the app and the installation it is of."""

    app: str
    installation: str = ""
    spec: NetworkSpec


class Volumes(Protocol):
    """A runtime with named volumes."""

    async def ensure_volume(
        self, name: str, app: str, driver: str, options: dict[str, str], installation: str = ""
    ) -> None:
        """Make a volume of that name exist; an existing one is left as it is."""
        ...

    async def remove_volume(self, name: str, installation: str = "") -> bool:
        """Remove a volume that *installation* made if nothing uses it; return False if it has to wait.

        One of that name that carries no label of ours, or another installation's, is left: nothing is to be done.
        """
        ...

    async def has_volume(self, name: str) -> bool:
        """Return whether there is a volume of that name, whoever made it."""
        ...

    async def list_volumes(self) -> tuple[str, ...]:
        """Return the names of the volumes that carry our label."""
        ...


class Logs(Protocol):
    """A runtime that keeps what containers write."""

    def logs(self, name: str, query: LogQuery) -> AsyncIterator[LogLine]:
        """Yield the lines *query* asks for, oldest first; a missing container yields none."""
        ...


class Exec(Protocol):
    """A runtime that can run a command inside a container."""

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
        """Run *command* and return its exit code and the first 4,096 characters it wrote.

        Raises:
            TemporaryError: It did not end in *timeout_seconds*.
            PermanentError: The container does not run, or has no such command.
        """
        ...


class Stats(Protocol):
    """A runtime that can say what containers use."""

    async def stats(self) -> tuple[TaskUsage, ...]:
        """Return one reading for each of our running containers."""
        ...


class Adopts(Protocol):
    """A runtime that can show containers made by others and take them over."""

    async def list_foreign(self) -> tuple[ForeignContainer, ...]:
        """Return every container that is not one of ours."""
        ...

    async def rename(self, container_id: str, name: str) -> None:
        """Give a container the name of a task, so that it becomes one of ours without a restart."""
        ...


@runtime_checkable
class Housed(Protocol):
    """A runtime that can say which places of the host are its own."""

    async def places(self) -> tuple[str, ...]:
        """Return the host paths of its socket and its data; no container may have them."""
        ...


@runtime_checkable
class Probed(Protocol):
    """A runtime that can show that all of it works, down to what holds the containers."""

    async def probe(self) -> None:
        """Have the engine do something that changes nothing and goes through every part of it.

        Raises:
            PilothouseError: A part of it does not work, or does not answer.
        """
        ...


class Engine(Runtime, Inspects, Signals, Images, Stocks, Networks, Volumes, Logs, Exec, Stats, Adopts, Protocol):
    """A runtime with every optional power; what the agent of this release is built on."""
