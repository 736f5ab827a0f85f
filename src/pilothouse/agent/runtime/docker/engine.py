"""The driver as one object: every power of `interface.Engine`, for Docker Engine 20.10 and newer and for Podman."""

import asyncio
import json
import pathlib
from contextlib import suppress

from pilothouse.agent.runtime.docker.answers import InfoAnswer, ListedAnswer
from pilothouse.agent.runtime.docker.client import Client
from pilothouse.agent.runtime.docker.containers import Containers
from pilothouse.agent.runtime.docker.dialect import Dialect
from pilothouse.agent.runtime.docker.images import Images
from pilothouse.agent.runtime.docker.inside import Exec, Logs
from pilothouse.agent.runtime.docker.places import Networks, Volumes
from pilothouse.agent.runtime.docker.signals import Signals
from pilothouse.agent.runtime.docker.stock import Stock
from pilothouse.agent.runtime.docker.usage import Usage, groups_of, read_usage
from pilothouse.clock import Clock
from pilothouse.errors import PermanentError
from pilothouse.ids import Ids
from pilothouse.model.node import NodeDescription
from pilothouse.model.spec import Resources
from pilothouse.model.wire import TaskUsage

_SYSTEMD = pathlib.Path("/run/systemd/system")


class DockerEngine(Containers, Images, Stock, Networks, Volumes, Signals, Logs, Exec):
    """A container engine at a Unix socket; keeps `interface.Engine`. Opens nothing before its first call."""

    def __init__(self, socket: str, clock: Clock, ids: Ids) -> None:
        super().__init__(Client(socket.removeprefix("unix://")), clock, ids)

    async def describe(self) -> NodeDescription:
        self._client.forget()
        dialect = await self._client.dialect()
        info = await self._client.call("GET", "/info", "ask what the engine is", InfoAnswer)
        pids = await asyncio.to_thread(pathlib.Path("/proc/sys/kernel/pid_max").read_text)
        return NodeDescription(
            hostname=info.name,
            os=info.os_type,
            arch=info.architecture,
            kernel=info.kernel_version,
            engine=f"{dialect.kind} {dialect.version}",
            capacity=Resources(cpu_nano=info.ncpu * 1_000_000_000, memory_bytes=info.mem_total, pids=int(pids)),
            runtimes=tuple(sorted(info.runtimes or {})),
            warnings=warnings_of(info, dialect, systemd=await asyncio.to_thread(_SYSTEMD.exists)),
        )

    async def places(self) -> tuple[str, ...]:
        info = await self._client.call("GET", "/info", "ask where the engine keeps its data", InfoAnswer)
        return tuple(place for place in (self._client.socket, info.docker_root_dir) if place.startswith("/"))

    async def probe(self) -> None:
        """Ask for the processes of a container: the daemon does not know them, it has to ask what holds them."""
        one = {"limit": "1", "filters": json.dumps({"status": ["running"]})}
        what = "list the containers"
        for running in await self._client.call("GET", "/containers/json", what, list[ListedAnswer], params=one):
            # A refusal means that the container has just ended.
            with suppress(PermanentError):
                await self._client.call(
                    "GET", f"/containers/{running.id}/top", "ask what runs in a container", type(None)
                )

    async def stats(self) -> tuple[TaskUsage, ...]:
        states = [state for state in await self.status() if state.phase == "running" and state.pid]
        readings = await asyncio.to_thread(self._read, {state.id: state.pid for state in states})
        now = self._clock.now()
        return tuple(
            TaskUsage(
                task_id=state.task_id,
                at=now,
                cpu_nano_total=reading.cpu_nano_total,
                memory_bytes=reading.memory_bytes,
                memory_limit_bytes=reading.memory_limit_bytes,
                pids=reading.pids,
            )
            for state in states
            if (reading := readings.get(state.id)) is not None
        )

    async def close(self) -> None:
        await self._client.close()

    def _read(self, pids: dict[str, int]) -> dict[str, Usage]:
        readings = {}
        for container, pid in pids.items():
            try:
                groups = groups_of(pathlib.Path(f"/proc/{pid}/cgroup").read_text())
                readings[container] = read_usage(groups)
            except OSError:  # it ended since the engine listed it
                continue
        return readings


def warnings_of(info: InfoAnswer, dialect: Dialect, *, systemd: bool) -> tuple[str, ...]:
    """Return the sentences `pilothouse doctor` shows about an engine."""
    options = " ".join(info.security_options or [])
    found = []
    if dialect.too_old:
        found.append("the engine is older than Docker 20.10: upgrade it, what works is luck")
    if not dialect.podman and not info.live_restore_enabled:
        found.append(
            'live-restore is off, so a restart of the engine kills every container: set "live-restore": true in '
            "/etc/docker/daemon.json and reload the engine"
        )
    if "seccomp" not in options:
        found.append("the engine runs containers without a seccomp filter: any system call is open to them")
    if "apparmor" not in options and "selinux" not in options:
        found.append("neither AppArmor nor SELinux confines containers on this node")
    if dialect.podman and not systemd:
        found.append("Podman runs health checks by systemd, which is not here: use x-pilothouse probes instead")
    return (*found, *(info.warnings or ()))
