"""Fixtures every test may ask for."""

from hypothesis import settings

from tests.engine import docker_host, nothing_left_behind, podman_host

__all__ = ["docker_host", "nothing_left_behind", "podman_host"]

# How long an example takes depends on what else the machine does; it says nothing about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
