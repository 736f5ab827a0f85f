"""The project a command is about: loaded from Compose files here, in the client, and turned into an app."""

import os
import sys

from pilothouse.cli.options import Chosen
from pilothouse.compose.convert import Converted, convert_loaded
from pilothouse.compose.load import Loaded, LoadOptions, load

_STANDARD_INPUT = "-"
_MAX_INPUT_BYTES = 2 << 20


def read(chosen: Chosen) -> Loaded:
    """Load the project; relative paths start at the current directory.

    Raises:
        InvalidManifestError: A file cannot be used.
    """
    given = sys.stdin.buffer.read(_MAX_INPUT_BYTES) if _STANDARD_INPUT in chosen.files else b""
    return load(
        LoadOptions(
            files=chosen.files,
            project_directory=chosen.directory,
            project_name=chosen.name,
            profiles=chosen.profiles,
            env_files=chosen.env_files,
            environment=dict(os.environ),
            current_directory=os.getcwd(),
            standard_input=given,
            readable=chosen.readable,
        )
    )


def app(chosen: Chosen) -> Converted:
    """Load the project and return the app it asks for, warnings of both steps included.

    Raises:
        InvalidManifestError: A file, or a key in it, cannot be used.
    """
    return convert_loaded(read(chosen))


def name_here() -> str:
    """Return the name of the project in the current directory, which has a Compose file in or above it."""
    return str(read(Chosen()).project["name"])
