"""What the crash tests run in a process of its own: one word says what, then come paths and numbers."""

import asyncio
import os
import pathlib
import sys

import msgspec

from pilothouse.errors import PilothouseError
from pilothouse.store import backup, crashes, database, writer
from pilothouse.store.sqlite import SQLiteStore

MIGRATION = ("ALTER TABLE commits ADD COLUMN note TEXT NOT NULL DEFAULT ''", "ALTER TABLE commits DROP COLUMN note")


def say(what):
    os.write(1, msgspec.json.encode(what) + b"\n")


async def work(directory, rounds, checkpoint_bytes):
    """Write, with a checkpoint after about so many bytes, and end in order."""
    writer.CHECKPOINT_BYTES = int(checkpoint_bytes)
    store = await SQLiteStore.open(pathlib.Path(directory))
    for number in range(int(rounds)):
        await crashes.work(store, say, [f"{number}{letter}" for letter in "abc"])
    await store.close()


async def insist(directory, rounds, filler=""):
    """Write one pair after the other whatever happens, and say what was refused and whether reading went on."""
    store = await SQLiteStore.open(pathlib.Path(directory))
    for number in range(int(rounds)):
        if filler and number == int(rounds) // 2:
            os.unlink(filler)
        try:
            await crashes.work(store, say, [f"pair{number}"])
        except PilothouseError as error:
            say(error.code)
            await store.view(lambda tx: tx.revision)
    await store.close()


async def restore(file, directory):
    backup.restore(pathlib.Path(file), pathlib.Path(directory), overwrite=True)


async def migrate(directory):
    database.MIGRATIONS.append(MIGRATION)
    await (await SQLiteStore.open(pathlib.Path(directory))).close()


if __name__ == "__main__":
    asyncio.run({"work": work, "insist": insist, "restore": restore, "migrate": migrate}[sys.argv[1]](*sys.argv[2:]))
