"""The contract of a proxy driver as a suite that runs on the fake and on the real proxy alike.

A test calls `check_ingress(make)`, or each of `CHECKS` by itself. What a check needs of the world beside the driver,
programs to reach and somebody who calls, are `Surroundings`; each test brings those that fit its proxy.
"""

# ruff: noqa: D103 - the name of a check is its sentence

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from pilothouse.agent.proxy.interface import Backend, Door, Ingress
from pilothouse.errors import DriverError, PermanentError, TemporaryError
from pilothouse.model.base import Value
from pilothouse.model.objects import PortBinding
from pilothouse.model.wire import Split

SERVICE = "check/web"
DEADLINE_SECONDS = 20.0
NOBODY = ""


class Place(Value, frozen=True):
    """Where a program answers."""

    address: str
    port: int


class Surroundings(Protocol):
    """What is around a proxy: programs behind it, and callers before it."""

    def driver(self) -> Ingress:
        """Return a new driver for the one proxy, as a new agent would have it."""
        ...

    def free_port(self) -> int:
        """Return a host port that nobody has."""
        ...

    async def program(self, name: str) -> Place:
        """Have a program run that answers each HTTP request with *name*, until the check ends."""
        ...

    async def ask(self, port: int) -> str:
        """Send one HTTP request to a host port and return the name of the program that answered.

        Returns:
            `NOBODY` if the proxy answered by itself that there is nobody.

        Raises:
            ConnectionError: The port is not listened on.
        """
        ...

    def busy(self, port: int, name: str) -> AbstractAsyncContextManager[None]:
        """Have one request to the program *name*, the only one behind the port, go on until the context is left."""
        ...

    def taken(self, port: int) -> AbstractAsyncContextManager[str]:
        """Have another program listen on a host port; yields what the program is called."""
        ...


def backend(task_id: str, port: int, place: Place | None = None, door: Door = Door.CLOSED, **more: str) -> Backend:
    """Return a backend of the service "check/web" on host port *port*."""
    return Backend(
        task_id=task_id,
        service_id=more.get("service_id", SERVICE),
        fingerprint=more.get("fingerprint", "one"),
        port=PortBinding(target=place.port if place else 80, host_port=port, ingress=True),
        address=place.address if place else "",
        app_protocol="http",
        door=door,
    )


@asynccontextmanager
async def running(around: Surroundings) -> AsyncIterator[Ingress]:
    """Run a driver; what it served goes on being served afterwards."""
    ingress = around.driver()
    async with asyncio.TaskGroup() as group:
        runs = group.create_task(ingress.run(), name="ingress")
        # A driver may be asked as soon as it runs.
        await asyncio.sleep(0)
        try:
            yield ingress
        finally:
            runs.cancel()


async def claimed(ingress: Ingress, port: int, service_id: str = SERVICE) -> None:
    """Claim a port as a worker does: again while the error is temporary."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                await ingress.claim([PortBinding(target=80, host_port=port, ingress=True)], service_id)
            except TemporaryError:
                await asyncio.sleep(0.02)
            else:
                return


async def until(what: Callable[[], Awaitable[bool]], said: str) -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await what():  # noqa: ASYNC110 - what is waited for is outside of this process
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"never so: {said}") from None


async def answers(around: Surroundings, port: int, *names: str) -> None:
    """Wait until exactly *names* answer on a port; () means that it is not listened on."""

    async def so() -> bool:
        return await _heard(around, port, 4 * len(names) or 1) == set(names)

    await until(so, f"port {port} is answered by {sorted(names)}")


async def _heard(around: Surroundings, port: int, times: int) -> set[str]:
    try:
        return {await around.ask(port) for _ in range(times)}
    except ConnectionError:
        return set()


async def refused(attempt: Awaitable[object], kind: type[DriverError]) -> str:
    """Expect *attempt* to raise *kind*; return its message."""
    try:
        await attempt
    except kind as error:
        if str(error):
            return str(error)
    raise AssertionError(f"{kind.__name__} with a message was not raised")


async def a_claimed_port_is_listened_on_before_anybody_is_there(around: Surroundings) -> None:
    port = around.free_port()
    async with running(around) as ingress:
        ingress.settle(["a"])
        ingress.put("a", [backend("a", port)])
        await claimed(ingress, port)
        assert await around.ask(port) == NOBODY


async def a_task_answers_while_its_door_is_open(around: Surroundings) -> None:
    port, place = around.free_port(), await around.program("a")
    async with running(around) as ingress:
        ingress.settle(["a"])
        ingress.put("a", [backend("a", port, place)])
        await claimed(ingress, port)
        await answers(around, port, NOBODY)
        ingress.put("a", [backend("a", port, place, Door.OPEN)])
        await answers(around, port, "a")
        ingress.put("a", [backend("a", port, place)])
        await answers(around, port, NOBODY)
        ingress.put("a", [])
        await answers(around, port)


async def tasks_of_a_service_share_its_port(around: Surroundings) -> None:
    port = around.free_port()
    places = {name: await around.program(name) for name in ("a", "b")}
    async with running(around) as ingress:
        ingress.settle(["a", "b"])
        for name, place in places.items():
            ingress.put(name, [backend(name, port, place, Door.OPEN)])
        await claimed(ingress, port)
        await answers(around, port, "a", "b")
        ingress.put("a", [])
        await answers(around, port, "b")


async def a_draining_task_gets_nothing_new_and_is_told_idle_when_it_is(around: Surroundings) -> None:
    port = around.free_port()
    a, b = await around.program("a"), await around.program("b")
    async with running(around) as ingress:
        ingress.settle(["a", "b"])
        ingress.put("a", [backend("a", port, a, Door.OPEN)])
        await claimed(ingress, port)
        await answers(around, port, "a")
        async with asyncio.TaskGroup() as group:
            async with around.busy(port, "a"):
                ingress.put("b", [backend("b", port, b, Door.OPEN)])
                ingress.put("a", [backend("a", port, a, Door.DRAINING)])
                draining = group.create_task(ingress.drained("a"))
                await answers(around, port, "b")
                assert not draining.done(), "it has a request still"
            async with asyncio.timeout(DEADLINE_SECONDS):
                await draining
        assert {await around.ask(port) for _ in range(12)} == {"b"}, "it is idle, and draining still"


async def who_is_not_known_is_drained(around: Surroundings) -> None:
    async with running(around) as ingress, asyncio.timeout(DEADLINE_SECONDS):
        await ingress.drained("nobody")


async def a_port_of_another_program_is_refused_for_good(around: Surroundings) -> None:
    port = around.free_port()
    async with running(around) as ingress:
        ingress.settle(["a"])
        async with around.taken(port) as program:
            ingress.put("a", [backend("a", port)])
            said = await refused(ingress.claim([backend("a", port).port], SERVICE), PermanentError)
        assert program in said, said
        assert str(port) in said
        await claimed(ingress, port)


async def a_port_of_another_service_is_free_once_that_one_is_gone(around: Surroundings) -> None:
    port = around.free_port()
    async with running(around) as ingress:
        ingress.settle(["a", "b"])
        ingress.put("a", [backend("a", port)])
        await claimed(ingress, port)
        ingress.put("b", [backend("b", port, service_id="check/other")])
        await refused(ingress.claim([backend("b", port).port], "check/other"), TemporaryError)
        ingress.put("a", [])
        await claimed(ingress, port, "check/other")


async def what_is_served_outlives_the_agent(around: Surroundings) -> None:
    port = around.free_port()
    places = {name: await around.program(name) for name in ("a", "b")}
    async with running(around) as ingress:
        ingress.settle(places)
        for name, place in places.items():
            ingress.put(name, [backend(name, port, place, Door.OPEN)])
        await claimed(ingress, port)
        await answers(around, port, "a", "b")
    await answers(around, port, "a", "b")
    async with running(around) as ingress:
        ingress.put("a", [backend("a", port, places["a"], Door.OPEN)])
        await claimed(ingress, port)
        await answers(around, port, "a", "b")
        ingress.settle(["a"])
        await answers(around, port, "a")


async def a_split_divides_and_is_measured(around: Surroundings) -> None:
    port = around.free_port()
    old, new = await around.program("old"), await around.program("new")
    split = Split(app="check", service="web", fingerprint="two", weight=0)
    async with running(around) as ingress:
        ingress.settle(["old", "new"])
        ingress.divide([split])
        ingress.put("old", [backend("old", port, old, Door.OPEN)])
        ingress.put("new", [backend("new", port, new, Door.OPEN, fingerprint="two")])
        await claimed(ingress, port)
        await answers(around, port, "old")

        async def reported() -> bool:
            return [report.fingerprint for report in ingress.measured()] == ["two"]

        await until(reported, "the split has a report")
        ingress.divide([Split(app="check", service="web", fingerprint="two", weight=100)])
        await answers(around, port, "new")
        ingress.divide([])
        await answers(around, port, "old", "new")
        assert ingress.measured() == ()


Check = Callable[[Surroundings], Awaitable[None]]
CHECKS: tuple[Check, ...] = (
    a_claimed_port_is_listened_on_before_anybody_is_there,
    a_task_answers_while_its_door_is_open,
    tasks_of_a_service_share_its_port,
    a_draining_task_gets_nothing_new_and_is_told_idle_when_it_is,
    who_is_not_known_is_drained,
    a_port_of_another_program_is_refused_for_good,
    a_port_of_another_service_is_free_once_that_one_is_gone,
    what_is_served_outlives_the_agent,
    a_split_divides_and_is_measured,
)


async def check_ingress(make: Callable[[], AbstractAsyncContextManager[Surroundings]]) -> None:
    """Run every check, each in surroundings that *make* opens.

    Raises:
        AssertionError: The driver breaks the contract; the note names the check.
    """
    for check in CHECKS:
        async with make() as around:
            try:
                await check(around)
            except Exception as error:
                error.add_note(f"in check_ingress: {check.__name__.replace('_', ' ')}")
                raise
