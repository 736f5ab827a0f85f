"""Joining the same project from several files: what a later file says on top of what an earlier one said.

Pure. Rules are named by the key tables; without a rule mappings are merged deeply, lists appended, anything else
replaced. `apart` removes list items that a later item replaces.
"""

from collections.abc import Callable

from pilothouse.compose import casts, mounts, shorts
from pilothouse.compose.problems import Path
from pilothouse.compose.shapes import Listing, Named, Shape, Struct, Tree, child

Reject = Callable[[Path, str], None]


def merge(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path = ()) -> Tree:
    """Return earlier with later on top. What cannot be joined is told to reject, and later wins."""
    rule = _RULES.get(shape.merge) if shape else None
    if rule:
        return rule(earlier, later, shape, reject, path)
    if later is None:
        return earlier
    if isinstance(earlier, dict) and isinstance(later, dict):
        return mappings(earlier, later, shape, reject, path)
    if isinstance(earlier, list) and isinstance(later, list):
        return [*earlier, *later]
    if isinstance(earlier, (dict, list)):
        return _mismatch(later, reject, path, "a mapping" if isinstance(earlier, dict) else "a list")
    return later


def mappings(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> dict[str, Tree]:
    """Return two mappings merged deeply."""
    joined = dict(earlier)
    for key, value in later.items():
        joined[key] = merge(joined[key], value, child(shape, key), reject, (*path, key)) if key in joined else value
    return joined


def apart(value: Tree, shape: Shape | None, reject: Reject, path: Path = ()) -> Tree:
    """Return value without list items that a later item of the same identity replaces.

    An item without identity, such as a mount without a target, is told to reject and kept.
    """
    if isinstance(value, dict):
        return {key: apart(item, child(shape, key), reject, (*path, key)) for key, item in value.items()}
    if isinstance(value, list) and shape and shape.unique:
        kept: dict[str, Tree] = {}
        for index, item in enumerate(value):
            try:
                kept[_IDENTITIES[shape.unique](item)] = item
            except ValueError as error:
                reject((*path, index), str(error))
        return list(kept.values())
    return value


def _mismatch(later: Tree, reject: Reject, path: Path, kind: str) -> Tree:
    reject(path, f"an earlier file has {kind} here; write {kind}, or `!override` to replace it")
    return later


def _replace(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> Tree:
    del earlier, shape, reject, path
    return later


def _sequence(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> Tree:
    del shape, reject, path
    return [*as_list(earlier), *as_list(later)]


def as_list(value: Tree) -> list[Tree]:
    """Return a mapping as a sorted list of KEY=VALUE, a string as a list of one."""
    if isinstance(value, dict):
        listed: list[str] = []
        for key, item in value.items():
            if item is None:
                listed.append(key)
            else:
                listed.extend(f"{key}={casts.as_text(part)}" for part in (item if isinstance(item, list) else [item]))
        return sorted(listed)
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, str) else []


def _hosts(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> Tree:
    del shape, reject, path
    first = as_list(earlier)
    return [*first, *(item for item in as_list(later) if item not in first)]


def _build(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> Tree:
    return mappings(shorts.build(earlier) or {}, shorts.build(later) or {}, shape, reject, path)


def _names(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> Tree:
    return mappings(shorts.names(earlier) or {}, shorts.names(later) or {}, shape, reject, path)


def _dependencies(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> Tree:
    def long(value: Tree) -> Tree:
        return {name: dict(shorts.STARTED) for name in value} if isinstance(value, list) else value or {}

    return mappings(long(earlier), long(later), shape, reject, path)


def _logging(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> Tree:
    if not isinstance(earlier, dict) or not isinstance(later, dict):
        return later or earlier
    same = "driver" not in earlier or "driver" not in later or earlier["driver"] == later["driver"]
    return mappings(earlier, later, shape, reject, path) if same else later


def _pools(earlier: Tree, later: Tree, shape: Shape | None, reject: Reject, path: Path) -> Tree:
    """Join address pools by subnet, exactly as the reference does it.

    Pools of the earlier file that no later pool repeats are dropped, and with several pools on both sides one pool can
    take over the subnet of another: the joined pool is one object that later rounds go on changing.
    """
    if not isinstance(earlier, list) or not isinstance(later, list):
        return _mismatch(later, reject, path, "a list")
    joined: list[dict[str, Tree]] = []
    for pool in ({**original} for original in earlier):
        for override in later:
            subnet = override.get("subnet")
            if subnet != pool.get("subnet") and all(other.get("subnet") != subnet for other in joined):
                joined.append({**override})
                continue
            pool.update(mappings(pool, override, child(shape, 0), reject, path))
            places = [index for index, other in enumerate(joined) if other.get("subnet") == pool.get("subnet")]
            if places:
                joined[places[0]] = pool
            else:
                joined.append(pool)
    return joined


_RULES: dict[str, Callable[[Tree, Tree, Shape | None, Reject, Path], Tree]] = {
    "build": _build,
    "dependencies": _dependencies,
    "hosts": _hosts,
    "logging": _logging,
    "names": _names,
    "pools": _pools,
    "replace": _replace,
    "sequence": _sequence,
}


def _key(item: Tree) -> str:
    if not isinstance(item, str):
        raise ValueError(f"{casts.as_text(item)} is not a string; write it in quotes")
    return item.partition("=")[0]


def _target(item: Tree) -> str:
    if isinstance(item, str):
        return str(mounts.parse(item)["target"])
    if not isinstance(item.get("target"), str):
        raise ValueError("a mount has no target; write `target: /path/in/the/container`")
    return str(item["target"])


def _device(item: Tree) -> str:
    if isinstance(item, str):
        parts = item.split(":")
        return parts[1] if len(parts) > 1 else parts[0]
    if not isinstance(item.get("target"), str):
        raise ValueError("a device has no target; write `target: /dev/…`")
    return str(item["target"])


def _file(prefix: str) -> Callable[[Tree], str]:
    def identify(item: Tree) -> str:
        if isinstance(item, dict):
            return str(item["target"]) if "target" in item else f"{prefix}/{item.get('source')}"
        return f"{prefix}/{item}"

    return identify


def _port(item: Tree) -> str:
    if not isinstance(item, dict):
        return casts.as_text(item)
    if "target" not in item:
        raise ValueError("a port has no target; write `target: PORT`")
    published = item.get("published")
    return f"{item.get('host_ip', '0.0.0.0')}:{published}:{item['target']}/{item.get('protocol', 'tcp')}"  # noqa: S104


def _env_file(item: Tree) -> str:
    if isinstance(item, str):
        return item
    if not isinstance(item.get("path"), str):
        raise ValueError("an env_file has no path; write `path: FILE`")
    return str(item["path"])


_IDENTITIES: dict[str, Callable[[Tree], str]] = {
    "config": _file(""),
    "device": _device,
    "env_file": _env_file,
    "expose": casts.as_text,
    "key": _key,
    "mount": _target,
    "port": _port,
    "secret": _file("/run/secrets"),
}


def walk(value: Tree, shape: Shape | None, path: Path, visit: Callable[[Tree, Shape, Path], Tree]) -> Tree:
    """Return value with visit applied to everything that has a shape, outermost first."""
    if shape is None:
        return value
    value = visit(value, shape, path)
    if isinstance(value, dict) and isinstance(shape, (Struct, Named)):
        return {key: walk(item, child(shape, key), (*path, key), visit) for key, item in value.items()}
    if isinstance(value, list) and isinstance(shape, Listing):
        return [walk(item, shape.item, (*path, index), visit) for index, item in enumerate(value)]
    return value
