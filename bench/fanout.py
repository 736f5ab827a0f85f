"""How soon an event reaches 1,000 watchers of /v1/events/watch, each with a connection of its own.

    bench/fanout.py [WATCHERS] [EVENTS]

A manager with SQLite in one process, all watchers in another. Five grants a second are made; each is an event. The time
runs from the stamp of the commit, before it is durable, to the arrival at a watcher. The figure is the 99th percentile
over all arrivals.
"""

import asyncio
import contextlib
import json
import pathlib
import re
import sys
import tempfile
import time

import uvloop
from scale import call, free_port, make_cluster, progress, start_manager

GOAL_MS = 50.0
_AT = re.compile(rb'"at":([0-9.]+)')


class Watcher(asyncio.Protocol):
    """One connection that reads events and keeps how old each was."""

    def __init__(self, ages):
        self._ages = ages
        self.connected = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        transport.write(b"GET /v1/events/watch HTTP/1.1\r\nHost: bench\r\n\r\n")

    def data_received(self, data):
        now = time.time()
        if not self.connected.done():
            self.connected.set_result(None)
        self._ages.extend(now - float(at) for at in _AT.findall(data))


async def watch(api, watchers):
    """Connect, say so, read until standard input ends, and print how old events were on arrival."""
    loop, ages = asyncio.get_running_loop(), []
    for _ in range(watchers):
        _transport, watcher = await loop.create_unix_connection(lambda: Watcher(ages), api)
        await watcher.connected
    print("connected", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(ages), flush=True)


async def main(watchers, events, api):
    """Run the watchers beside this process, make events, and print the figure."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--watch", str(api), str(watchers),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 30,
    )  # fmt: skip
    await child.stdout.readline()
    progress(f"{watchers} watchers are connected")
    for number in range(events):
        grant = {"app": "shop", "kind": "cap-add", "value": "NET_ADMIN", "reason": f"bench {number}"}
        await asyncio.to_thread(call, api, "POST", "/v1/grants", grant)
        await asyncio.sleep(0.2)
    await asyncio.sleep(1)
    told, _ = await child.communicate(b"")
    return sorted(1000 * age for age in json.loads(told))


def run(watchers, events):
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ph-fanout-")))
        make_cluster(directory, 0)
        manager = start_manager(directory, free_port())
        stack.callback(lambda: (manager.kill(), manager.wait()))
        ages = asyncio.run(main(watchers, events, directory / "api.sock"))
    missing = watchers * events - len(ages)
    median, p99 = ages[len(ages) // 2], ages[int(0.99 * (len(ages) - 1))]
    print(
        f"{events} events to {watchers} watchers, {missing} missing: median {median:.1f} ms, worst {ages[-1]:.1f} ms, "
        f"99th percentile {p99:.1f} ms (goal {GOAL_MS:.0f})"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(watch(sys.argv[2], int(sys.argv[3])))
    else:
        given = [int(each) for each in sys.argv[1:]]
        run(given[0] if given else 1000, given[1] if len(given) > 1 else 50)
