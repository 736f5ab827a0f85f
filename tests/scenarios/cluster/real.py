"""The hosts of the bed as a cluster that stories can be told on; keeps `interface.Cluster`."""

import asyncio
import contextlib
import http.client
import json

import msgspec
from msgspec.structs import replace

from pilothouse.model.api import DeployRequest
from pilothouse.model.cluster import Disruption
from pilothouse.model.names import task_id_of
from pilothouse.model.node import Node
from pilothouse.model.objects import Task
from tests.engine import SLEEPER
from tests.scenarios.cluster.world import Snapshot

_WAYS = {(True, True): "both", (True, False): "out", (False, True): "in"}
_UNTIL_STOPPED = ("sh", "-c", "trap exit TERM; while :; do sleep 1000 & wait $!; done")
_COMMANDS = {"job:1": ("sleep", "8")}
"""What an image of the stories does, where that is not to wait until it is stopped."""


class RealCluster:
    """A cluster of real hosts.

    The stories are told on all hosts but the manager's, which could not be lost without losing the manager. Whatever
    image they name, what runs does the same on busybox.

    Attributes:
        nodes: The ids of those hosts.
    """

    def __init__(self, ground, cluster):
        self._ground = ground
        self._cluster = cluster
        self._hosts = {host.name: host for host in cluster.hosts if host is not cluster.manager}
        self._heard = Snapshot((), {}, (), {})
        self.nodes = tuple(self._hosts)

    async def up(self, spec):
        services = tuple(replace(each, task=self._real(each.task)) for each in spec.services)
        request = DeployRequest(spec=replace(spec, services=services))
        body = json.loads(msgspec.json.encode(request))
        status, said = self._cluster.manager.api("PUT", f"/apps/{spec.name}", body)
        assert status < 400, said

    def _real(self, task):
        command = _COMMANDS.get(task.container.image, _UNTIL_STOPPED)
        away = f"node.hostname != {self._cluster.manager.name}"
        return replace(
            task,
            container=replace(task.container, image=SLEEPER, command=command),
            placement=replace(task.placement, constraints=(*task.placement.constraints, away)),
        )

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
        self._hosts[node_id].boot()
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
        """See what really runs, and what a manager says; while none answers, what one said last."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            views = self._get("/tasks?all=true&limit=1000")["items"]
            tasks = [self._inspected("task", each["id"], Task) for each in views]
            requests = [self._inspected("disruption", each["id"], Disruption) for each in views]
            nodes = {node_id: self._inspected("node", node_id, Node) for node_id in self.nodes}
            self._heard = Snapshot(_there(tasks), {key: node for key, node in nodes.items() if node},
                                   _there(requests), {})  # fmt: skip
        return msgspec.structs.replace(self._heard, copies=self._copies())

    def _get(self, path):
        status, found = self._cluster.manager.api("GET", path)
        assert status in {200, 404}, found
        return found if status == 200 else None

    def _inspected(self, kind, key, shape):
        found = self._get(f"/inspect/{kind}/{key}")
        return None if found is None else msgspec.convert(found, shape)

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


def _there(found):
    return tuple(each for each in found if each is not None)
