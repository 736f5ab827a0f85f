"""`scripts/demo --hosts N`: several hosts on this machine, one app over them, one host killed, everything healed."""

# ruff: noqa: T201 - writing is what it is for

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from tests.bed import bed
from tests.bed.cluster import Cluster
from tests.bed.losing import replaced, settled, whose_ledger
from tests.bed.shop import MANIFEST, containers
from tests.bed.witness import Witness
from tests.engine import until


def main(arguments):
    """Show it, or with "--down" take away what a demonstration left that was killed."""
    if arguments == ["--down"]:
        clear()
        say("Gone: what an interrupted demonstration had left.")
        return
    show(int(arguments[0]))


def say(text):
    """Write a heading."""
    print(f"\n\033[1m{text}\033[0m", flush=True)


def shell(host, *arguments, lines=100):
    """Show a `pilothouse` command and the first lines of what it writes."""
    print(f"{host.name}$ pilothouse {' '.join(map(str, arguments))}", flush=True)
    done = host.pilothouse(*arguments, check=False)
    print("\n".join((done.stdout + done.stderr).splitlines()[:lines]), flush=True)


def show(count):
    """Show it with *count* hosts."""
    say(f"1. {count} hosts on this machine, each with its own network, processes, places and container engine")
    begun = time.monotonic()
    with bed(count) as ground:
        cluster = Cluster(ground.hosts)
        for host in ground.hosts:
            print(f"{host.name}: {host.address}, {len(host.processes())} processes")
        print(f"({time.monotonic() - begun:.1f} s)")
        _cluster(cluster)
        with Witness(cluster.hosts) as witness:
            lost = _app(cluster, witness)
            _lose(cluster, witness, lost)
            _heal(cluster, lost)
            ran = len(witness.copies("shop/ledger"))
            overlap = witness.overlap("shop/ledger")
        say("6. What was seen from outside, ten times a second")
        print(f"{ran} copies of the ledger ran, one after the other; two at once: {'never' if overlap <= 0 else 'yes'}")
        _stay(cluster)
        cluster.down("shop")
    say("Gone: the app, the hosts, everything they had.")


def _cluster(cluster):
    say("2. The first host becomes a manager, the others join with a token each")
    begun = time.monotonic()
    cluster.begin()
    print(f"({time.monotonic() - begun:.1f} s)")
    shell(cluster.manager, "node", "ls")


def _app(cluster, witness):
    say("3. One Compose file over all of them: six tasks of web, and a ledger that must never run twice")
    cluster.manager.file("compose.yaml", MANIFEST)
    shell(cluster.manager, "up", "-f", "compose.yaml")
    settled(cluster, witness)
    shell(cluster.manager, "ps", "shop")
    return whose_ledger(cluster)


def _lose(cluster, witness, lost):
    say(f"4. {lost.name}, which has the ledger, loses its power: every process ends at one instant")
    loss = replaced(witness, lost, lost.power_cut)
    print(f"{loss.web:.1f} s after, six tasks of web run on the other hosts")
    print(f"{loss.ledger:.1f} s after, the ledger does; not before the lost host must have ended its own")
    shell(cluster.manager, "node", "ls")
    shell(cluster.manager, "ps", "shop")
    shell(cluster.manager, "explain", "shop/ledger.1", lines=3)


def _heal(cluster, lost):
    say(f"5. {lost.name} has power again: nothing of before is started there, and the cluster knows it again")
    lost.boot()
    cluster.start_agent(lost)
    until(lambda: cluster.nodes()[lost.name].get("state", "ready") == "ready", f"{lost.name} is back", 60.0, 0.1)
    cluster.wait_converged("shop")
    shell(cluster.manager, "node", "ls")
    print(f"containers on {lost.name}: {len(containers(lost)) or 'none'}")


def _stay(cluster):
    """Let a person at a terminal look around."""
    if not sys.stdin.isatty():
        return
    say("Look around, in another terminal, as root:")
    source = cluster.manager.environment["PYTHONPATH"]
    launcher = f'#!/bin/sh\nPYTHONPATH={source} exec {sys.executable} -m pilothouse "$@"\n'
    cluster.manager.run(
        "sh", "-c", "cat >/usr/local/bin/pilothouse; chmod 755 /usr/local/bin/pilothouse", given=launcher
    )
    print(f"  nsenter --target {cluster.manager.init} --net --uts --ipc --pid --mount -- pilothouse ps")
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        input("Enter takes everything away. ")


def clear():
    """Remove directories and control groups of hosts whose demonstration was killed; their processes died with it."""
    for directory in pathlib.Path(tempfile.gettempdir()).glob("ph-host-*"):
        group = f"ph-{directory.name}"
        if _lives(directory):
            continue
        for top in pathlib.Path("/sys/fs/cgroup").glob(f"*/{group}"):
            for each in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                each.rmdir()
            top.rmdir()
        shutil.rmtree(directory)


def _lives(directory):
    """Whether a process still uses *directory*: it belongs to hosts that are in use, by a test for example."""
    found = subprocess.run(["pgrep", "-f", str(directory)], capture_output=True, text=True).stdout.split()
    return bool([pid for pid in found if int(pid) != os.getpid()])


if __name__ == "__main__":
    main(sys.argv[1:])
