"""Requests a second through a published port, against Envoy with a hand-written file and Docker's own published port.

    bench/proxy.py [SECONDS]       of load for each path and round, 4 unless said otherwise

One nginx on one private engine is reached three ways, in interleaved rounds, by wrk with 32 keep-alive connections on
one thread, inside the engine's network namespace: through our published port; through an Envoy of the same version and
with as many workers whose whole configuration is the static file below; through a port that Docker publishes by itself
(a second container of the same image). Needs wrk.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile

from harness import median, nginx_image, progress, whole_platform
from tests.engine import until

from pilothouse.agent.proxy.binary import find_binary

ROUNDS = 5
_TYPES = "type.googleapis.com/envoy.extensions.filters"
OURS, WRITTEN, DOCKER = 8080, 8081, 8082
MANIFEST = """\
name: bench
services:
  web:
    image: pilothouse/bench:nginx
    ports: ["8080:80"]
    x-pilothouse:
      probes:
        ready: {http: {port: 80}, interval: 1s}
"""


def _hand_written(address):
    """Return the least Envoy configuration that forwards HTTP from the port to *address*."""
    socket = {"address": address, "port_value": 80}
    endpoint = {"endpoint": {"address": {"socket_address": socket}}}
    cluster = {
        "name": "web",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "web", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    routes = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}}]}]}
    routes["virtual_hosts"][0]["routes"][0]["route"] = {"cluster": "web"}
    manager = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web",
        "route_config": routes,
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "name": "web",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": WRITTEN}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@contextlib.contextmanager
def _peer(host, address):
    """Have an Envoy with the hand-written file in the engine's namespace."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(_hand_written(address), file)
        file.flush()
        workers = str(min(4, os.cpu_count() or 1))
        command = [
            find_binary(os.environ),
            "-c",
            file.name,
            "--concurrency",
            workers,
            "--use-dynamic-base-id",
            "-l",
            "error",
        ]
        envoy = subprocess.Popen(host.enter(*command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: _answers(host, WRITTEN), "the hand-written Envoy answers")
            yield
        finally:
            envoy.terminate()
            envoy.wait(20)


def _answers(host, port):
    asked = subprocess.run(
        host.enter("curl", "--silent", "--fail", "--max-time", "2", f"http://127.0.0.1:{port}/"),
        stdout=subprocess.DEVNULL,
        check=False,
    )
    return asked.returncode == 0


def _rate(host, port, seconds):
    """Return requests a second; any failed request is an error of the bench."""
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    said = subprocess.run(host.enter(*command), capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"requests failed through port {port}:\n{said}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])


def _docker_published(host):
    """Start a container of the same image with a port that the engine publishes."""
    binding = {"PortBindings": {"80/tcp": [{"HostPort": str(DOCKER)}]}}
    body = {"Image": "pilothouse/bench:nginx", "ExposedPorts": {"80/tcp": {}}, "HostConfig": binding}
    for method, path, content in (
        ("POST", "/containers/create?name=published", body),
        ("POST", "/containers/published/start", None),
    ):
        status, answer = host.request(method, path, content)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
    until(lambda: _answers(host, DOCKER), "the port that Docker publishes answers")


def main(seconds):
    """Run the rounds and print the figures."""
    with whole_platform() as (host, made):
        nginx_image(host)
        made.up(made.manifest(MANIFEST))
        address = next(iter(made.tasks("bench")[0]["addresses"].values()))
        _docker_published(host)
        with _peer(host, address):
            rates = {OURS: [], WRITTEN: [], DOCKER: []}
            for number in range(ROUNDS):
                for port in rates if number % 2 else reversed(rates):
                    rates[port].append(_rate(host, port, seconds))
                progress(f"round {number + 1}: " + ", ".join(f"{each[-1]:,.0f}/s" for each in rates.values()))
        made.command("down", "bench")
        host.request("DELETE", "/containers/published?force=1&v=1")
    ours, written, docker = (median(each) for each in rates.values())
    against_written = median([a / b for a, b in zip(rates[OURS], rates[WRITTEN], strict=True)])
    against_docker = median([a / b for a, b in zip(rates[OURS], rates[DOCKER], strict=True)])
    print(
        f"requests a second: ours {ours:,.0f}, hand-written Envoy {written:,.0f}, Docker's published port {docker:,.0f}"
    )
    print(f"through ours / through Docker's published port: {against_docker:.2f}")
    print(f"proxy ratio, ours / hand-written Envoy: {against_written:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
