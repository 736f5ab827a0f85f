"""What the benches share: a private engine, a platform on it, and the engine driven directly as the peer.

Not a bench itself. Every bench runs as `.venv/bin/python bench/NAME.py`, needs root, and leaves nothing behind.
"""

import concurrent.futures
import contextlib
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tests import engine as engines
from tests.platform import Platform, platform

__all__ = ["CONCURRENCY", "Direct", "Platform", "median", "private_engine", "progress", "whole_platform"]

# The engine's best rate on two cores is reached with four requests at once; more gains nothing.
CONCURRENCY = 4


@contextlib.contextmanager
def private_engine():
    """Have a private Docker Engine with the test images."""
    with engines.private_docker() as host:
        yield host


@contextlib.contextmanager
def whole_platform():
    """Have a private engine and a platform on it."""
    with private_engine() as host, platform(host) as made:
        yield host, made


def median(values):
    """Return the median of *values*."""
    return statistics.median(values)


def progress(text):
    """Say where the bench is, on standard error, so that the figure stays last on standard output."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Direct:
    """The same containers through the engine's API and nothing else."""

    def __init__(self, host):
        self._host = host

    def run(self, count, body, network):
        """Create and start *count* containers on a new network, four at a time; return seconds until all run."""
        begun = time.monotonic()
        self._call("POST", "/networks/create", {"Name": network})
        with concurrent.futures.ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(lambda n: self._one(f"{network}-{n}", body, network), range(count)))
        return time.monotonic() - begun

    def wait_healthy(self, count, network):
        """Return when *count* containers of *network* are healthy as the engine sees it."""
        query = f'/containers/json?filters={{"name":["{network}-"],"health":["healthy"]}}'.replace('"', "%22")
        engines.until(lambda: len(self._host.request("GET", query)[1]) == count, "all healthy", 120)

    def clear(self, count, network):
        """Remove what `run` made."""
        with concurrent.futures.ThreadPoolExecutor(CONCURRENCY) as pool:
            list(pool.map(lambda n: self._call("DELETE", f"/containers/{network}-{n}?force=1&v=1"), range(count)))
        self._call("DELETE", f"/networks/{network}")

    def _one(self, name, body, network):
        whole = {**body, "HostConfig": {**body.get("HostConfig", {}), "NetworkMode": network}}
        self._call("POST", f"/containers/create?name={name}", whole)
        self._call("POST", f"/containers/{name}/start")

    def _call(self, method, path, body=None):
        status, answer = self._host.request(method, path, body)
        if status >= 400:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer
