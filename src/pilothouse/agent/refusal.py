"""The agent's own last word on a container's host paths, on the final plan, whatever the server allowed; pure.

The server judges paths as they are written. Only the node knows where they lead, and only it knows where its engine and
this platform keep their things. What somebody changes on the node between this look and the container's start is not
seen; who can write to a granted directory is trusted not to put a link in its place at that moment.
"""

from collections.abc import Iterable, Iterator, Mapping

from pilothouse.agent.runtime.interface import ContainerPlan, PlannedMount
from pilothouse.errors import PermanentError
from pilothouse.model.objects import Volume
from pilothouse.model.sealed import SEALED_PATHS, normal, sealed


def host_paths(plan: ContainerPlan, volumes: Iterable[Volume], files: str) -> tuple[tuple[str, str], ...]:
    """Return (key, path) of every place of the host that the container would see.

    Its own secrets and configs, which the agent wrote for this task below *files*, are not among them.

    Args:
        volumes: Of the assignment; one may be a host directory under another name.
        files: Directory of the files in memory.
    """
    return tuple(_host_paths(plan, {volume.spec.name: volume for volume in volumes}, files))


def refuse(paths: Iterable[tuple[str, str]], places: Iterable[str], real: Mapping[str, str]) -> None:
    """Accept host paths that reach nothing sealed, neither as written nor where they lead.

    Args:
        places: What is sealed on this node beside what is sealed everywhere.
        real: Where a path or a place leads, with every symbolic link resolved; what is not in it leads to itself.

    Raises:
        PermanentError: One holds, lies in, or leads to a sealed place; says which key and value.
    """
    written = (*SEALED_PATHS, *places)
    closed = frozenset(normal(path) for place in written for path in (place, real.get(place, place)))
    for key, path in paths:
        leads = real.get(path, path)
        if sealed(path, closed) or sealed(leads, closed):
            where = "" if normal(leads) == normal(path) else f", which leads to {leads},"
            raise PermanentError(
                f"{key} {path}{where} holds, or lies in, an engine's socket or data or this platform's own "
                "directories on this node, and no container may have those: mount another directory"
            )


def _host_paths(plan: ContainerPlan, volumes: Mapping[str, Volume], files: str) -> Iterator[tuple[str, str]]:
    if plan.spec.privileges.use_api_socket:
        raise PermanentError("use_api_socket true gives the engine's socket to a container: leave it out")
    given = {grant.target for grant in (*plan.spec.secrets, *plan.spec.configs)}
    for mount in plan.mounts:
        if mount.source.startswith("/") and not _own_file(mount, given, f"{files.rstrip('/')}/{plan.task_id}/"):
            yield f"volumes: the source of {mount.target},", mount.source
        device = volumes[mount.source].spec.driver_opts.get("device", "") if mount.source in volumes else ""
        if mount.kind == "volume" and device.startswith("/"):
            yield f"volumes: driver_opts.device of {mount.source},", device
    for device_of in plan.spec.privileges.devices:
        yield "devices:", device_of.source


def _own_file(mount: PlannedMount, given: set[str], home: str) -> bool:
    inner = mount.source.removeprefix(home)
    return mount.read_only and mount.target in given and mount.source.startswith(home) and inner.isdecimal()
