"""One agent's calls to an engine in memory: a journal of them, and what goes wrong at any."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from pilothouse.agent.runtime.fakehost import FakeContainer, FakeHost
from pilothouse.errors import NotFoundError, PermanentError, RuntimeUnavailableError


class Killed(BaseException):
    """The process of the agent was killed here; not an Exception, so that no handler can swallow it."""


class Call(msgspec.Struct, frozen=True):
    """One call the agent made: its number from 1, its verb, and what it was about."""

    number: int
    verb: str
    subject: str


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong at a call: *error* is raised before the engine acts, or after it did."""

    error: BaseException
    after: bool


class FakeCalls:
    """What an agent asks of a FakeHost, and how it goes.

    Attributes:
        calls: Everything that was asked, in order, the interrupted call included.
        dead: A Killed was raised; every later call raises it too.
    """

    def __init__(self, host: FakeHost, *, latency_seconds: float = 0.0) -> None:
        self.host = host
        self.calls: list[Call] = []
        self.dead = False
        self._latency_seconds = latency_seconds
        self._faults: dict[int, Fault] = {}

    def crash_at(self, number: int, *, after: bool) -> None:
        """Kill the agent at its call *number* (from 1): before the engine acts, or after it and before the answer."""
        self._faults[number] = Fault(Killed(f"at call {number}"), after)

    def fail_at(self, number: int, error: Exception, *, after: bool = False) -> None:
        """Raise *error* at call *number*; *after* means the engine did it and only the answer was lost."""
        self._faults[number] = Fault(error, after)

    @asynccontextmanager
    async def _call(self, verb: str, subject: str = "") -> AsyncIterator[None]:
        """Journal one call and let its fault happen around it."""
        if self.dead:
            raise Killed("the process is dead already")
        self.calls.append(Call(len(self.calls) + 1, verb, subject))
        fault = self._faults.pop(len(self.calls), None)
        if fault and not fault.after:
            self._raise(fault.error)
        if self._latency_seconds:
            await self.host.clock.sleep(self._latency_seconds)
        self._reachable()
        yield
        if self.dead:
            raise Killed("another call killed the process")
        if fault:
            self._raise(fault.error)

    def _raise(self, error: BaseException) -> None:
        self.dead = isinstance(error, Killed)
        raise error

    def _reachable(self) -> None:
        if self.host.down:
            raise RuntimeUnavailableError("the container engine does not answer: start it, or look at its log")

    def _find(self, name: str) -> FakeContainer:
        try:
            return self.host.find(name)
        except NotFoundError as error:
            raise PermanentError(f"there is no container {name} on this node") from error
