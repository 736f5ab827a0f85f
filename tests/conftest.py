"""Fixtures every test may ask for."""

from tests.engine import docker_host, nothing_left_behind, podman_host

__all__ = ["docker_host", "nothing_left_behind", "podman_host"]
