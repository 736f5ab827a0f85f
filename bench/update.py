"""A rolling update of N replicas, ours against Swarm's on the same engine version: same image, same health check.

    bench/update.py [N [ROUNDS]]            20 and 2 unless said otherwise

Two private engines side by side, one in Swarm mode; interleaved rounds, one at a time and ten at a time, each with
both orders. Only the side that is measured has tasks: health checks of the other would take the machine. Ours begins
when the command `pilothouse up` is started, Swarm's when its API is called; both end when every replica runs from the
new spec and passed its health check and no old one is wanted. What either then still waits for (old containers that
stop, the monitor time of `docker service update`) is not counted. Ratios below 1 mean that ours is faster.
"""

import json
import sys
import time
import urllib.parse

from harness import median, private_engine, progress, whole_platform
from tests import engine as engines

IMAGE = "pilothouse/test:1"
RUNNING = 512
MANIFEST = """\
name: bench
services:
  web:
    image: {image}
    environment: {{ROUND: "{round}"}}
    stop_grace_period: 10s
    healthcheck: {{test: [CMD, "true"], interval: 1s, timeout: 5s, retries: 3}}
    deploy:
      replicas: {count}
      update_config: {{parallelism: {parallelism}, order: {order}, monitor: 1ms}}
"""


class Swarm:
    """One service on an engine in Swarm mode."""

    def __init__(self, host, count):
        self._host = host
        self._count = count
        self._id = ""
        self._call("POST", "/swarm/init", {"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"})

    def measure(self, parallelism, order):
        """Make the service, roll a change out, take it away; return the seconds the change took."""
        self._id = self._call("POST", "/services/create", self._spec(0, parallelism, order))["ID"]
        engines.until(lambda: self._current(0), "the first tasks of the Swarm service run", 300)
        took = self._update(1, parallelism, order)
        self._call("DELETE", f"/services/{self._id}")
        engines.until(lambda: not self._call("GET", "/containers/json?all=1"), "its containers are gone", 120)
        return took

    def _update(self, number, parallelism, order):
        version = self._call("GET", f"/services/{self._id}")["Version"]["Index"]
        begun = time.monotonic()
        self._call("POST", f"/services/{self._id}/update?version={version}", self._spec(number, parallelism, order))
        engines.until(lambda: self._current(number), "the Swarm service is updated", 600)
        return time.monotonic() - begun

    def _spec(self, number, parallelism, order):
        second = 1_000_000_000
        check = {"Test": ["CMD", "true"], "Interval": second, "Timeout": 5 * second, "Retries": 3}
        return {
            "Name": "bench",
            "TaskTemplate": {
                "ContainerSpec": {"Image": IMAGE, "Env": [f"ROUND={number}"], "Healthcheck": check},
                "RestartPolicy": {"Condition": "any"},
            },
            "Mode": {"Replicated": {"Replicas": self._count}},
            "UpdateConfig": {"Parallelism": parallelism, "Order": order, "Monitor": 1, "FailureAction": "pause"},
            "EndpointSpec": {"Mode": "dnsrr"},
        }

    def _current(self, number):
        query = urllib.parse.quote(json.dumps({"service": [self._id], "desired-state": ["running"]}))
        tasks = self._call("GET", f"/tasks?filters={query}")
        wanted = [f"ROUND={number}"]
        new = [t for t in tasks if t["Spec"]["ContainerSpec"]["Env"] == wanted and t["Status"]["State"] == "running"]
        return len(tasks) == len(new) == self._count

    def _call(self, method, path, body=None):
        status, answer = self._host.request(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer


class Ours:
    """The same service on a platform."""

    def __init__(self, made, count):
        self._made = made
        self._count = count

    def measure(self, parallelism, order):
        """Deploy the service, roll a change out, take it away; return the seconds the change took."""
        self._made.up(self._manifest(0, parallelism, order))
        first = {task["id"] for task in self._made.tasks("bench")}
        path = self._manifest(1, parallelism, order)
        begun = time.monotonic()
        update = self._made.begin("up", "-f", path)
        engines.until(lambda: self._current(first), "the service is updated", 600)
        took = time.monotonic() - begun
        said, _ = update.communicate(timeout=120)
        assert update.returncode == 0, said.decode()
        self._made.command("down", "bench")
        return took

    def _current(self, first):
        wanted = [task for task in self._made.tasks("bench") if task["desired_state"] == RUNNING]
        new = [task for task in wanted if task["id"] not in first and task["ready"]]
        return len(wanted) == len(new) == self._count

    def _manifest(self, number, parallelism, order):
        text = MANIFEST.format(image=IMAGE, round=number, count=self._count, parallelism=parallelism, order=order)
        return self._made.manifest(text)


def main(count, rounds):
    """Run the rounds and print the figures."""
    with private_engine() as peer, whole_platform() as (_, made):
        swarm, ours = Swarm(peer, count), Ours(made, count)
        worst = {}
        for parallelism in (1, 10):
            for order in ("stop-first", "start-first"):
                pairs = []
                for _ in range(rounds):
                    theirs = swarm.measure(parallelism, order)
                    mine = ours.measure(parallelism, order)
                    pairs.append((mine, theirs))
                    progress(f"{parallelism} at a time, {order}: ours {mine:.1f} s, Swarm {theirs:.1f} s")
                ratio = median([mine / theirs for mine, theirs in pairs])
                mine, theirs = (median(list(each)) for each in zip(*pairs, strict=True))
                worst[parallelism] = max(worst.get(parallelism, 0.0), ratio)
                print(
                    f"{count} replicas, {parallelism} at a time, {order}: {mine:.1f} s / {theirs:.1f} s = {ratio:.2f}"
                )
        print(f"update ratio against Swarm, worse order: one at a time {worst[1]:.2f}, ten at a time {worst[10]:.2f}")


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    main(*(arguments + [20, 2][len(arguments) :]))
