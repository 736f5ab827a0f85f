"""A cluster of real managers on real members, with agents whose containers start at once, each of any version."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

from pilothouse.cli import membership
from pilothouse.cli.membership import Membership
from pilothouse.governance.audit.record import Entry
from pilothouse.governance.secrets.seal import load_vault
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.model.cluster import CLUSTER_ID, Cluster, ManagerMember, Role
from pilothouse.model.node import Node
from pilothouse.model.states import Writer
from pilothouse.server.cluster.founding import found
from pilothouse.server.cluster.renewing import renew
from pilothouse.store.etcd.layout import PREFIX
from tests.store.cluster import CLOCK, free_ports
from tests.store.managers import ROOT, Managers, Server

OWN = ROOT / "src"
CROWD = ROOT / "bench" / "crowd.py"
_RUN = "import sys, pilothouse, runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
"""Runs a script of this tree with the package of another version, which is imported before the script looks for one."""


def of(tree):
    """Return the environment in which Python finds the version at *tree*."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    return {**kept, "PYTHONPATH": str(tree)}


class VersionedServer(Server):
    """One `pilothouse server run` of some version."""

    def start(self, tree=OWN):
        environment = {
            **of(tree),
            "PILOTHOUSE_DATA": str(self.directory / "data"),
            "PILOTHOUSE_RUN": str(self.directory / "run"),
            "PILOTHOUSE_ENGINE": f"unix://{self.directory}/no-engine.sock",
        }
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pilothouse", "server", "run"], env=environment, stdout=log, stderr=log
            )

    def stop(self):
        """Ask it to end, and wait until it has."""
        self.process.terminate()
        self.process.wait(30)


class Agents:
    """Some agents of one version in one process; their containers are no containers, their sessions are real ones."""

    def __init__(self, directory, address, count, tree=OWN):
        self.connected = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _RUN, str(CROWD), str(directory), address, str(count)],
            env=of(tree), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.connected = json.loads(line)["connected"]

    def close(self):
        """End them as an upgrade does: at once, whatever is under way."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


class UpgradedManagers(Managers):
    """Three managers of one cluster, and room for groups of agents.

    Attributes:
        agents: By group.
    """

    def __init__(self, groups=2, each=3):
        super().__init__()
        self.directory = pathlib.Path(self.cluster.directory)
        self.servers = [VersionedServer(server.directory, server.name) for server in self.servers]
        self.agents = {}
        self.groups, self.each = groups, each
        self.addresses = [f"127.0.0.1:{_pair()}" for _ in self.servers]

    async def begin(self):
        """Make the cluster and its certificates, and start everything with this tree's version."""
        await self.cluster.start()
        store = await self.cluster.store(PREFIX)
        try:
            await self._found(store)
        finally:
            await store.close()
        for server in self.servers:
            server.start()
        for group in range(self.groups):
            self.start_agents(group)
        for server in self.servers:
            await self.until(lambda server=server: self.up(server), 60)

    async def _found(self, store):
        vault = load_vault(self.servers[0].directory / "data")
        entry = Entry(at=CLOCK.now(), principal="uid:0(root)", action="cluster.create", object="cluster/cluster",
                      summary="", request_id="")  # fmt: skip
        await store.update(Writer.API, lambda tx: found(tx, vault, "m0", self.addresses[0], entry))
        agents = {f"g{g}-{n}": (g, n) for g in range(self.groups) for n in range(self.each)}

        def join(tx):
            for server, address in list(zip(self.servers, self.addresses, strict=True))[1:]:
                tx.put(Node(id=server.name, role="manager", joined_at=entry.at))
                sessions = _next(address)
                tx.put(ManagerMember(id=server.name, api=address, sessions=sessions, approved_at=entry.at))
            for name in agents:
                tx.put(Node(id=name, role="agent", joined_at=entry.at))

        await store.update(Writer.API, join)
        cluster = (await store.view(lambda tx: tx.get(Cluster, CLUSTER_ID))).cluster
        for server, address in zip(self.servers, self.addresses, strict=True):
            data = server.directory / "data"
            await _certify(store, vault, server.name, data)
            known = Membership(role=Role.MANAGER, node_id=server.name, cluster=cluster, advertise=address,
                               managers=tuple(map(_next, self.addresses)))  # fmt: skip
            membership.save(data, known)
        for name, (group, number) in agents.items():
            await _certify(store, vault, name, self.directory / f"group{group}" / f"node{number:05}")

    def start_agents(self, group, tree=OWN):
        """Start the agents of a group, in place of those of another version."""
        if group in self.agents:
            self.agents[group].close()
        place = self.directory / f"group{group}"
        self.agents[group] = Agents(place, _next(self.addresses[group]), self.each, tree)

    async def up(self, server):
        """Whether a server answers, somebody leads, and its own node is heard."""
        found = await server.status()
        return found and found.get("leader")

    async def ready(self, names):
        """Return once all these nodes may get tasks."""

        async def all_ready():
            _, _, found = await self.answering().call("GET", "/v1/nodes")
            return set(names) <= {each["id"] for each in found["items"] if each.get("state") == "ready"}

        await self.until(all_ready, 40)

    def answering(self):
        """Return a server that runs."""
        return next(each for each in self.servers if each.process.poll() is None)

    async def lead(self, wanted, versions):
        """Have one of *wanted* lead, by restarting whoever does; *versions* says which tree each server runs."""
        while (leading := await self.until(self._leading, 30)) not in wanted:
            leading.stop()

            async def another(before=leading):
                found = await self._leading()
                return found is not None and found is not before

            await self.until(another, 30)
            leading.start(versions[leading.name])
            await self.until(lambda server=leading: self.up(server), 60)

    async def _leading(self):
        found = await self.answering().status()
        return next((each for each in self.servers if found and each.name == found.get("leader")), None)

    async def close(self):
        for each in self.agents.values():
            each.close()
        await super().close()


def _pair():
    """Return a port of the loopback device such that nobody uses it and the next one."""
    while True:
        (port,) = free_ports(1)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
            return port


def _next(address):
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}"


async def _certify(store, vault, node, data):
    """Give a node a key and a certificate that counts."""
    data.mkdir(parents=True, exist_ok=True)
    request = new_request()
    made = await renew(store, vault, CLOCK, node, request.text)
    Credentials(data).keep(made.authorities, made.certificate, request.key)
