"""Pilothouse: one Compose file, any number of container hosts, governed.

Rooms, top to bottom: cli > server > governance | control | agent > compose | store > model > the modules beside this
one. docs/ARCHITECTURE.md is the map; the import contracts in .importlinter hold it.
"""

__version__ = "0.1.0"
