"""What is filled in once all files are merged."""

from collections.abc import Callable

from pilothouse.compose.merge import walk
from pilothouse.compose.problems import Path
from pilothouse.compose.shapes import Shape, Tree


def fill(value: Tree, shape: Shape) -> Tree:
    """Return value with what the specification says about keys that were left out."""

    def visit(item: Tree, shape: Shape, path: Path) -> Tree:
        del path
        return _RULES[shape.default](item) if shape.default and isinstance(item, dict) else item

    return walk(value, shape, (), visit)


def _build(value: dict[str, Tree]) -> Tree:
    return {"context": ".", **value}


def _secret(value: dict[str, Tree]) -> Tree:
    return {"target": f"/run/secrets/{value.get('source')}", **value}


def _port(value: dict[str, Tree]) -> Tree:
    return {"protocol": "tcp", "mode": "ingress", **value}


def _device_request(value: dict[str, Tree]) -> Tree:
    return value if "count" in value or "device_ids" in value else {**value, "count": "all"}


_RULES: dict[str, Callable[[dict[str, Tree]], Tree]] = {
    "build": _build,
    "device_request": _device_request,
    "port": _port,
    "secret": _secret,
}
