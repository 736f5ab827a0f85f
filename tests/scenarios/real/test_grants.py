"""A refused deployment prints the commands that would allow it; run as printed, they do."""

import json
import shlex
import subprocess

import pytest

from tests.engine import SLEEPER
from tests.platform import platform

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


def _manifest(setting):
    return f"name: wants\nservices:\n  web:\n    image: {SLEEPER}\n    stop_grace_period: 1s\n    {setting}\n"


def _printed(done):
    """The grant commands that a refused `up` wrote, each as its words after `pilothouse`."""
    lines = [line.strip() for line in done.stderr.splitlines()]
    return [shlex.split(line[line.index("pilothouse grant create") :])[1:] for line in lines if "grant create" in line]


@pytest.mark.parametrize(
    ("setting", "kind", "value"),
    [
        ('volumes: ["/usr/share:/data:ro"]', "host-path", "/usr/share:ro"),
        ("cap_add: [NET_ADMIN]", "cap-add", "NET_ADMIN"),
        ("privileged: true", "privileged", ""),
        ("network_mode: host", "network-host", ""),
    ],
)
def test_the_printed_command_run_as_printed_lets_the_next_up_succeed(made, nothing_left_behind, setting, kind, value):
    path = made.manifest(_manifest(setting))
    refused = made.up(path, check=False)
    assert refused.returncode == 3, refused.stderr
    assert made.tasks("wants") == [], "nothing was changed"
    commands = _printed(refused)
    assert len(commands) == 1, refused.stderr
    try:
        made.command(*commands[0])
        allowed = made.up(path, check=False)
        # Where the tests themselves run without every capability, the engine cannot start a privileged container.
        withheld = kind == "privileged" and "operation not permitted" in allowed.stderr
        assert allowed.returncode == (2 if withheld else 0), allowed.stderr
        (grant,) = json.loads(made.command("grant", "ls", "wants", "--json").stdout)
        assert (grant["kind"], grant.get("value", ""), grant["service"]) == (kind, value, "web")
        records = json.loads(made.command("audit", "ls", "--json").stdout)
        seen = [(record["action"], record.get("outcome", "done")) for record in records][-3:]
        assert seen == [("app.deploy", "refused"), ("grant.create", "done"), ("app.deploy", "done")]
        assert records[-2]["object"] == f"grant/{grant['id']}"
        made.command("grant", "revoke", grant["id"])
        assert made.up(path, check=False).returncode == 3
    finally:
        made.command("down", "wants", check=False)
        # The engine keeps this mount for the host's network until it ends, and the engine's fixture looks for mounts.
        subprocess.run(["umount", "-l", made.host.directory / "exec/netns/default"], check=False, capture_output=True)


def test_the_engines_socket_is_refused_and_no_command_is_printed(made, nothing_left_behind):
    path = made.manifest(_manifest('volumes: ["/var/run/docker.sock:/engine.sock"]'))
    refused = made.up(path, check=False)
    assert refused.returncode == 3
    assert _printed(refused) == [], refused.stderr
    assert "engine" in refused.stderr
    granted = made.command(
        "grant", "create", "wants", "host-path", "/var/run/docker.sock", "--reason", "x", check=False
    )
    assert made.up(path, check=False).returncode == 3, f"no grant helps: {granted.stdout}{granted.stderr}"
