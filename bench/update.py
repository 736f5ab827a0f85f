"""A rolling update of N replicas, ours against Swarm's on the same engine version: same image, same health check.

    bench/update.py [N]            N = 20 unless said otherwise

Two private engines side by side, one in Swarm mode; interleaved rounds, one at a time and ten at a time, each with
both orders. Ours is the whole command `pilothouse up` until it says that the release is stable. Swarm's time ends when
every replica runs from the new spec and passed its health check and no old one is wanted; the monitor time that
`docker service update` would then still sit out is not counted. Ratios below 1 mean that ours is faster.
"""

import json
import sys
import time
import urllib.parse

from harness import median, private_engine, progress, whole_platform
from tests import engine as engines

ROUNDS = 2
IMAGE = "pilothouse/test:1"
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
        self._call("POST", "/swarm/init", {"ListenAddr": "127.0.0.1:2377", "AdvertiseAddr": "127.0.0.1"})
        self._id = self._call("POST", "/services/create", self._spec(0, 1, "stop-first"))["ID"]
        engines.until(lambda: self._current(0), "the first tasks of the Swarm service run", 300)

    def update(self, number, parallelism, order):
        """Roll out spec *number* and return the seconds it took."""
        version = self._call("GET", f"/services/{self._id}")["Version"]["Index"]
        begun = time.monotonic()
        self._call("POST", f"/services/{self._id}/update?version={version}", self._spec(number, parallelism, order))
        engines.until(lambda: self._current(number), "the Swarm service is updated", 600)
        took = time.monotonic() - begun
        # The next update must not find this one still under way.
        engines.until(self._settled, "Swarm says that the update is completed", 120)
        return took

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

    def _settled(self):
        return self._call("GET", f"/services/{self._id}").get("UpdateStatus", {}).get("State") in {None, "completed"}

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
        self._up(0, 1, "stop-first")

    def update(self, number, parallelism, order):
        """Roll out manifest *number* and return the seconds it took."""
        begun = time.monotonic()
        self._up(number, parallelism, order)
        took = time.monotonic() - begun
        views = [task for task in self._made.tasks("bench") if task["state"] == 512 and task.get("current", True)]
        assert len(views) == self._count, views
        return took

    def _up(self, number, parallelism, order):
        text = MANIFEST.format(image=IMAGE, round=number, count=self._count, parallelism=parallelism, order=order)
        self._made.up(self._made.manifest(text))


def main(count):
    """Run the rounds and print the figures."""
    with private_engine() as peer, whole_platform() as (_, made):
        swarm, ours = Swarm(peer, count), Ours(made, count)
        number, worst = 0, {}
        for parallelism in (1, 10):
            for order in ("stop-first", "start-first"):
                pairs = []
                for _ in range(ROUNDS):
                    number += 1
                    theirs = swarm.update(number, parallelism, order)
                    mine = ours.update(number, parallelism, order)
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
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
