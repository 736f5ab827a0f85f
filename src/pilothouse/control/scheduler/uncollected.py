"""Keeps the collector of cycles away while many values are made of which none can be part of a cycle.

It starts by how many containers were made, and then looks at everything the process holds: in a manager with many
tasks that takes longer than placing a batch. What is made meanwhile it looks at once afterwards.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector away until the end of the block, which neither waits nor takes long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
