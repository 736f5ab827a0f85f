"""How long after the end of a lease the guard has killed what is fenced, with the engine answering and with it stopped.

Each round makes containers, registers them with a real guard, lets the lease run out, and watches the control groups
every 2 ms. The last line is the longest time of all rounds; it may be 4 s at most.
"""

import asyncio
import os
import pathlib
import shutil
import signal
import tempfile
import time

from harness import median, private_engine, progress
from tests.engine import BASE

from pilothouse.agent.guard import guard
from pilothouse.agent.guard.keeper import Keeper
from pilothouse.agent.guard.register import Register
from pilothouse.agent.lease import Term
from pilothouse.clock import SystemClock

ROUNDS = 15
CONTAINERS = 10
SCRIPT = "for i in 1 2 3 4; do (trap '' TERM INT; while :; do sleep 1; done) & done; wait"
LEASE_SECONDS = 2.0


def _container(host):
    body = {"Image": BASE, "Cmd": ["sh", "-c", SCRIPT], "HostConfig": {"NetworkMode": "none"}}
    made = host.request("POST", "/containers/create", body)[1]["Id"]
    host.request("POST", f"/containers/{made}/start")
    return made


def _round(host, register, term, count, stopped):
    them = [_container(host) for _ in range(count)]
    roots = guard.hierarchies(pathlib.Path("/proc/self/mounts").read_text())
    groups = [path for where in guard.groups(roots, them).values() for path, _ in where]
    # As in life the guard knows the end before it comes; a lease is never shortened.
    end = time.clock_gettime(time.CLOCK_BOOTTIME) + LEASE_SECONDS
    register.keep(Term(number=term, until=end))
    for number, made in enumerate(them):
        register.enter(f"t{term:05}x{number}", made, term)
    if stopped:
        os.kill(host.pid, signal.SIGSTOP)
    try:
        while any(guard.began(pid) for group in groups for pid in guard.members(group)):
            time.sleep(0.002)
        return time.clock_gettime(time.CLOCK_BOOTTIME) - end
    finally:
        if stopped:
            os.kill(host.pid, signal.SIGCONT)
        for number, made in enumerate(them):
            register.leave(f"t{term:05}x{number}")
            host.request("DELETE", f"/containers/{made}?force=1&v=1")


def main():
    """Run the rounds and print the figures."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ph-fence-"))
    worst = []
    try:
        with private_engine() as host:
            register = Register(directory)
            keeper = Keeper(register, SystemClock())
            asyncio.run(keeper.ensure())
            term = 0
            cases = (
                ("one container", 1, False),
                (f"{CONTAINERS} containers", CONTAINERS, False),
                ("engine stopped", 1, True),
            )
            for name, count, stopped in cases:
                found = []
                for _ in range(ROUNDS):
                    term += 1
                    found.append(_round(host, register, term, count, stopped))
                progress(f"{name}: done")
                print(f"{name}: median {1000 * median(found):.0f} ms, worst {1000 * max(found):.0f} ms")
                worst.append(max(found))
            pid = keeper.find().pid
            rss = next(line for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line)
            print(f"the guard's memory: {int(rss.split()[1]) / 1024:.1f} MiB")
            os.kill(pid, signal.SIGKILL)
    finally:
        shutil.rmtree(directory)
    print(f"fence: everything dead after the lease, worst of {ROUNDS * 3} rounds: {1000 * max(worst):.0f} ms")


if __name__ == "__main__":
    main()
