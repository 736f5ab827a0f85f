"""Measures how full the file system of a path is."""

import os

from pilothouse.agent.pressure import Room


def room_of(path: str) -> Room:
    """Return the room of the file system that *path* is on.

    Raises:
        OSError: There is no such path.
    """
    seen = os.statvfs(path)
    return Room(
        path=path,
        total_bytes=seen.f_frsize * (seen.f_blocks - seen.f_bfree + seen.f_bavail),
        free_bytes=seen.f_frsize * seen.f_bavail,
        total_files=seen.f_files,
        free_files=seen.f_favail,
    )
