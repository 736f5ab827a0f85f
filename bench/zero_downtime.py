"""Failed requests during rolling updates of a 4-replica HTTP service, under keep-alive and new-connection load.

    bench/zero_downtime.py [UPDATES [REQUESTS]]       20 and 100,000 unless said otherwise

The service publishes one port; `bench/load.py` asks it from inside the engine's network namespace over 16 kept
connections and by 16 callers that connect anew each time, while `pilothouse up` rolls out one changed manifest after
the other. When the updates are over before so many requests were asked, it goes on until they were.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

from harness import nginx_image, progress, whole_platform

RATE = 1500
MANIFEST = """\
name: bench
services:
  web:
    image: pilothouse/bench:nginx
    environment: {{ROUND: "{round}"}}
    ports: ["8080:80"]
    stop_grace_period: 10s
    deploy:
      replicas: 4
      update_config: {{monitor: 1ms}}
    x-pilothouse:
      probes:
        ready: {{http: {{port: 80}}, interval: 1s}}
"""


def main(updates, requests):
    """Roll out, count, print the figures; exit 1 if a request failed."""
    with whole_platform() as (host, made), tempfile.TemporaryDirectory() as directory:
        nginx_image(host)
        made.up(made.manifest(MANIFEST.format(round=0)))
        going = pathlib.Path(directory, "going")
        going.touch()
        load = pathlib.Path(__file__).with_name("load.py")
        command = host.enter(sys.executable, load, "8080", str(RATE), "16", "16", str(going))
        caller = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        begun = time.monotonic()
        took = []
        try:
            for number in range(1, updates + 1):
                at = time.monotonic()
                made.up(made.manifest(MANIFEST.format(round=number)))
                took.append(time.monotonic() - at)
                progress(f"update {number} of {updates}: {took[-1]:.1f} s")
            time.sleep(max(0.0, 1.05 * requests / RATE - (time.monotonic() - begun)))
        finally:
            going.unlink()
            said = caller.communicate(timeout=60)[0]
        counts = json.loads(said)
        made.command("down", "bench")
    rate, kept = counts["asked"] / (time.monotonic() - begun), counts["over_kept_connections"]
    print(f"{updates} updates of 4 replicas, {sum(took) / len(took):.1f} s each, under {rate:,.0f} requests a second")
    print(f"{kept:,} over kept connections; slowest {counts['slowest_seconds']:.2f} s; failures: {counts['how']}")
    print(f"failed requests: {counts['failed']} of {counts['asked']:,}")
    return 1 if counts["failed"] or counts["asked"] < requests else 0


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    sys.exit(main(*(arguments + [20, 100_000][len(arguments) :])))
