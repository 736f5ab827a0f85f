"""The hosts of the bed as a cluster that stories can be told on; keeps `interface.Cluster`."""

import asyncio
import json

import msgspec
from msgspec.structs import replace

from pilothouse.model.api import DeployRequest
from pilothouse.model.names import task_id_of
from pilothouse.model.node import Node
from tests.engine import SLEEPER
from tests.scenarios.cluster.world import Snapshot

_WAYS = {(True, True): "both", (True, False): "out", (False, True): "in"}


class RealCluster:
    """A cluster of real hosts; whatever image a story names, what runs is one that waits to be stopped."""

    def __init__(self, ground, cluster):
        self._ground = ground
        self._cluster = cluster
        self._hosts = {host.name: host for host in cluster.hosts}
        self.nodes = tuple(self._hosts)

    async def up(self, spec):
        services = tuple(replace(each, task=_waiting(each.task)) for each in spec.services)
        request = DeployRequest(spec=replace(spec, services=services))
        body = json.loads(msgspec.json.encode(request))
        status, said = self._cluster.manager.api("PUT", f"/apps/{spec.name}", body)
        assert status < 400, said

    async def down(self, app):
        self._cluster.down(app)

    async def drain(self, node_id, *, until=None, deadline=None):
        times = [] if until is None else ["--for", f"{until:g}s"]
        times += [] if deadline is None else ["--deadline", f"{deadline:g}s"]
        self._cluster.manager.pilothouse("node", "drain", *times, node_id)

    async def activate(self, node_id):
        self._cluster.manager.pilothouse("node", "activate", node_id)

    async def kill_host(self, node_id):
        self._hosts[node_id].power_cut()

    async def start_host(self, node_id):
        self._hosts[node_id].switch_on()
        self._cluster.start_agent(self._hosts[node_id])

    async def kill_agent(self, node_id):
        self._cluster.kill_agent(self._hosts[node_id])
        self._cluster.start_agent(self._hosts[node_id])

    async def kill_leader(self):
        self._cluster.kill_manager()
        self._cluster.start_manager()

    async def cut(self, node_id, *, up=True, down=True):
        self._ground.faults.cut(self._hosts[node_id], way=_WAYS[up, down])

    async def heal(self, node_id):
        self._ground.faults.heal()

    async def look(self):
        nodes = {}
        for node_id in self.nodes:
            status, found = self._cluster.manager.api("GET", f"/inspect/node/{node_id}")
            if status == 200:
                nodes[node_id] = msgspec.convert(found, Node)
        return Snapshot((), nodes, (), self._copies())

    def _copies(self):
        found = {}
        for host in self._hosts.values():
            for each in host.request("GET", "/containers/json")[1] if host.on else ():
                name = each["Names"][0].removeprefix("/")
                if task_id_of(name):
                    _, app, rest = name.split(".", 2)
                    service, slot, _ = rest.rsplit(".", 2)
                    found.setdefault(f"{app}/{service}" + (f".{slot}" if slot != "0" else ""), []).append(host.name)
        return {key: tuple(sorted(found[key])) for key in sorted(found)}

    async def passes(self, seconds):
        await asyncio.sleep(seconds)


def _waiting(task):
    return replace(task, container=replace(task.container, image=SLEEPER))
