"""Fixtures every test may ask for, and how much every test is asked for."""

import gc

from hypothesis import settings

from tests.engine import docker_host, nothing_left_behind, podman_host
from tests.examples import FAST, examples

__all__ = ["docker_host", "nothing_left_behind", "podman_host"]

# How long an example takes depends on what else the machine does; it says nothing about the code.
settings.register_profile("untimed", examples(100, deadline=None))
settings.load_profile("untimed")


def pytest_collection_finish(session):
    """Take what was imported and collected out of the reach of the garbage collector: none of it becomes garbage."""
    if FAST:
        gc.collect()
        gc.freeze()
