"""`pilothouse ps` as a whole process, start to end, on a warm server with an app of ten tasks; median of 20."""

import pathlib
import subprocess
import sys
import time

from harness import median, progress, whole_platform

RUNS = 20
MANIFEST = """\
name: bench
services:
  web:
    image: pilothouse/test:web
    stop_grace_period: 1s
    deploy: {replicas: 10}
"""
PROGRAM = pathlib.Path(sys.executable).with_name("pilothouse")


def _milliseconds(made, *command):
    begun = time.perf_counter()
    subprocess.run(command, check=True, env=made.environment, cwd=made.directory, stdout=subprocess.DEVNULL)
    return 1000 * (time.perf_counter() - begun)


def main(runs):
    """Deploy, warm up, measure and print the figures."""
    program = [str(PROGRAM)] if PROGRAM.exists() else [sys.executable, "-m", "pilothouse"]
    with whole_platform() as (_, made):
        path = made.manifest(MANIFEST)
        made.up(path)
        path.unlink()
        progress("deployed")
        commands = {"python alone": [sys.executable, "-c", "pass"], "ps": [*program, "ps"]}
        commands["ps --json"] = [*program, "ps", "--json"]
        found = {name: [] for name in commands}
        for number in range(runs + 1):
            for name, command in commands.items():
                took = _milliseconds(made, *command)
                if number:  # the first of each warms up
                    found[name].append(took)
        made.command("down", "bench")
        for name, values in found.items():
            print(f"{name}: median {median(values):.0f} ms, best {min(values):.0f} ms, worst {max(values):.0f} ms")
        print(f"pilothouse ps, whole process, median of {runs}: {median(found['ps']):.0f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else RUNS)
