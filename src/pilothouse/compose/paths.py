"""Relative paths in a project to absolute ones: build contexts, bind mounts, environment files, secrets, configs."""

import os
import re
from collections.abc import Callable

from pilothouse.compose import files
from pilothouse.compose.merge import walk
from pilothouse.compose.problems import Path
from pilothouse.compose.shapes import Shape, Tree

_REMOTE = ("https://", "http://", "git://", "ssh://", "github.com/", "git@")
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def resolve(value: Tree, shape: Shape, base: str, reader: files.Reader) -> Tree:
    """Return value with its relative paths made absolute, as seen from base."""
    rules = _Rules(base, reader)

    def visit(item: Tree, shape: Shape, path: Path) -> Tree:
        del path
        return rules.apply(shape.path, item) if shape.path and item is not None else item

    return walk(value, shape, (), visit)


def is_remote(path: str) -> bool:
    """Return whether a path names something that is not on this machine."""
    return path.startswith(_REMOTE) or "://" in path


class _Rules:
    """One method for each path rule of the key tables."""

    def __init__(self, base: str, reader: files.Reader) -> None:
        self._base = base
        self._reader = reader

    def apply(self, rule: str, value: Tree) -> Tree:
        """Return value with the paths in it made absolute by the rule of that name."""
        rules: dict[str, Callable[[Tree], Tree]] = {
            "context": self._context,
            "contexts": lambda item: _each(item, self._context),
            "driver_device": self._driver_device,
            "link": lambda item: _followed(self._plain(item)),
            "plain": self._plain,
            "plains": lambda item: [self._plain(one) for one in item] if isinstance(item, list) else item,
            "ssh": lambda item: _each(item, self._unix),
            "unix": self._unix,
            "volume": self._volume,
        }
        return rules[rule](value)

    def _plain(self, value: Tree) -> Tree:
        return self._reader.absolute(value, self._base) if isinstance(value, str) and value else value

    def _unix(self, value: Tree) -> Tree:
        if not isinstance(value, str):
            return value
        value = self._reader.expanded(value)
        return value if _WINDOWS.match(value) else files.absolute(value, self._base)

    def _context(self, value: Tree) -> Tree:
        if not isinstance(value, str) or is_remote(value) or value.startswith("service:"):
            return value
        return self._plain(value)

    def _volume(self, value: Tree) -> Tree:
        if isinstance(value, dict) and value.get("type") == "bind" and "source" in value:
            return {**value, "source": self._unix(value["source"])}
        return value

    def _driver_device(self, value: Tree) -> Tree:
        options = value.get("driver_opts") if isinstance(value, dict) else None
        if not isinstance(options, dict) or value.get("driver") != "local":
            return value
        if options.get("o") != "bind" or "device" not in options:
            return value
        return {**value, "driver_opts": {**options, "device": self._unix(options["device"])}}


def _each(value: Tree, change: Callable[[Tree], Tree]) -> Tree:
    return {name: change(item) for name, item in value.items()} if isinstance(value, dict) else value


def _followed(path: str) -> str:
    """Return path with the first symbolic link in it replaced by what it points to."""
    at = ""
    for part in path.split("/"):
        if not part:
            continue
        at = f"{at}/{part}"
        if os.path.islink(at):
            return path.replace(at, os.path.realpath(at), 1)
    return path
