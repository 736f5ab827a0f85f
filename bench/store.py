"""Transactions per second of the SQLite store against raw SQLite with the same durability doing the same writes.

Each transaction reads one task, changes it and appends to the change log. Raw SQLite gets the very rows the store
would write, already encoded, and runs one transaction after the other, each synced: what a program gets that uses
SQLite directly. As a second peer it writes as many transactions in one commit as callers wait at the store. All three
take turns. The figure is the worst ratio to the first peer over all numbers of callers.
"""

import asyncio
import pathlib
import sqlite3
import statistics
import sys
import tempfile
import time

import msgspec
import uvloop

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "src"))

from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store import rows
from pilothouse.store.conformance import sample_task
from pilothouse.store.database import MIGRATIONS
from pilothouse.store.interface import Change, Commit
from pilothouse.store.sqlite import SQLiteStore

CALLERS = (1, 16, 64, 256)
ROUNDS = 15
SECONDS = 0.1
TASKS = 256
GOAL = 0.5


def main():
    measured = {callers: ([], [], []) for callers in CALLERS}
    with (
        tempfile.TemporaryDirectory(prefix="ph-bench-store-") as name,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        directory = pathlib.Path(name)
        raw, store = Raw(directory / "raw.db"), runner.run(filled(directory / "ours"))
        # Short turns, because other programs on the machine sync to the same disk.
        for _ in range(ROUNDS):
            for callers, (ours, single, grouped) in measured.items():
                single.append(raw.rate(1))
                ours.append(runner.run(rate(store, callers)))
                grouped.append(raw.rate(callers))
        runner.run(store.close())
        raw.close()
    ratios = []
    for callers, rates in measured.items():
        ours, single, grouped = (statistics.median(each) for each in rates)
        ratios.append(ours / single)
        print(
            f"{callers:4} callers: store {ours:7.0f}/s, raw {single:7.0f}/s ({ours / single:.2f}x), "
            f"raw with {callers} in one commit {grouped:7.0f}/s ({ours / grouped:.2f}x)"
        )
    print(f"store / raw SQLite, transactions per second, worst of {len(CALLERS)} (goal >= {GOAL}): {min(ratios):.2f}")


async def filled(directory):
    """Open a store with the tasks in it."""
    store = await SQLiteStore.open(directory)
    made = [sample_task(f"t{number}") for number in range(TASKS)]
    await store.update(Writer.ORCHESTRATOR, lambda tx: [tx.put(task) for task in made])
    return store


async def rate(store, callers):
    """Return the store's transactions per second with so many callers at once."""
    begun = time.perf_counter()
    counts = await asyncio.gather(*(call(store, f"t{number}", begun + SECONDS) for number in range(callers)))
    return sum(counts) / (time.perf_counter() - begun)


async def call(store, name, until):
    count = 0

    def change(tx):
        task = tx.get(Task, name)
        tx.put(msgspec.structs.replace(task, desired_reason=f"change number {task.version}"))

    while time.perf_counter() < until:
        await store.update(Writer.ORCHESTRATOR, change)
        count += 1
    return count


class Raw:
    """The same rows into the same tables with the same settings, by SQLite alone."""

    def __init__(self, path):
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        for statement in MIGRATIONS[0]:
            self._connection.execute(statement)
        self._revision = 0
        self._rows = []
        for number in range(TASKS):
            before = msgspec.structs.replace(sample_task(f"t{number}"), version=1)
            after = msgspec.structs.replace(before, version=2, desired_reason="change number 1")
            prepared = rows.prepare(Commit(2, 0.5, Writer.ORCHESTRATOR, (Change(before, after),)))
            self._rows.append((next(iter(prepared.written.values())), rows.commit_row(prepared, 0)))

    def rate(self, group):
        """Return transactions per second with *group* of them in one commit."""
        run, count, begun = self._connection.execute, 0, time.perf_counter()
        while (spent := time.perf_counter() - begun) < SECONDS:
            run("BEGIN IMMEDIATE")
            for number in range(group):
                obj, commit = self._rows[(count + number) % TASKS]
                run("SELECT version FROM objects WHERE kind = ? AND id = ?", obj[:2]).fetchone()
                run(
                    "INSERT INTO objects VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE"
                    " SET version = excluded.version, body = excluded.body, hash = excluded.hash",
                    obj,
                )
                self._revision += 1
                run("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?)", (self._revision, *commit[1:]))
            run("COMMIT")
            count += group
        return count / spent

    def close(self):
        self._connection.close()


if __name__ == "__main__":
    main()
