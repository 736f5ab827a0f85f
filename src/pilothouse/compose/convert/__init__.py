"""From the loaded model (what `pilothouse config --format json` prints) to the specs the platform works with.

Pure but for the files and variables it is told to read; nothing is built, fetched or looked up on a node.
Every key of a service is either carried into a spec, warned about, or refused with what to write instead.
"""

from pilothouse.compose.convert.project import Converted, convert, convert_loaded

__all__ = ["Converted", "convert", "convert_loaded"]
