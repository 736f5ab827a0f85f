"""Do the parts of a loaded project fit together: references, duplicates, settings that must agree, circles."""

from collections.abc import Iterator, Mapping

from pilothouse.compose.problems import Marks, Path, Problems, nearest
from pilothouse.compose.shapes import Tree

_Finding = tuple[Path, str]
_SERVICE = "service:"
_AGREEING = (
    ("cpus", "limits", "cpus"),
    ("mem_limit", "limits", "memory"),
    ("mem_reservation", "reservations", "memory"),
    ("pids_limit", "limits", "pids"),
)


def check(project: Mapping[str, Tree], disabled: frozenset[str], marks: Marks, file: str, problems: Problems) -> None:
    """Report every part of project that does not fit another one.

    Args:
        disabled: Services that are defined, but whose profile is not active.
    """
    services = project["services"]
    for name, service in services.items():
        for path, message in _service(project, name, service, disabled):
            problems.add(nearest(marks, path, file), path, message)
    for name, secret in project.get("secrets", {}).items():
        if not secret.get("external") and not secret.get("file") and not secret.get("environment"):
            at: Path = ("secrets", name)
            problems.add(nearest(marks, at, file), at, "a secret needs `file` or `environment`; write one of them")
    for path, message in (*_circles(services), *_same_container_names(services)):
        problems.add(nearest(marks, path, file), path, message)


def _service(
    project: Mapping[str, Tree], name: str, service: dict[str, Tree], disabled: frozenset[str]
) -> Iterator[_Finding]:
    at: Path = ("services", name)
    if "build" not in service and not service.get("image") and "provider" not in service:
        yield at, "the service has neither `image` nor `build`; write one of them"
    if "build" in service:
        yield from _build(project, service, at)
    if service.get("network_mode") and service.get("networks"):
        yield (*at, "network_mode"), "`network_mode` and `networks` exclude each other; remove one of them"
    test = service.get("healthcheck", {}).get("test")
    if test and test[0] not in {"CMD", "CMD-SHELL", "NONE"}:
        message = f"{test[0]!r} cannot come first; write [CMD, …], [CMD-SHELL, …] or [NONE]"
        yield (*at, "healthcheck", "test"), message
    yield from _references(project, service, at)
    yield from _dependencies(project["services"], service, disabled, at)
    yield from _amounts(service, at)
    for index, watch in enumerate(service.get("develop", {}).get("watch") or []):
        if not watch.get("target") and watch.get("action") not in {"rebuild", "restart"}:
            yield (*at, "develop", "watch", index), f"the action {watch.get('action')} needs a `target`; write one"
    yield from _mounts(service, at)


def _build(project: Mapping[str, Tree], service: dict[str, Tree], at: Path) -> Iterator[_Finding]:
    build = service["build"]
    if build.get("dockerfile") and build.get("dockerfile_inline"):
        yield (*at, "build"), "dockerfile and dockerfile_inline exclude each other; remove one of them"
    for name, context in (build.get("additional_contexts") or {}).items():
        if context.startswith(_SERVICE):
            target = project["services"].get(context.removeprefix(_SERVICE))
            if target is None or "build" not in target:
                message = (
                    f"{context.removeprefix(_SERVICE)!r} is no service that is built here; write one that has `build`"
                )
                yield (*at, "build", "additional_contexts", name), message
    platforms, platform = build.get("platforms"), service.get("platform")
    if platforms and platform and platform not in platforms:
        yield (*at, "build", "platforms"), f"the service's platform {platform!r} is not in the list; add it"
    for index, secret in enumerate(build.get("secrets") or []):
        if secret.get("source") not in project.get("secrets", {}):
            yield (*at, "build", "secrets", index), _undefined("secret", secret.get("source"), "secrets")


def _references(project: Mapping[str, Tree], service: dict[str, Tree], at: Path) -> Iterator[_Finding]:
    for section in ("networks", "models"):
        for name in service.get(section) or {}:
            if name not in project.get(section, {}):
                yield (*at, section, name), _undefined(section[:-1], name, section)
    for index, volume in enumerate(service.get("volumes") or []):
        source = volume.get("source")
        if volume.get("type") == "volume" and source and source not in project.get("volumes", {}):
            yield (*at, "volumes", index), _undefined("volume", source, "volumes")
    for section in ("configs", "secrets"):
        for index, item in enumerate(service.get(section) or []):
            if item.get("source") not in project.get(section, {}):
                yield (*at, section, index), _undefined(section[:-1], item.get("source"), section)


def _undefined(what: str, name: str, section: str) -> str:
    return f"the {what} {name!r} is not defined; add it under the top-level `{section}`, or correct the name"


def _dependencies(
    services: Mapping[str, Tree], service: dict[str, Tree], disabled: frozenset[str], at: Path
) -> Iterator[_Finding]:
    for name, dependency in service.get("depends_on", {}).items():
        if name in services or (name in disabled and not dependency["required"]):
            continue
        where = (*at, "depends_on", name)
        if name in disabled:
            yield (
                where,
                f"the service {name!r} is in a profile that is not active; activate it, or write `required: false`",
            )
        else:
            yield where, f"there is no service {name!r}; write the name of a service of this project"
    mode = service.get("network_mode", "")
    if mode.startswith(_SERVICE) and mode.removeprefix(_SERVICE) not in services:
        yield (*at, "network_mode"), f"there is no service {mode.removeprefix(_SERVICE)!r}; write one of this project"


def _amounts(service: dict[str, Tree], at: Path) -> Iterator[_Finding]:
    deploy = service.get("deploy") or {}
    scale, replicas = service.get("scale"), deploy.get("replicas")
    if scale is not None and replicas is not None and scale != replicas:
        yield (*at, "scale"), f"scale is {scale} and deploy.replicas is {replicas}; keep one of them"
    for path, number in (((*at, "scale"), scale), ((*at, "deploy", "replicas"), replicas)):
        if number is not None and number < 0:
            yield path, f"{number} is too small; write 0 or more"
    for key, section, name in _AGREEING:
        limits = (deploy.get("resources") or {}).get(section)
        if key in service and limits is not None and limits.get(name) != service[key]:
            yield (
                (*at, key),
                f"it differs from deploy.resources.{section}.{name}; write the same value, or only one of them",
            )
    wanted = scale if scale is not None else replicas
    if service.get("container_name") and wanted is not None and wanted > 1:
        yield (*at, "container_name"), f"{wanted} containers cannot have one name; remove `container_name`"


def _mounts(service: dict[str, Tree], at: Path) -> Iterator[_Finding]:
    seen: dict[str, str] = {}
    mounts = [("tmpfs", index, entry.split(":")[0]) for index, entry in enumerate(service.get("tmpfs") or [])]
    mounts += [("volumes", index, entry.get("target")) for index, entry in enumerate(service.get("volumes") or [])]
    for key, index, target in mounts:
        if target in seen:
            yield (*at, key, index), f"{target} is already mounted by {seen[target]}; use another target"
        seen[target] = f"{key}.{index}"


def _same_container_names(services: Mapping[str, Tree]) -> Iterator[_Finding]:
    seen: dict[str, str] = {}
    for name, service in services.items():
        container = service.get("container_name")
        if container and container in seen:
            message = f"the service {seen[container]!r} has the same container name {container!r}; change one of them"
            yield ("services", name, "container_name"), message
        elif container:
            seen[container] = name


def _circles(services: Mapping[str, Tree]) -> Iterator[_Finding]:
    """Find the first circle of dependencies, without recursion."""
    state: dict[str, int] = {}
    for start in services:
        if start in state:
            continue
        trail: list[tuple[str, Iterator[str]]] = [(start, iter(services[start].get("depends_on") or {}))]
        state[start] = 1
        while trail:
            name, rest = trail[-1]
            following = next((other for other in rest if other in services), None)
            if following is None:
                state[name] = 2
                trail.pop()
            elif state.get(following) == 1:
                names = [step for step, _ in trail]
                circle = " -> ".join([*names[names.index(following) :], following])
                yield (
                    ("services", name, "depends_on", following),
                    f"services depend on each other in a circle: {circle}",
                )
                return
            elif following not in state:
                state[following] = 1
                trail.append((following, iter(services[following].get("depends_on") or {})))
