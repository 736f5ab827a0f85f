"""The backends under test, each made empty, with few commits kept so that forgetting can be tested."""

import pathlib
import shutil
import tempfile

from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SQLiteStore

KEPT = 50


async def memory():
    return MemoryStore(keep=KEPT)


async def sqlite():
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ph-store-"))
    store = await SQLiteStore.open(directory, keep=KEPT)
    close = store.close

    async def close_and_remove():
        await close()
        shutil.rmtree(directory, ignore_errors=True)

    store.close = close_and_remove
    return store


BACKENDS = [memory, sqlite]
