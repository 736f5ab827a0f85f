"""A merged model to its normal form: implied networks, dependencies and names written out. Pure."""

from collections.abc import Mapping

from pilothouse.compose.files import clean
from pilothouse.compose.shapes import Tree

_NAMESPACES = ("network_mode", "ipc", "pid", "uts", "cgroup")
_SERVICE, _CONTAINER = "service:", "container:"


def normalise(model: Tree, name: str, environment: Mapping[str, str]) -> dict[str, Tree]:
    """Return model with everything it implies written out, under the project's name."""
    services = {key: _service(service, environment) for key, service in (model.get("services") or {}).items()}
    normal = {**model, "name": name, "services": services}
    networks = dict(model.get("networks") or {})
    if any("default" in (service.get("networks") or {}) for service in services.values()):
        networks.setdefault("default", None)
    if networks:
        normal["networks"] = networks
    for section in ("networks", "volumes", "configs", "secrets"):
        if section in normal:
            normal[section] = {key: _with_name(item, key, name) for key, item in (normal[section] or {}).items()}
    return normal


def _service(service: Tree, environment: Mapping[str, str]) -> dict[str, Tree]:
    normal = dict(service)
    if "provider" not in normal and "network_mode" not in normal and not normal.get("networks"):
        normal["networks"] = {"default": None}
    if normal.get("pull_policy") == "if_not_present":
        normal["pull_policy"] = "missing"
    if normal.get("build") is not None:
        normal["build"] = _build(normal["build"], environment)
    if "environment" in normal:
        normal["environment"] = _resolved(normal["environment"], environment, keep=True)
    if "volumes" in normal:
        normal["volumes"] = [_clean_target(volume) for volume in normal["volumes"] or []]
    depends_on = {**_implied(normal), **(normal.get("depends_on") or {})}
    if depends_on:
        normal["depends_on"] = depends_on
    return normal


def _build(build: Tree, environment: Mapping[str, str]) -> dict[str, Tree]:
    normal = {**build}
    if normal.get("context") is None:
        normal["context"] = "."
    if normal.get("dockerfile") is None and normal.get("dockerfile_inline") is None:
        normal["dockerfile"] = "Dockerfile"
    if "args" in normal:
        normal["args"] = _resolved(normal["args"], environment, keep=False)
    return normal


def _resolved(value: Tree, environment: Mapping[str, str], *, keep: bool) -> Tree:
    """Return variables with those without a value taken from environment; keep says what becomes of the others."""
    if isinstance(value, list):
        listed = [item if "=" in item or item not in environment else f"{item}={environment[item]}" for item in value]
        return [item for item in listed if keep or "=" in item]
    resolved = {}
    for name, item in (value or {}).items():
        found = environment.get(name) if item is None else item
        if found is not None or keep:
            resolved[name] = found
    return resolved


def _clean_target(volume: Tree) -> Tree:
    return {**volume, "target": clean(volume["target"])} if isinstance(volume.get("target"), str) else volume


def _implied(service: dict[str, Tree]) -> dict[str, Tree]:
    found: dict[str, Tree] = {}
    for link in service.get("links") or []:
        parts = link.split(":")
        found.setdefault(parts[0] if len(parts) == 2 else link, _dependency(restart=True))
    for namespace in _NAMESPACES:
        shared = service.get(namespace)
        if isinstance(shared, str) and shared.startswith(_SERVICE):
            found.setdefault(shared.removeprefix(_SERVICE), _dependency(restart=True))
    for source in service.get("volumes_from") or []:
        if not source.startswith(_CONTAINER):
            found.setdefault(source.split(":")[0], _dependency(restart=False))
    return found


def _dependency(*, restart: bool) -> dict[str, Tree]:
    return {"condition": "service_started", "restart": restart, "required": True}


def _with_name(resource: Tree, key: str, project: str) -> dict[str, Tree]:
    named = dict(resource or {})
    if named.get("name") is None:
        external = named.get("external")
        named["name"] = key if external is True or external == "true" else f"{project}_{key}"
    return named
