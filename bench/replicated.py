"""Transactions and reads per second of the replicated store: three members on this machine, one manager or three.

Each transaction changes one task; each read is of one task and has everything that was acknowledged before it. With
three managers, each has a third of the callers, so they race for every commit. The figure is the commits per second of
one manager with 256 callers.
"""

import argparse
import asyncio
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "src"))
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from msgspec.structs import replace
from tests.store.cluster import Cluster

from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store.conformance import sample_task

CALLERS = (1, 16, 64, 256)


async def rate(stores, callers, seconds, work):
    """Return how often *work* was done a second by so many callers."""
    done, end = 0, time.monotonic() + seconds

    async def call(number):
        nonlocal done
        while time.monotonic() < end:
            await work(stores[number % len(stores)], f"t{number:03}")
            done += 1

    await asyncio.gather(*(call(number) for number in range(callers)))
    return done / seconds


async def commit(store, name):
    def change(tx):
        task = tx.get(Task, name)
        tx.put(replace(task, desired_reason=str(tx.revision)))

    await store.update(Writer.ORCHESTRATOR, change)


async def read(store, name):
    await store.view(lambda tx: tx.get(Task, name))


async def main(seconds):
    cluster = Cluster(3)
    try:
        await cluster.start()
        stores = [await cluster.store(order=order) for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1))]
        names = [f"t{number:03}" for number in range(max(CALLERS))]
        await stores[0].update(Writer.ORCHESTRATOR, lambda tx: [tx.put(sample_task(name)) for name in names])
        best = 0.0
        for callers in CALLERS:
            alone = await rate(stores[:1], callers, seconds, commit)
            racing = await rate(stores, callers, seconds, commit)
            reading = await rate(stores[:1], callers, seconds, read)
            print(
                f"{callers:4} callers: {alone:7.0f} commits/s, three managers {racing:7.0f}/s, {reading:7.0f} reads/s"
            )
            best = alone
        for store in stores:
            await store.close()
    finally:
        await cluster.close()
    print(f"commits/s of one manager with {CALLERS[-1]} callers: {best:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    asyncio.run(main(parser.parse_args().seconds))
