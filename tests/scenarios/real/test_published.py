"""Published ports, with the real proxy and the real engine: who calls never notices what happens behind the port."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest

from tests.callers import PORT, Load, connect
from tests.engine import WEB, until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

BRIDGE = "10.213.0.1"
PAGES = """\
mkdir -p /www/cgi-bin
hostname > /www/index.html
printf '#!/bin/sh\\nprintf "Content-Type: text/plain\\\\n\\\\n"; env' > /www/cgi-bin/who
printf '#!/bin/sh\\nsleep 6; printf "Content-Type: text/plain\\\\n\\\\n"; echo done' > /www/cgi-bin/slow
chmod +x /www/cgi-bin/*
exec httpd -f -p 80 -h /www
"""
SWITCHED = "HTTP/1.1 101 Switching\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n\\r\\n"
TALK = f"""\
echo 'while read -r line; do [ ${{#line}} -lt 2 ] && break; said="$said$line;"; done' > /tmp/talk
echo 'case "$said" in *ebsocket*) printf "{SWITCHED}"; exec cat;; esac' >> /tmp/talk
echo 'printf "HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n\\r\\n%s" "$said"' >> /tmp/talk
exec nc -ll -p 80 -e sh /tmp/talk
"""
"""Answers with the head of the request, or is a WebSocket that sends back what it gets."""


def shop(version="1", replicas=3, program=PAGES, ports=(f"{PORT}:80",)):
    """Return a manifest; another *version* is another release."""
    web = {
        "image": WEB,
        "command": ["sh", "-c", program.replace("$", "$$")],
        "environment": {"VERSION": version},
        "stop_grace_period": "1s",
        "ports": list(ports),
        "deploy": {"replicas": replicas, "update_config": {"monitor": "500ms"}},
        "x-pilothouse": {"probes": {"ready": {"tcp": {"port": 80}, "interval": "1s"}}},
    }
    return json.dumps({"name": "pub", "services": {"web": web}})


@pytest.fixture(scope="module")
def made(docker_host):
    with platform(docker_host) as found:
        yield found


@pytest.fixture(autouse=True)
def gone(made, nothing_left_behind):
    """Take every app down before the engine and the proxy are looked at."""
    yield
    _, page = made.api("GET", "/v1/apps")
    for app in page["items"]:
        made.command("down", app["name"], "--volumes", check=False)


def ask(made, path="/", port=PORT, host="127.0.0.1"):
    """Return the status and the body of one request on a connection of its own."""
    with contextlib.closing(connect(made, port, host)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def reach_all(made, number):
    """Wait until *number* different tasks answer."""
    seen = set()

    def all_answer():
        seen.add(ask(made)[1].strip())
        return len(seen) == number

    until(all_answer, f"{number} tasks answer")


def test_all_replicas_answer_on_one_port_also_while_the_server_is_killed_and_when_it_is_back(made):
    made.up(made.manifest(shop()), "--timeout", "60s")
    reach_all(made, 3)
    assert f"{PORT}→80" in made.command("ps", "pub").stdout
    assert "by the proxy" in made.command("explain", "pub/web").stdout
    (proxy,) = made.host.envoys()
    with Load(made) as load:
        load.goes_on()
        made.kill()
        load.goes_on(300)
        made.start()
        load.goes_on(300)
        assert settled(made, "pub")["converged"]
        load.goes_on()
    assert load.failed == []
    assert len(load.hosts) == 3
    assert made.host.envoys() == [proxy], "the same process served all the time"


def test_a_rolling_update_under_load_fails_no_request(made):
    made.up(made.manifest(shop()), "--timeout", "60s")
    with Load(made) as load:
        load.goes_on()
        made.up(made.manifest(shop("2")), "--timeout", "100s")
        load.goes_on()
    assert load.failed == []
    assert len(load.hosts) == 6, "three tasks before, three after"


def test_a_scaled_service_and_a_killed_task_stay_reachable(made):
    made.up(made.manifest(shop()), "--timeout", "60s")
    made.up(made.manifest(shop(replicas=1)))
    reach_all(made, 1)
    made.up(made.manifest(shop()), "--timeout", "60s")
    reach_all(made, 3)


def test_a_long_request_may_end_before_its_task_stops_and_a_stop_without_one_does_not_wait(made):
    made.up(made.manifest(shop(replicas=1)))
    (task,) = made.tasks("pub")
    answers = []
    caller = threading.Thread(target=lambda: answers.append(ask(made, "/cgi-bin/slow")))
    begun = time.monotonic()
    caller.start()
    until(lambda: time.monotonic() > begun + 0.5, "the request is under way")
    made.command("restart", "-d", "pub")
    until(lambda: any("draining" in t.get("sentence", "") for t in made.tasks("pub")), "it says that it drains", 20)
    caller.join()
    assert answers == [(200, "done\n")]
    assert settled(made, "pub")["converged"]
    assert [t["id"] for t in made.tasks("pub")] != [task["id"]]
    begun = time.monotonic()
    made.command("down", "pub")
    assert time.monotonic() - begun < 8, "nobody was there to wait for"


def test_programs_are_told_who_calls(made):
    made.up(made.manifest(shop(program=TALK, replicas=1)), "--timeout", "60s")
    # A caller on the host is known by the address of the host that it calls.
    status, body = ask(made, host=BRIDGE)
    assert status == 200
    assert f"x-forwarded-for: {BRIDGE}" in body.lower()


def test_a_websocket_lives_through_the_proxy(made):
    made.up(made.manifest(shop(program=TALK, replicas=1)))
    with contextlib.closing(connect(made)) as connection:
        connection.sock.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        stream = connection.sock.makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 101")
        while stream.readline().strip():
            pass
        connection.sock.sendall(b"ping\n")
        assert stream.readline() == b"ping\n"


def test_udp_ranges_and_mode_host_go_through_the_engine(made):
    host = {"target": 80, "published": PORT + 2, "mode": "host"}
    ports = (f"{PORT}:80", f"{PORT + 1}:53/udp", f"{PORT + 10}-{PORT + 12}:80", host)
    made.up(made.manifest(shop(replicas=1, ports=ports)))
    (task,) = made.tasks("pub")
    _, found = made.host.request("GET", f"/containers/ph.pub.web.1.{task['id']}/json")
    bindings = {port: [each["HostPort"] for each in to] for port, to in found["HostConfig"]["PortBindings"].items()}
    assert bindings == {"53/udp": [str(PORT + 1)], "80/tcp": [str(PORT + 10), str(PORT + 2)]}
    for port in (PORT, PORT + 2, PORT + 10):
        assert ask(made, port=port)[0] == 200
    # The engine's own port shows the program the caller's connection, the proxy's a header.
    assert "FORWARDED" not in ask(made, "/cgi-bin/who", port=PORT + 2)[1]


def test_a_port_that_another_program_has_is_refused_with_its_name(made):
    with made.host.inside():
        squatter = socket.create_server(("0.0.0.0", PORT))
    with contextlib.closing(squatter):
        done = made.up(made.manifest(shop()), "--timeout", "20s", check=False)
        assert done.returncode != 0
        assert str(PORT) in done.stderr + done.stdout


def test_the_proxy_is_started_again_if_it_is_killed(made):
    made.up(made.manifest(shop()), "--timeout", "60s")
    (proxy,) = made.host.envoys()
    os.kill(proxy, signal.SIGKILL)
    until(lambda: made.host.envoys() not in ([], [proxy]), "another one runs")

    def answered():
        with contextlib.suppress(OSError):
            return ask(made)[0] == 200
        return False

    until(answered, "callers are answered again")
