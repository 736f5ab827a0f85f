"""`pilothouse up` of N replicas with a probe, to all healthy, against the same containers straight through the engine.

    bench/deploy.py [N ...]             N = 20 50 unless said otherwise
    bench/deploy.py --hosts 3 [N ...]   the same on a cluster of three real hosts; N = 24 unless said otherwise

Interleaved rounds on one private engine. The peer creates and starts the same containers on a network of the same kind
at the engine's best concurrency, and ends when all of them run. Ours is the whole command: load, deploy, wait until
every replica is healthy. The second figure is the gap between all running and all healthy, as a share of the delay
before the engine's own first health check of one container (interval 1 s), measured in the same run.

On several hosts the peer starts an equal share on each engine, all engines at the same time, four requests at once on
each or one on each, whichever is faster in that round.
"""

import argparse
import concurrent.futures
import threading
import time

from harness import CONCURRENCY, Direct, median, progress, whole_platform
from tests.bed import bed
from tests.bed.cluster import Cluster

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


def _engines_alone(directs, share, workers):
    """Start *share* containers on each engine, *workers* at once on each; return seconds until all run."""
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(directs)) as pool:
        list(pool.map(lambda direct: direct.run(share, {"Image": IMAGE}, "direct", workers), directs))
    took = time.monotonic() - begun
    for direct in directs:
        direct.clear(share, "direct")
    return took


def _cluster_up(cluster, count):
    begun = time.monotonic()
    cluster.up(MANIFEST.format(image=IMAGE, count=count))
    took = time.monotonic() - begun
    found = cluster.spread("bench", "web")
    cluster.down("bench")
    return took, dict(found)


def on_hosts(hosts, counts):
    """Run the rounds on a cluster of *hosts* and print the figures."""
    ratios = []
    with bed(hosts) as ground:
        cluster = Cluster(ground.hosts)
        cluster.begin()
        directs = [Direct(host) for host in ground.hosts]
        for count in counts:
            pairs = []
            for number in range(ROUNDS):
                each = [_engines_alone(directs, count // hosts, workers) for workers in (CONCURRENCY, 1)]
                mine, found = _cluster_up(cluster, count)
                pairs.append((mine, min(each)))
                progress(
                    f"N={count} round {number + 1}: ours {mine:.2f} s on {found}, engines {min(each):.2f} s of {each}"
                )
            ratios.append(median([mine / theirs for mine, theirs in pairs]))
            print(f"N={count} on {hosts} hosts: up to all healthy / engines alone to all running: {ratios[-1]:.2f}")
    print(f"deploy ratio on {hosts} hosts, worst of N={counts}: {max(ratios):.2f}")


def _arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("counts", type=int, nargs="*")
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    if asked.hosts > 1:
        on_hosts(asked.hosts, asked.counts or [24])
    else:
        main(asked.counts or [20, 50])
