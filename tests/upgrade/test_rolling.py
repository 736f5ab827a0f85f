"""Three managers and their agents are upgraded one after the other under load: nothing is lost, nothing restarts."""

import asyncio
import sys

import pytest

from tests.linearizability import Register
from tests.store.test_managers import Callers
from tests.upgrade.cluster import OWN, UpgradedManagers
from tests.upgrade.trees import next_version

pytestmark = pytest.mark.slow
TASKS = 18
USED = {("calm", "content")}


@pytest.fixture
async def managers():
    made = UpgradedManagers()
    try:
        await made.begin()
        yield made
    finally:
        sys.stderr.write("\n".join(f"{server.name}: {server.log()}" for server in made.servers))
        await made.close()


async def test_managers_and_agents_are_replaced_one_by_one_under_load(managers, tmp_path):
    newer = next_version(tmp_path)
    agents = [f"g{group}-{number}" for group in range(2) for number in range(3)]
    await managers.ready(agents)
    await deploy(managers, managers.servers[0], "shop", TASKS)
    tasks = await until_running(managers)

    await try_two_versions_ahead(managers, tmp_path)

    ended = asyncio.Event()
    callers = Labels(managers, agents, 7)
    async with asyncio.TaskGroup() as group:
        group.create_task(callers.run(3, ended))
        await upgrade_managers(managers, newer, agents)
        await upgrade_agents(managers, newer, agents)
        await raise_format(managers, newer, agents, tasks)
        ended.set()
    await assert_nothing_was_replaced(managers, tasks)
    violations = callers.history.violations(lambda key: Register)
    sys.stdout.write(f"{callers.history.count()} operations, {len(violations)} violations\n")
    assert violations == {}
    assert callers.history.count() > 300
    copies = [
        each for server in managers.servers for each in (server.directory / "data").glob("before-format-2.backup")
    ]
    assert len(copies) == 1

    # Who is older than the format does not get in again, and harms nothing by trying.
    third = managers.servers[2]
    third.stop()
    assert_refused(third, OWN, "has format 2, and this version of Pilothouse reads up to 1")
    await assert_nothing_was_replaced(managers, tasks)


class Labels(Callers):
    """Callers that write labels of several nodes, because one has room for few."""

    async def _read(self, server, key):
        return await super()._read(server, key, self._of(key))

    async def _write(self, server, key, value):
        await super()._write(server, key, value, self._of(key))

    def _of(self, key):
        return self._node[int(key[1:].partition("-")[0]) % len(self._node)]


async def try_two_versions_ahead(managers, tmp_path):
    """Start a manager that reads two later formats; it is refused, and the one before comes back."""
    last = managers.servers[2]
    last.stop()
    assert_refused(last, next_version(tmp_path, 3), "has format 1, and this version of Pilothouse reads 2 and 3")
    last.start()
    await managers.until(lambda: managers.up(last), 60)


async def upgrade_managers(managers, newer, agents):
    """Replace one manager after the other; meanwhile the leading one is of the new version, the old, and the new."""
    versions = {server.name: OWN for server in managers.servers}
    first, second, third = managers.servers
    await replace(managers, first, newer, versions)
    # An old agent of a new manager, a new agent of an old manager, and the old one again.
    for number, (group, wanted, tree) in enumerate(((0, [first], OWN), (1, [second, third], newer), (0, [first], OWN))):
        await managers.lead(wanted, versions)
        await reported_anew(managers, group, tree)
        # And what begins now is told by all agents to that leader.
        await deploy(managers, first, f"begun-{number}", len(agents))
        await until_running(managers, f"begun-{number}", len(agents))
    assert await label(first, agents[1], "motto", "onward") == (409, "PH117")
    await deploy(managers, first, "shop", TASKS)
    for server in (second, third):
        await replace(managers, server, newer, versions)
    view = await format_of(managers)
    assert (view["number"], {each["version"] for each in view["managers"]}) == (1, {"0.2.0"})


async def upgrade_agents(managers, newer, agents):
    """Replace the other agents, which hold the format back until the last of them is new."""
    status, _, answer = await managers.servers[0].call("POST", "/v1/format/raise")
    assert (status, answer["code"]) == (409, "PH117")

    async def held_back_by_the_old():
        held = (await format_of(managers)).get("held_back_by", ())
        older = [name for name in agents if any(f"agent of {name} " in each for each in held)]
        return older == [name for name in agents if name.startswith("g0-")]

    # What an agent is, its manager writes down when the agent comes back to it.
    await managers.until(held_back_by_the_old, 30)
    managers.start_agents(0, newer)
    await managers.ready(agents)

    async def free():
        return not (await format_of(managers)).get("held_back_by")

    await managers.until(free, 30)


async def raise_format(managers, newer, agents, tasks):
    """Have the format raised; from then on what is new is written and may be asked for."""
    first = managers.servers[0]
    assert (await first.call("POST", "/v1/format/raise"))[0] == 200

    async def raised():
        return (await format_of(managers))["number"] == 2

    await managers.until(raised, 20)
    await reported_anew(managers, 0, newer)

    async def in_use():
        found = [(await first.call("GET", f"/v1/inspect/task/{each}"))[2] for each in tasks]
        there = [each for each in found if each["node_id"].startswith("g0-")]
        return there and {(each["status"].get("mood"), each["status"].get("health")) for each in there} == USED

    await managers.until(in_use, 20)
    assert (await label(first, agents[1], "motto", "onward"))[0] == 200


async def assert_nothing_was_replaced(managers, tasks):
    _, _, every = await managers.answering().call("GET", "/v1/tasks?app=shop&all=true&limit=1000")
    assert {each["id"] for each in every["items"]} == tasks, [each for each in every["items"] if not each.get("ready")]
    assert await running(managers) == tasks


async def replace(managers, server, tree, versions):
    """Upgrade one manager."""
    server.stop()
    versions[server.name] = tree
    server.start(tree)
    await managers.until(lambda: managers.up(server), 60)

    async def introduced():
        found = await format_of(managers)
        return any(each["name"] == server.name and each["version"] == "0.2.0" for each in found["managers"])

    await managers.until(introduced, 20)


async def reported_anew(managers, group, tree=OWN):
    """Have the agents of a group restart, so that everything about their tasks is said and written again."""
    managers.start_agents(group, tree)
    await managers.ready([f"g{group}-{number}" for number in range(3)])
    await until_running(managers)


async def deploy(managers, server, app, replicas):
    container = {"image": "web:1"}
    service = {"name": "web", "task": {"container": container}, "replicas": replicas}
    body = {"spec": {"name": app, "services": [service]}}

    async def accepted():
        # The image may be asked for on a manager's own node, which has no engine here.
        status, _, answer = await server.call("PUT", f"/v1/apps/{app}", body)
        assert status in {200, 503}, answer
        return status == 200

    await managers.until(accepted, 40)


async def running(managers, app="shop"):
    """Return the ids of the tasks that run and are ready."""
    _, _, found = await managers.answering().call("GET", f"/v1/tasks?app={app}&limit=1000")
    return {each["id"] for each in found["items"] if each.get("ready")}


async def until_running(managers, app="shop", count=TASKS):
    async def all_running():
        found = await running(managers, app)
        return found if len(found) == count else None

    return await managers.until(all_running, 60)


async def format_of(managers):
    status, _, found = await managers.answering().call("GET", "/v1/format")
    assert status == 200, found
    return found


async def label(server, node, key, value):
    status, _, answer = await server.call("PATCH", f"/v1/nodes/{node}", {"labels": {key: value}})
    return status, answer.get("code", "")


def assert_refused(server, tree, sentence):
    """Check that a manager of the version at *tree* ends by itself and says why."""
    before = len((server.directory / "log").read_text())
    server.start(tree)
    assert server.process.wait(30) == 2
    said = (server.directory / "log").read_text()[before:]
    assert "PH904" in said
    assert sentence in said
