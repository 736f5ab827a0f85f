"""Run a process's loops together: one dies, all end, loudly.

A manager that goes on without its scheduler looks healthy and is not. So loops live in one TaskGroup, and the first
one to raise or to return early ends the term for all of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from pilothouse.errors import ProgrammingError
from pilothouse.log import event

Loop = Callable[[], Awaitable[None]]


async def run_term(loops: Mapping[str, Loop]) -> None:
    """Run every loop until one ends or the caller cancels.

    Raises:
        ExceptionGroup: What the loop that died raised; a loop that merely returned raises ProgrammingError.
    """
    async with asyncio.TaskGroup() as group:
        for name, loop in loops.items():
            group.create_task(_watched(name, loop), name=name)


async def _watched(name: str, loop: Loop) -> None:
    try:
        await loop()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        event("error", "loop.died", loop=name, error=repr(error))
        raise
    raise ProgrammingError(f"the loop {name} returned; loops end only by being cancelled")
