"""A killed task's replacement running, against the engine's own restart policy on the same engine, interleaved.

Killing is the same for both: the container's first process gets SIGKILL. Ours ends when a new container runs for the
service; the peer's when the container with `restart: always` has a new start time. Both are seen through the engine's
API, polled every 2 ms. Every round kills another replica, because both sides wait longer after a second quick death.
"""

import os
import signal
import time
import urllib.parse

from harness import Direct, median, progress, whole_platform

ROUNDS = 15
IMAGE = "pilothouse/test:web"
MANIFEST = f"""\
name: bench
services:
  web:
    image: {IMAGE}
    stop_grace_period: 1s
    deploy:
      replicas: {ROUNDS}
    x-pilothouse:
      probes:
        startup: {{tcp: {{port: 80}}, interval: 1s}}
"""
_FILTER = '{"label":["com.docker.compose.project=bench"],"status":["running"]}'
_OURS = "/containers/json?filters=" + urllib.parse.quote(_FILTER)


def _heal_ours(host, old):
    before = {each["Id"] for each in host.request("GET", _OURS)[1]}
    pid = host.request("GET", f"/containers/{old}/json")[1]["State"]["Pid"]
    begun = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while not [each for each in host.request("GET", _OURS)[1] if each["Id"] not in before]:
        time.sleep(0.002)
        if time.monotonic() - begun > 30:
            raise RuntimeError("the task was not replaced within 30 s")
    return time.monotonic() - begun


def _heal_engine(host, name):
    state = host.request("GET", f"/containers/{name}/json")[1]["State"]
    begun = time.monotonic()
    os.kill(state["Pid"], signal.SIGKILL)
    while True:
        now = host.request("GET", f"/containers/{name}/json")[1]["State"]
        if now["Running"] and now["StartedAt"] != state["StartedAt"] and now["Pid"]:
            return time.monotonic() - begun
        time.sleep(0.002)


def main():
    """Run the rounds and print the figures."""
    with whole_platform() as (host, made):
        direct = Direct(host)
        body = {"Image": IMAGE, "HostConfig": {"RestartPolicy": {"Name": "always"}}}
        direct.run(ROUNDS, body, "direct")
        made.up(made.manifest(MANIFEST))
        first = [each["Id"] for each in host.request("GET", _OURS)[1]]
        mine, theirs = [], []
        for number, old in enumerate(first):
            theirs.append(_heal_engine(host, f"direct-{number}"))
            mine.append(_heal_ours(host, old))
            progress(f"round {number + 1}: ours {mine[-1]:.3f} s, engine {theirs[-1]:.3f} s")
        made.command("down", "bench")
        direct.clear(ROUNDS, "direct")
        ratio = median([a / b for a, b in zip(mine, theirs, strict=True)])
        print(f"replacement running: ours {median(mine):.3f} s (worst {max(mine):.3f}), engine {median(theirs):.3f} s")
        print(f"heal ratio: {ratio:.2f}")


if __name__ == "__main__":
    main()
