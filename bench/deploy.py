"""`pilothouse up` of N replicas with a probe, to all healthy, against the same containers straight through the engine.

    bench/deploy.py [N ...]        N = 20 50 unless said otherwise

Interleaved rounds on one private engine. The peer creates and starts the same containers on a network of the same kind
at the engine's best concurrency, and ends when all of them run. Ours is the whole command: load, deploy, wait until
every replica is healthy. The second figure is the gap between all running and all healthy, as a share of the delay
before the engine's own first health check of one container (interval 1 s), measured in the same run.
"""

import sys
import threading
import time

from harness import Direct, median, progress, whole_platform

ROUNDS = 3
IMAGE = "pilothouse/test:web"
MANIFEST = """\
name: bench
services:
  web:
    image: {image}
    stop_grace_period: 1s
    deploy:
      replicas: {count}
    x-pilothouse:
      probes:
        startup: {{tcp: {{port: 80}}, interval: 1s}}
"""


def _gap(made, count, stop):
    """Watch the app until *stop* and return seconds from all running to all healthy."""
    running = healthy = None
    while not stop.is_set() and healthy is None:
        status, app = made.api("GET", "/v1/apps/bench")
        service = app["services"][0] if status == 200 and app["services"] else None
        if service and running is None and service["running"] == count:
            running = time.monotonic()
        if service and service["healthy"] == count:
            healthy = time.monotonic()
        time.sleep(0.01)
    return None if healthy is None else healthy - (running or healthy)


def _ours(made, count):
    path = made.manifest(MANIFEST.format(image=IMAGE, count=count))
    seen, stop = [], threading.Event()
    watcher = threading.Thread(target=lambda: seen.append(_gap(made, count, stop)))
    begun = time.monotonic()
    watcher.start()
    made.up(path)
    took = time.monotonic() - begun
    stop.set()
    watcher.join()
    made.command("down", "bench")
    return took, seen[0] or 0.0


def _first_probe_delay(direct):
    check = {"Test": ["CMD", "true"], "Interval": 1_000_000_000, "Timeout": 1_000_000_000}
    direct.run(1, {"Image": IMAGE, "Healthcheck": check}, "probe")
    begun = time.monotonic()
    direct.wait_healthy(1, "probe")
    delay = time.monotonic() - begun
    direct.clear(1, "probe")
    return delay


def main(counts):
    """Run the rounds and print the figures."""
    with whole_platform() as (host, made):
        direct = Direct(host)
        delay = median([_first_probe_delay(direct) for _ in range(3)])
        ratios, gaps = [], []
        for count in counts:
            pairs = []
            for number in range(ROUNDS):
                theirs = direct.run(count, {"Image": IMAGE}, "direct")
                direct.clear(count, "direct")
                mine, gap = _ours(made, count)
                pairs.append((mine, theirs))
                gaps.append(gap)
                progress(f"N={count} round {number + 1}: ours {mine:.2f} s, engine {theirs:.2f} s, gap {gap:.3f} s")
            ratio = median([mine / theirs for mine, theirs in pairs])
            ratios.append(ratio)
            print(f"N={count}: up to all healthy / engine alone to all running: {ratio:.2f}")
        print(f"gap running to healthy / engine's first-probe delay ({delay:.2f} s): {median(gaps) / delay:.3f}")
        print(f"deploy ratio, worst of N={counts}: {max(ratios):.2f}")


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [20, 50])
