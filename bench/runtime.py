"""The driver's verbs against the same raw calls of the engine's API, interleaved, on a private engine.

Usage: bench/runtime.py [ROUNDS] [CONTAINERS]. The last line ends with the ratio for ROUNDS rounds of CONTAINERS
containers brought up at once: driver to raw calls at the engine's best concurrency, medians.
"""

import asyncio
import json
import pathlib
import statistics
import sys
import time

import aiohttp

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from tests.engine import private_docker

from pilothouse.agent.runtime.docker.body import create_body
from pilothouse.agent.runtime.docker.dialect import dialect_of
from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.agent.runtime.specimens import plan
from pilothouse.clock import SystemClock
from pilothouse.ids import SystemIds

BEST_CONCURRENCY = 4


class Raw:
    """The calls themselves, as short as they can be."""

    def __init__(self, socket, dialect):
        self.session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket, limit=0))
        self.dialect = dialect
        self.width = asyncio.Semaphore(BEST_CONCURRENCY)

    async def call(self, method, path, body=None):
        url = f"http://engine{self.dialect.prefix}{path}"
        async with self.session.request(method, url, json=body) as answer:
            assert answer.status < 400, await answer.text()
            return await answer.read()

    async def prepare(self, wanted):
        await self.call("POST", f"/containers/create?name={wanted.name}", create_body(wanted, self.dialect))

    async def start(self, name):
        await self.call("POST", f"/containers/{name}/start")

    async def inspect(self, name):
        json.loads(await self.call("GET", f"/containers/{name}/json"))

    async def stop(self, name, grace):
        await self.call("POST", f"/containers/{name}/stop?t={grace:.0f}")

    async def remove(self, name):
        await self.call("DELETE", f"/containers/{name}?force=1&v=1")

    async def bring_up(self, wanted):
        async with self.width:
            await self.prepare(wanted)
            await self.start(wanted.name)


async def timed(awaitable):
    began = time.perf_counter()
    await awaitable
    return (time.perf_counter() - began) * 1000


async def life(engine, wanted, times):
    for verb, awaitable in (
        ("prepare", lambda: engine.prepare(wanted)),
        ("start", lambda: engine.start(wanted.name)),
        ("inspect", lambda: engine.inspect(wanted.name)),
        ("stop", lambda: engine.stop(wanted.name, 10)),
        ("remove", lambda: engine.remove(wanted.name)),
    ):
        times.setdefault(verb, []).append(await timed(awaitable()))


async def all_at_once(bring_up, plans):
    async with asyncio.TaskGroup() as group:
        for each in plans:
            group.create_task(bring_up(each))


async def measure(host, rounds, count):
    driver = DockerEngine(host.url, SystemClock(), SystemIds())
    image = (await driver.find_image("pilothouse/test:sleeper"))[0]
    raw = Raw(str(host.socket), dialect_of(host.request("GET", "/version")[1]))

    async def bring_up(wanted):
        await driver.prepare(wanted)
        await driver.start(wanted.name)

    times = {"driver": {}, "raw": {}}
    many = {"driver": [], "raw": []}
    plans = [plan(f"many-{number}", image) for number in range(count)]
    for number in range(rounds):
        for name, engine in (("driver", driver), ("raw", raw)) if number % 2 else (("raw", raw), ("driver", driver)):
            await life(engine, plan(f"one-{number}", image), times[name])
            many[name].append(await timed(all_at_once(bring_up if engine is driver else raw.bring_up, plans)))
            await all_at_once(lambda wanted: raw.remove(wanted.name), plans)
    await driver.close()
    await raw.session.close()
    for verb in times["raw"]:
        ours, theirs = (statistics.median(times[name][verb]) for name in ("driver", "raw"))
        print(f"{verb:8} driver {ours:7.1f} ms   raw {theirs:7.1f} ms   ratio {ours / theirs:.2f}")
    ours, theirs = (statistics.median(many[name]) for name in ("driver", "raw"))
    print(f"{count} at once: driver {ours:.0f} ms, raw {theirs:.0f} ms, ratio {ours / theirs:.2f}")


def main():
    rounds, count = (int(arg) for arg in (*sys.argv[1:], "7", "20")[:2])
    with private_docker() as host:
        asyncio.run(measure(host, rounds, count))


if __name__ == "__main__":
    main()
