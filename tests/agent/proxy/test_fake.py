"""The fake keeps the contract of the proxy drivers, and tells what it would serve."""

import asyncio
import contextlib

import pytest

from pilothouse.agent.proxy.conformance import CHECKS, NOBODY, Place, backend, check_ingress, running
from pilothouse.agent.proxy.fake import FakeIngress, FakeProxy
from pilothouse.agent.proxy.interface import Door
from pilothouse.clock import SystemClock
from pilothouse.errors import TemporaryError
from pilothouse.model.rollout import Golden
from pilothouse.model.wire import Split


class FakeSurroundings:
    """Programs and callers that exist on paper: whoever has the largest unpaid share of a port answers."""

    def __init__(self, kind=FakeIngress):
        self.proxy = FakeProxy()
        self._kind = kind
        self._ports = iter(range(8000, 9000))
        self._due = {}

    def driver(self):
        return self._kind(SystemClock(), self.proxy)

    def free_port(self):
        return next(self._ports)

    async def program(self, name):
        return Place(f"10.0.0.{len(name)}", 80)

    async def ask(self, port):
        await asyncio.sleep(0)
        if not self.proxy.listening(port):
            raise ConnectionRefusedError(port)
        due = {name: self._due.get(name, 0.0) + share for name, share in self.proxy.shares(port).items()}
        chosen = max(due, key=due.get, default=NOBODY)
        if due:
            due[chosen] -= 1.0
        self._due = due
        return chosen

    @contextlib.asynccontextmanager
    async def busy(self, port, name):
        assert await self.ask(port) == name
        self.proxy.begin(name)
        yield
        self.proxy.end(name)

    @contextlib.asynccontextmanager
    async def taken(self, port):
        self.proxy.foreign[port] = "nginx"
        yield "nginx"
        del self.proxy.foreign[port]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_the_fake_keeps_the_contract(check):
    await check(FakeSurroundings())


async def test_the_whole_suite_names_the_broken_promise():
    class Forgetful(FakeIngress):
        async def drained(self, task_id):
            return

    @contextlib.asynccontextmanager
    async def make():
        yield FakeSurroundings(Forgetful)

    with pytest.raises(ExceptionGroup) as caught:
        await check_ingress(make)
    assert "a draining task gets nothing new" in caught.value.__notes__[0]


async def test_a_split_gives_each_side_its_part_evenly():
    around = FakeSurroundings()
    async with running(around) as ingress:
        for name in ("a", "b", "c"):
            ingress.put(name, [backend(name, 80, Place("10.0.0.1", 80), Door.OPEN)])
        ingress.put("d", [backend("d", 80, Place("10.0.0.1", 80), Door.OPEN, fingerprint="two")])
        ingress.divide([Split(app="check", service="web", fingerprint="two", weight=10)])
        assert around.proxy.shares(80) == pytest.approx({"a": 0.3, "b": 0.3, "c": 0.3, "d": 0.1})
        around.proxy.counts["two"] = (Golden(requests=90), Golden(requests=10, errors=1))
        assert [(each.old.requests, each.new.errors) for each in ingress.measured()] == [(90, 1)]
        assert around.proxy.doors("d") == (Door.OPEN,)
        assert len(around.proxy.history) == 5


async def test_a_side_without_anybody_gives_its_part_to_the_other():
    around = FakeSurroundings()
    async with running(around) as ingress:
        ingress.divide([Split(app="check", service="web", fingerprint="two", weight=0)])
        ingress.put("d", [backend("d", 80, Place("10.0.0.1", 80), Door.OPEN, fingerprint="two")])
        assert around.proxy.shares(80) == {"d": 1.0}


async def test_a_proxy_that_is_down_listens_on_nothing_and_gives_no_port():
    around = FakeSurroundings()
    around.proxy.down = True
    async with running(around) as ingress:
        ingress.put("a", [backend("a", 80)])
        assert not around.proxy.listening(80)
        with pytest.raises(TemporaryError, match="does not run"):
            await ingress.claim([backend("a", 80).port], "check/web")
        await ingress.drained("a")
