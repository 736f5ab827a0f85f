"""Which Pilothouse an engine's things are of: an id made once, so that two on one engine keep apart."""

import pathlib

from pilothouse.ids import Ids


def installation_id(data_directory: pathlib.Path, ids: Ids) -> str:
    """Return the id of the installation that keeps its state in *data_directory*; made once and kept there."""
    path = data_directory / "installation-id"
    if path.exists() and (known := path.read_text().strip()):
        return known
    data_directory.mkdir(parents=True, exist_ok=True)
    chosen = ids.new()
    part = path.with_suffix(".part")
    part.write_text(chosen + "\n")
    part.rename(path)
    return chosen
