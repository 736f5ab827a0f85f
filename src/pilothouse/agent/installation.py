"""Which Pilothouse an engine's things are of: an id made once, so that two on one engine keep apart."""

import pathlib

from pilothouse.ids import Ids

FILE = "installation-id"


def known_id(data_directory: pathlib.Path) -> str:
    """Return the id of the installation that keeps its state in *data_directory*, "" if no agent ever ran on it."""
    path = data_directory / FILE
    return path.read_text().strip() if path.exists() else ""


def installation_id(data_directory: pathlib.Path, ids: Ids) -> str:
    """Return the id of the installation that keeps its state in *data_directory*; made once and kept there."""
    if known := known_id(data_directory):
        return known
    path = data_directory / FILE
    data_directory.mkdir(parents=True, exist_ok=True)
    chosen = ids.new()
    part = path.with_suffix(".part")
    part.write_text(chosen + "\n")
    part.rename(path)
    return chosen
