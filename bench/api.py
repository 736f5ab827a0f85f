"""Requests a second that one server process answers: reads of one object, and durable writes, both authenticated.

    bench/api.py [SECONDS]

A manager with SQLite in one process, the callers in another, over a Unix socket where the kernel says who calls. A read
is `GET /v1/inspect/grant/ID`; a write is `POST /v1/grants`, which is checked, put on record and durable when it is
answered. Each caller has one request under way.
"""

import asyncio
import contextlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import psutil
import uvloop
from scale import call, free_port, make_cluster, progress, start_manager

READERS, WRITERS = 32, 128
GOALS = {"reads": 8_000, "writes": 3_000}


class Caller(asyncio.Protocol):
    """Asks again as soon as it was answered; counts answers with status 2xx and everything else."""

    def __init__(self, request, seconds):
        self._request = request
        self.seconds = seconds
        self.good = self.bad = 0
        self._held = b""
        self._begun = 0.0

    def connection_made(self, transport):
        self._transport = transport
        self._ask()

    def data_received(self, data):
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))[15:])
        if len(body) < length:
            return
        self._held = b""
        self.seconds.append(time.monotonic() - self._begun)
        self.good += head[9:10] == b"2"
        self.bad += head[9:10] != b"2"
        self._ask()

    def _ask(self):
        self._begun = time.monotonic()
        self._transport.write(self._request)


async def load(api, callers, request, seconds):
    """Return how many good and bad answers came in a second, and the 99th percentile in milliseconds."""
    loop, times = asyncio.get_running_loop(), []
    made = [(await loop.create_unix_connection(lambda: Caller(request, times), api))[1] for _ in range(callers)]
    await asyncio.sleep(0.5)
    before, begun = sum(each.good for each in made), time.monotonic()
    times.clear()
    await asyncio.sleep(seconds)
    good = sum(each.good for each in made) - before
    passed = time.monotonic() - begun
    times.sort()
    print(json.dumps([good / passed, sum(each.bad for each in made), 1000 * times[int(0.99 * (len(times) - 1))]]))


def measure(process, api, callers, request, seconds):
    """Run the callers in a process of their own; return answers a second of wall-clock and of the server's CPU time."""
    before = sum(process.cpu_times()[:2]), time.monotonic()
    command = [sys.executable, __file__, "--load", str(api), str(callers), request.hex(), str(seconds)]
    rate, bad, p99 = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    share = (sum(process.cpu_times()[:2]) - before[0]) / (time.monotonic() - before[1])
    if bad:
        raise RuntimeError(f"{bad} requests were refused")
    # The share counts the start of the callers' process as well, in which nothing is asked.
    busy = min(1.0, share * (time.monotonic() - before[1]) / (seconds + 0.5))
    return rate, rate / busy, p99


def http(method, target, body=None):
    """Return a whole request."""
    content = b"" if body is None else json.dumps(body).encode()
    length = f"Content-Length: {len(content)}\r\n" if content else ""
    return f"{method} {target} HTTP/1.1\r\nHost: bench\r\n{length}\r\n".encode() + content


def main(seconds):
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ph-api-")))
        make_cluster(directory, 0)
        manager = start_manager(directory, free_port())
        stack.callback(lambda: (manager.kill(), manager.wait()))
        api = directory / "api.sock"
        grant = {"app": "shop", "kind": "cap-add", "value": "NET_ADMIN", "reason": "bench"}
        made = call(api, "POST", "/v1/grants", grant)
        process = psutil.Process(manager.pid)
        get = http("GET", f"/v1/inspect/grant/{made['id']}")
        reads, reads_cpu, read_p99 = measure(process, api, READERS, get, seconds)
        progress(f"{reads:.0f} reads/s, {reads_cpu:.0f} a second of its processor time, p99 {read_p99:.1f} ms")
        post = http("POST", "/v1/grants", grant)
        writes, writes_cpu, write_p99 = measure(process, api, WRITERS, post, seconds)
        progress(f"{writes:.0f} writes/s, {writes_cpu:.0f} a second of its processor time, p99 {write_p99:.1f} ms")
    print(
        f"one process: {reads:.0f} authenticated reads of one object a second (goal {GOALS['reads']}) and "
        f"{writes:.0f} durable writes (goal {GOALS['writes']}); for each second of its own processor time, whatever "
        f"else the machine does, {reads_cpu:.0f} and {writes_cpu:.0f}"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(load(sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4]), float(sys.argv[5])))
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0)
