"""Every finding of a manifest in one error: what a stage refuses is left out, and loading goes on without it.

Only a refused manifest gets here, so a good one loads as if this module were not there. A later finding counts only
if what was left out cannot be its cause; in doubt it waits until the first ones are mended.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pilothouse.compose.problems import Finding, FoundError, Path, invalid, ranked
from pilothouse.compose.project_keys import PROJECT
from pilothouse.compose.shapes import Tree

_MAX_ROUNDS = 8
_MEANT = re.compile(r"unknown key; write `(\w+)`")
_AMOUNTS = frozenset({"container_name", "cpus", "mem_limit", "mem_reservation", "pids_limit", "scale"})
_REFERENCES = frozenset(
    {"configs", "depends_on", "extends", "models", "network_mode", "networks", "secrets", "volumes"}
)

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Failed:
    """What was refused so far.

    Attributes:
        paths: Where it stood, and where an unknown key would stand under the name that was meant.
        inherits: Whether a service of the project extends another, so that what fails in one is missing in another.
    """

    paths: set[Path] = field(default_factory=set)
    inherits: bool = False

    def without(self, value: Tree) -> Tree:
        """Return a document without what was refused; a list goes as a whole, so that its items keep their places."""
        for path in self.paths:
            value = _without(value, path)
        return value

    def add(self, finding: Finding) -> None:
        """Leave out what a finding is about."""
        path = finding.path
        if path[:1] == ("include",) or (path[:1] == ("services",) and path[2:3] == ("extends",)):
            path = path[:1] if path[0] == "include" else path[:3]
        self.paths.add(path)
        if meant := _MEANT.search(finding.message):
            self.paths.add((*path[:-1], meant[1]))

    def causes(self, finding: Finding) -> bool:
        """Return whether a finding may be there only because of what was left out."""
        return any(self._causes(path, finding.path) for path in self.paths)

    def _causes(self, failed: Path, path: Path) -> bool:
        if len(failed) == 1 and (failed[0] not in PROJECT.fields or failed[0] == "include"):
            return _refers(path) or len(path) < 2
        if self._same(failed, path[: len(failed)]) or self._same(failed[:-1], path):
            return True
        if _refers(path) and len(failed) <= 2:
            return True
        if failed[:1] != ("services",) or path[:1] != ("services",):
            return False
        if failed[2:3] == ("profiles",) or "additional_contexts" in path:
            return True
        return (
            failed[2:3] == ("deploy",) and path[2:3] != () and path[2] in _AMOUNTS and self._same(failed[:2], path[:2])
        )

    def _same(self, first: Path, second: Path) -> bool:
        """Return whether two paths are one, any service standing for any other where services extend each other."""
        if self.inherits and len(first) > 2 and first[:1] == second[:1] == ("services",):
            return first[2:] == second[2:]
        if self.inherits and len(first) == 2 and first[:1] == second[:1] == ("services",):
            return len(second) == 2
        return first == second


def collect(load: Callable[[Failed], _Result]) -> _Result:
    """Return what load returns, or raise every finding of the manifest at once.

    Args:
        load: Loads without what has failed; called again as long as that brings new findings to light.

    Raises:
        InvalidManifestError: If there is any finding.
    """
    failed = Failed()
    found: dict[str, Finding] = {}
    for _ in range(_MAX_ROUNDS):
        try:
            result = load(failed)
        except FoundError as error:
            known = len(failed.paths)
            fresh = [finding for finding in error.found if not found or not failed.causes(finding)]
            for finding in fresh:
                found.setdefault(finding.text, finding)
            for finding in error.found:
                failed.add(finding)
            if error.final or len(failed.paths) == known or any(not finding.path for finding in error.found):
                break
        else:
            if not found:
                return result
            break
    raise invalid([finding.text for finding in ranked(list(found.values()))])


def _refers(path: Path) -> bool:
    return path[:1] == ("services",) and (
        (len(path) > 3 and path[2] in _REFERENCES)
        or path[2:3] in {("network_mode",), ("extends",)}
        or path[2:4] == ("build", "secrets")
    )


def _without(value: Tree, path: Path) -> Tree:
    if not path or not isinstance(value, dict) or path[0] not in value:
        return value
    inner = value[path[0]]
    if len(path) > 1 and isinstance(inner, dict):
        return {**value, path[0]: _without(inner, path[1:])}
    return {key: item for key, item in value.items() if key != path[0]}
