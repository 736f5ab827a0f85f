"""Memory and CPU of all Pilothouse processes with 50 idle tasks that have probes, over one minute."""

import pathlib
import sys
import time

import psutil
from harness import progress, whole_platform

TASKS = 50
SECONDS = 60
MANIFEST = f"""\
name: bench
services:
  web:
    image: pilothouse/test:web
    stop_grace_period: 1s
    deploy:
      replicas: {TASKS}
    x-pilothouse:
      probes:
        startup: {{tcp: {{port: 80}}, interval: 1s}}
"""


def _processes(made):
    """Return the server's processes: those whose environment names its directory, beside containers."""
    server = psutil.Process(made.pid)
    return [server, *server.children(recursive=True)]


def _cpu_seconds(processes):
    return sum(p.cpu_times().user + p.cpu_times().system for p in processes)


def _memory_bytes(processes):
    """Proportional set size: shared pages counted once."""
    total = 0
    for process in processes:
        rollup = pathlib.Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        total += int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1]) * 1024
    return total


def main(seconds):
    """Deploy, settle, measure and print the figures."""
    with whole_platform() as (_, made):
        made.up(made.manifest(MANIFEST))
        progress("deployed; settling for 10 s")
        time.sleep(10)
        processes = _processes(made)
        before = _cpu_seconds(processes)
        begun = time.monotonic()
        time.sleep(seconds)
        used = (_cpu_seconds(processes) - before) / (time.monotonic() - begun)
        rss = sum(p.memory_info().rss for p in processes) / 2**20
        pss = _memory_bytes(processes) / 2**20
        made.command("down", "bench")
        print(f"{len(processes)} process(es), resident {rss:.0f} MiB, proportional {pss:.0f} MiB")
        print(f"idle with {TASKS} tasks: {rss:.0f} MiB resident, CPU {100 * used:.2f} % of a core")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else SECONDS)
