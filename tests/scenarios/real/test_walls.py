"""What a grant opens on paper and the node still refuses."""

import os

import pytest

from tests.engine import SLEEPER
from tests.platform import platform

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


def test_no_grant_opens_the_engines_or_the_platforms_own_places_wherever_they_are(made, nothing_left_behind):
    link = made.directory / "innocent"
    os.symlink(made.host.directory / "data", link)
    for source in (made.host.socket, made.host.directory / "data", made.directory / "data", link):
        manifest = made.manifest(
            f"name: bold\nservices:\n  s:\n    image: {SLEEPER}\n    restart: 'no'\n    volumes: ['{source}:/x']\n"
        )
        made.command("grant", "create", "bold", "host-path", source, "--reason", "a trial")
        done = made.up(manifest, check=False)
        made.command("down", "bold")
        assert done.returncode == 2, done.stderr
        assert f"the source of /x, {source}" in done.stderr
        assert "no container may have those" in done.stderr
