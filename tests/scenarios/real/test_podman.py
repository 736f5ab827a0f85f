"""The same app on Podman's Docker-compatible socket."""

import pytest

from tests.engine import SLEEPER, until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

APP = f"""\
name: pod
services:
  web:
    image: {SLEEPER}
    stop_grace_period: 1s
    deploy: {{replicas: 2}}
    volumes: ["data:/data"]
volumes:
  data: {{}}
"""


def test_an_app_runs_heals_and_goes_without_a_trace(podman_host, nothing_left_behind):
    with platform(podman_host) as made:
        made.up(made.manifest(APP))
        first = {t["id"] for t in made.tasks("pod")}
        assert len(first) == 2
        victim = made.tasks("pod")[0]
        podman_host.request("POST", f"/containers/ph.pod.web.{victim['slot']}.{victim['id']}/kill")
        until(lambda: victim["id"] not in {t["id"] for t in made.tasks("pod")}, "the killed task is dead")
        assert settled(made, "pod")["converged"]
        made.command("down", "pod", "--volumes")
