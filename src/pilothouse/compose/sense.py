"""Keys that exclude each other, in a merged model whose types are already known to be right."""

from collections.abc import Iterator

from pilothouse.compose import ports
from pilothouse.compose.problems import Marks, Path, Problems, nearest
from pilothouse.compose.shapes import Tree

_Finding = tuple[Path, str]


def check(model: Tree, marks: Marks, file: str, problems: Problems) -> None:
    """Report what in model contradicts itself."""
    for path, message in _findings(model):
        problems.add(nearest(marks, path, file), path, message)


def _findings(model: Tree) -> Iterator[_Finding]:
    for name, volume in (model.get("volumes") or {}).items():
        if isinstance(volume, dict) and volume.get("external") in {True, "true"}:
            yield from _external(volume, ("volumes", name))
    for section, keys in (("configs", ("file", "environment", "content")), ("secrets", ("file", "environment"))):
        for name, resource in (model.get(section) or {}).items():
            yield from _one_source(resource, keys, (section, name))
    for name, service in (model.get("services") or {}).items():
        yield from _service(service, ("services", name))


def _external(volume: dict[str, Tree], path: Path) -> Iterator[_Finding]:
    for key in volume:
        if key not in {"name", "external"} and not key.startswith("x-"):
            yield (*path, key), f"an external volume is not made here, so `{key}` has no effect; remove one of the two"


def _one_source(resource: dict[str, Tree], keys: tuple[str, ...], path: Path) -> Iterator[_Finding]:
    used = [key for key in keys if key in resource]
    if len(used) > 1:
        yield path, f"{' and '.join(used)} exclude each other; keep one of them"
    elif not used and "driver" not in resource and "external" not in resource:
        yield path, f"it says nowhere where the content comes from; write one of {', '.join(keys)}"


def _service(service: dict[str, Tree], path: Path) -> Iterator[_Finding]:
    for index, port in enumerate(service.get("ports") or []):
        if "host_ip" in port and not ports.is_address(port["host_ip"]):
            where = (*path, "ports", index, "host_ip")
            yield where, f"{port['host_ip']!r} is not an IP address; write one like 127.0.0.1"
    for index, mount in enumerate(service.get("volumes") or []):
        if mount.get("type") == "bind" and "source" not in mount:
            yield (*path, "volumes", index), "a bind mount has no source; write `source: PATH`"
    for index, watch in enumerate((service.get("develop") or {}).get("watch") or []):
        if watch.get("path") == "":
            yield (*path, "develop", "watch", index, "path"), "the path is empty; write the path to watch"
    yield from _device_requests(service, path)


def _device_requests(service: dict[str, Tree], path: Path) -> Iterator[_Finding]:
    resources = (service.get("deploy") or {}).get("resources") or {}
    devices = (resources.get("reservations") or {}).get("devices") or []
    for where, requests in ((("gpus",), service.get("gpus") or []), (_DEVICES, devices)):
        for index, request in enumerate(requests):
            if "count" in request and "device_ids" in request:
                yield (*path, *where, index), "count and device_ids exclude each other; keep one of them"


_DEVICES: tuple[str, ...] = ("deploy", "resources", "reservations", "devices")
