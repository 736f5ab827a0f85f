"""Short forms to long ones: ports, mounts, devices, dependencies and the other keys that can be written in two ways.

Each rule is a pure function from a value as written to its long form. A value that is already long stays as it is.
"""

from collections.abc import Callable

from pilothouse.compose import casts, mounts, ports
from pilothouse.compose.shapes import Tree

STARTED: dict[str, Tree] = {"condition": "service_started", "required": True}
_PROPAGATIONS = frozenset({"rprivate", "private", "rshared", "shared", "rslave", "slave"})


def build(value: Tree) -> Tree:
    """Return a build context as a build."""
    return {"context": value} if isinstance(value, str) else value


def extends(value: Tree) -> Tree:
    """Return a service name as what to extend."""
    return {"service": value} if isinstance(value, str) else value


def include(value: Tree) -> Tree:
    """Return a path as an include."""
    return {"path": value} if isinstance(value, str) else value


def mount(value: Tree) -> Tree:
    """Return the name of a secret or config as a mount of it."""
    return {"source": value} if isinstance(value, str) else value


def lone(value: Tree) -> Tree:
    """Return one string as a list of one."""
    return [value] if isinstance(value, str) else value


def addresses(value: Tree) -> Tree:
    """Return addresses as a list without empty ones."""
    return [item for item in (value if isinstance(value, list) else [value]) if item not in {None, ""}]


def printed(value: Tree) -> Tree:
    """Return a boolean or number as text."""
    return value if isinstance(value, str) else casts.as_text(value)


def names(value: Tree) -> Tree:
    """Return a list of names as a mapping to nothing."""
    return dict.fromkeys(value) if isinstance(value, list) else value


def dependencies(value: Tree) -> Tree:
    """Return dependencies with their conditions."""
    if isinstance(value, list):
        return {name: dict(STARTED) for name in value}
    return {name: {**STARTED, **item} for name, item in value.items()}


def env_file(value: Tree) -> Tree:
    """Return environment files as a list of structures."""
    items = [value] if isinstance(value, str) else value
    return [{"path": item, "required": True} if isinstance(item, str) else {"required": True, **item} for item in items]


def gpus(value: Tree) -> Tree:
    """Return `all` as one request."""
    if isinstance(value, str) and value != "all":
        raise ValueError(f"{value!r} is not a list of devices; write all, or a list")
    return [{"count": "all"}] if isinstance(value, str) else value


def pairs(value: Tree) -> Tree:
    """Return `NAME=VALUE` lines as a mapping."""
    if not isinstance(value, list):
        return value
    split = [item.partition("=") for item in value]
    for item, (_, equals, _rest) in zip(value, split, strict=True):
        if not equals:
            raise ValueError(f"{item!r} has no value; write NAME=VALUE")
    return {name: text for name, _, text in split}


def ssh(value: Tree) -> Tree:
    """Return SSH keys as a mapping."""
    if not isinstance(value, list):
        return value
    keys: dict[str, Tree] = {}
    for item in value:
        name, equals, path = item.partition("=")
        if not equals and name != "default":
            raise ValueError(f"{item!r} is not an SSH key; write `default` or ID=PATH")
        keys[name] = path if equals else None
    return keys


def ulimit(value: Tree) -> Tree:
    """Return a limit; text is not one."""
    if isinstance(value, str):
        raise ValueError(f"{value!r} is not a number; write it without quotes")
    return value


def device(value: Tree) -> Tree:
    """Return `SOURCE:TARGET:PERMISSIONS` as a structure."""
    if not isinstance(value, str):
        return value
    parts = value.split(":")
    if len(parts) > 3:
        raise ValueError(f"{value!r} has too many colons; write the long form with source, target and permissions")
    target = parts[1] if len(parts) > 1 and parts[1] else parts[0]
    return {"source": parts[0], "target": target, "permissions": parts[2] if len(parts) > 2 else "rwm"}


def external(value: Tree) -> Tree:
    """Give a network, volume, secret or config its name in place; the old `external.name` is folded into it."""
    if not isinstance(value, dict) or not isinstance(value.get("external"), dict):
        return value
    old = value["external"]
    changed = {**value, "external": True}
    if "name" in old:
        if "name" in value and value["name"] != old["name"]:
            raise ValueError("name and external.name differ; keep only name")
        changed["name"] = old["name"]
    return changed


def port_list(value: Tree) -> Tree:
    """Return ports with every short form spelt out."""
    long: list[Tree] = []
    for item in value:
        if isinstance(item, float):
            raise ValueError(f"{casts.as_text(item)} is not a port; write a whole number")
        long.extend([item] if isinstance(item, dict) else ports.parse(casts.as_text(item)))
    return long


RULES: dict[str, Callable[[Tree], Tree]] = {
    "addresses": addresses,
    "build": build,
    "dependencies": dependencies,
    "device": device,
    "env_file": env_file,
    "extends": extends,
    "external": external,
    "gpus": gpus,
    "include": include,
    "list": lone,
    "mount": mount,
    "names": names,
    "pairs": pairs,
    "ports": port_list,
    "ssh": ssh,
    "text": printed,
    "ulimit": ulimit,
    "volume": mounts.long_form,
}
