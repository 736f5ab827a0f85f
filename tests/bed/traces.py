"""What a host has on it, as sentences, so that what one moment has more than another can be named."""

import collections
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile

from tests.engine import until

_VOLATILE = re.compile(r"\s*counter packets \d+ bytes \d+| # handle \d+")
_PASSING = ("nft ", "ip ", "runc ", "nsenter ")
"""What only looks, and the engine's tool for a moment's work."""
_GUARD = "/agent/guard/guard.py "
"""One guard of a host stays, once it had a task to guard, whatever becomes of its agent; a second one should not be."""
_PATIENCE_SECONDS = 30.0
"""So long the platform may take to clear up what a crash left."""


def traces(host):
    """Return how often each trace is on *host*; a host without power has none."""
    if not host.on:
        return collections.Counter()
    found = [*host.inventory(), *_interfaces(host), *_rules(host), *_mounts(host), *_groups(host), *_files(host)]
    found += [f"process {line}" for line in host.processes().values() if line and not line.startswith(_PASSING)]
    guards = [each for each in found if _GUARD in each]
    return collections.Counter(found) - collections.Counter(guards[:1])


@contextlib.contextmanager
def nothing_left(hosts, seconds=_PATIENCE_SECONDS):
    """Fail if, *seconds* after the end, a host has a trace that it did not have before."""
    before = {host: traces(host) for host in hosts}
    yield
    left = {}

    def clean():
        left.update({host.name: sorted((traces(host) - before[host]).elements()) for host in hosts})
        return not any(left.values())

    with contextlib.suppress(AssertionError):
        until(clean, "nothing is left", seconds, 0.25)
    assert not any(left.values()), left


def _interfaces(host):
    shown = subprocess.run(host.enter("ip", "-brief", "link"), capture_output=True, text=True, check=True)
    return [f"interface {line.split()[0].partition('@')[0]}" for line in shown.stdout.splitlines()]


def _rules(host):
    shown = subprocess.run(host.enter("nft", "--stateless", "list", "ruleset"),
                           capture_output=True, text=True, check=True)  # fmt: skip
    chain, found = "", []
    for line in shown.stdout.splitlines():
        words = _VOLATILE.sub("", line).strip()
        if words.endswith("{"):
            chain = words.removesuffix("{").strip()
        if words and words != "}":
            found.append(f"rule in {chain}: {words}")
    return found


def _mounts(host):
    """Return what is mounted on the host, but not what tests beside this one had when it was switched on."""
    others = f"{tempfile.gettempdir()}/"
    lines = pathlib.Path(f"/proc/{host.init}/mounts").read_text().splitlines()
    return [f"mount {place}" for line in lines if not (place := line.split(" ")[1]).startswith(others)]


def _groups(host):
    root = pathlib.Path("/sys/fs/cgroup")
    tops = [p / host.cgroup for p in (root, *root.iterdir())]
    return [f"cgroup {each}" for top in tops for each, _, _ in os.walk(top) if pathlib.Path(each) != top]


def _files(host):
    """Return the files of secrets and configs, and those that tell a proxy of a port."""
    run = host.directory / "run" / "pilothouse"
    kinds = ("files/**/*", "proxy/*.json", "proxy/config/[er]ds-*")
    return [f"file {path.relative_to(run)}" for kind in kinds for path in run.glob(kind)]
