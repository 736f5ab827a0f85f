"""The app of these scenarios: six tasks that may run twice, and one that never may; neither on any host of its own."""

from tests.engine import SLEEPER, WEB

MANIFEST = f"""\
name: shop
services:
  web:
    image: {WEB}
    stop_grace_period: 1s
    deploy: {{replicas: 6}}
    x-pilothouse:
      probes:
        startup: {{tcp: {{port: 80}}, interval: 500ms}}
  ledger:
    image: {SLEEPER}
    command: [sh, -c, "trap exit TERM; echo opened; while :; do sleep 1000 & wait $$!; done"]
    stop_grace_period: 1s
    deploy:
      placement: {{constraints: [node.hostname != h1]}}
    ports: ["9009:9009/udp"]
"""
_SERVICE = "com.docker.compose.service"
STATELESS_SECONDS = 12.0
FENCED_SECONDS = 20.0
STALE_SECONDS = 3.0


def containers(host, service=""):
    """Return when each running container of the app, or of one service, on *host* was started, by its id."""
    found = {}
    for each in host.request("GET", "/containers/json")[1]:
        status, seen = host.request("GET", f"/containers/{each['Id']}/json")
        if status == 200 and seen["State"]["Running"] and service in {"", each["Labels"][_SERVICE]}:
            found[each["Id"]] = seen["State"]["StartedAt"]
    return found
