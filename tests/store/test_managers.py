"""Three real servers on three real members: any serves the API, one leads, and losing some of them is survived."""

import asyncio
import contextlib
import http.client
import random
import signal
import sys

import pytest

from tests.linearizability import History, Register
from tests.store.cluster import CLOCK
from tests.store.managers import Managers
from tests.store.test_etcd_faults import break_things

pytestmark = pytest.mark.slow
CHAOS_SECONDS = 30.0


@pytest.fixture
async def managers():
    made = Managers()
    try:
        await made.start()
        yield made
    finally:
        sys.stderr.write("\n".join(f"{server.name}: {server.log()}" for server in made.servers))
        await made.close()


async def label(server, node, key, value):
    return await server.call("PATCH", f"/v1/nodes/{node}", {"labels": {key: value}})


async def test_any_manager_serves_the_api_and_one_leads(managers):
    node = (await managers.leading()).name
    for number, server in enumerate(managers.servers):
        status, _, answer = await label(server, node, "written", f"by-{number}")
        assert status == 200, answer
        for other in managers.servers:
            status, headers, found = await other.call("GET", f"/v1/nodes/{node}")
            assert found["spec"]["labels"]["written"] == f"by-{number}"
            assert "pilothouse-stale" not in headers
    found = [await server.status() for server in managers.servers]
    assert [each["kind"] for each in found] == ["etcd"] * 3
    assert len({(each["leader"], each["epoch"]) for each in found}) == 1
    assert [len(each["members"]) for each in found] == [3] * 3
    status, _, doctor = await managers.servers[0].call("GET", "/v1/doctor")
    assert [each for each in doctor["items"] if each["subject"].startswith("store member")]


async def test_another_leads_when_the_leading_manager_is_killed_or_stopped(managers):
    for what in (signal.SIGKILL, signal.SIGSTOP):
        leading = await managers.leading()
        asked = next(number for number, server in enumerate(managers.servers) if server is not leading)
        leading.process.send_signal(what)
        begun = CLOCK.monotonic()

        async def another(asked=asked, leading=leading):
            found = await managers.servers[asked].status()
            return found and found.get("leader", "") not in ("", leading.name)

        await managers.until(another, 10)
        assert CLOCK.monotonic() - begun < 5.0
        if what == signal.SIGSTOP:
            leading.process.send_signal(signal.SIGCONT)
        else:
            leading.process.wait()
            leading.start()
        # Woken or started anew, it serves its API and stands again, but leads nothing.
        await managers.until(leading.status, 30)
        found = await managers.leading(asked=asked)
        assert found is not leading


async def test_without_a_majority_the_api_says_so_and_recovers_by_itself(managers):
    server, node = managers.servers[0], (await managers.leading()).name
    assert (await label(server, node, "a", "before"))[0] == 200
    managers.cluster.signal(1, signal.SIGSTOP)
    managers.cluster.signal(2, signal.SIGSTOP)
    for _ in range(3):
        begun = CLOCK.monotonic()
        status, headers, answer = await label(server, node, "a", "never")
        assert (status, answer["code"], headers["retry-after"]) == (503, "PH208", "2")
        assert CLOCK.monotonic() - begun < 2.0
    begun = CLOCK.monotonic()
    status, headers, answer = await server.call("GET", f"/v1/nodes/{node}")
    assert CLOCK.monotonic() - begun < 2.0
    assert (status, answer["spec"]["labels"]["a"]) == (200, "before")
    assert float(headers["pilothouse-stale"]) == answer["stale"]
    managers.cluster.signal(1, signal.SIGCONT)
    managers.cluster.signal(2, signal.SIGCONT)
    begun = CLOCK.monotonic()

    async def again():
        return (await label(server, node, "a", "after"))[0] == 200

    await managers.until(again, 10)

    async def fresh():
        _, headers, answer = await server.call("GET", f"/v1/nodes/{node}")
        return "pilothouse-stale" not in headers and answer["spec"]["labels"]["a"] == "after"

    await managers.until(fresh, 10)
    assert CLOCK.monotonic() - begun < 10.0


async def test_a_manager_that_starts_without_a_majority_says_what_it_knows_and_goes_on_by_itself(managers):
    server, node = managers.servers[0], (await managers.leading()).name
    assert (await label(server, node, "a", "before"))[0] == 200
    server.kill()
    for member in (1, 2):
        managers.cluster.signal(member, signal.SIGSTOP)

    async def answers(wanted):
        with contextlib.suppress(OSError):
            status, headers, answer = await server.call("GET", f"/v1/nodes/{node}")
            return (answer, headers) if status == wanted else None

    # Its own member runs on, and knows what was there.
    server.start()
    answer, headers = await managers.until(lambda: answers(200), 30)
    assert answer["spec"]["labels"]["a"] == "before"
    assert float(headers["pilothouse-stale"]) == answer["stale"]
    begun = CLOCK.monotonic()
    status, headers, answer = await label(server, node, "a", "never")
    assert (status, answer["code"], headers["retry-after"]) == (503, "PH208", "2")
    assert CLOCK.monotonic() - begun < 2.0
    # After a power cut not even that one can answer before the others are there.
    server.kill()
    await managers.cluster.kill(0)
    server.start()
    answer, headers = await managers.until(lambda: answers(503), 30)
    assert (answer["code"], headers["retry-after"]) == ("PH208", "2")
    assert (await label(server, node, "a", "never"))[0] == 503
    assert (await server.call("GET", "/healthz"))[0] == 503
    # Waiting is no reason not to end when it is asked to.
    server.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.process.wait, 10) == 0
    assert not server.socket.exists()
    server.start()
    await managers.until(lambda: answers(503), 30)
    managers.cluster.signal(1, signal.SIGCONT)
    answer, headers = await managers.until(lambda: answers(200), 20)
    assert answer["spec"]["labels"]["a"] == "before"

    async def fresh():
        return "pilothouse-stale" not in (await server.call("GET", f"/v1/nodes/{node}"))[1]

    await managers.until(fresh, 20)
    assert (await label(server, node, "a", "after"))[0] == 200


class LostError(Exception):
    """A change may have happened."""


class RefusedError(Exception):
    """Nothing happened, or the answer said that it may be old."""


class Callers:
    """Clients of the API that write and read labels of one node, and note what they saw."""

    def __init__(self, managers, node, seed):
        self.history = History(asyncio.get_running_loop().time)
        self._managers, self._node = managers, node
        self._chance = random.Random(seed)
        self._count = 0

    async def run(self, clients, until):
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._client(until))

    async def _client(self, until):
        while not until.is_set():
            self._count += 1
            server, key = (
                self._chance.choice(self._managers.servers),
                f"k{self._count // 120}-{self._chance.randrange(3)}",
            )
            read = self._chance.random() < 0.5
            value = None if read else str(self._count)
            work = self._read(server, key) if read else self._write(server, key, value)
            what = "read" if read else "write"
            await self.history.record(key, what, value, work, lost=(LostError, OSError), refused=RefusedError)
            await asyncio.sleep(self._chance.random() * 0.02)

    async def _read(self, server, key, node=""):
        try:
            status, headers, found = await server.call("GET", f"/v1/nodes/{node or self._node}", seconds=5)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise RefusedError from error
        if status != 200 or "pilothouse-stale" in headers:
            raise RefusedError
        return found.get("spec", {}).get("labels", {}).get(key)  # what is as by default is not in an answer

    async def _write(self, server, key, value, node=""):
        try:
            status, _, _ = await label(server, node or self._node, key, value)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise RefusedError from error
        except (ValueError, http.client.HTTPException) as error:
            raise LostError from error
        if status != 200:
            raise LostError


async def test_what_callers_of_the_api_see_under_kills_and_pauses_is_linearizable(managers):
    node = (await managers.leading()).name
    callers, ended, chance = Callers(managers, node, 5), asyncio.Event(), random.Random(5)

    async def kill_servers():
        while not ended.is_set():
            await CLOCK.sleep(4 + 3 * chance.random())
            server = chance.choice(managers.servers)
            server.kill()
            await CLOCK.sleep(0.5)
            server.start()

    async with asyncio.TaskGroup() as group:
        group.create_task(break_things(managers.cluster, chance, ended, mend=False))
        group.create_task(kill_servers())
        group.create_task(callers.run(6, ended))
        await CLOCK.sleep(CHAOS_SECONDS)
        ended.set()
    violations = callers.history.violations(lambda key: Register)
    sys.stdout.write(f"{callers.history.count()} operations, {len(violations)} violations\n")
    assert violations == {}
    assert callers.history.count() > 300
