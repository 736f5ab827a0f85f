"""Real members of etcd on the loopback device, in a directory of their own; none is left behind."""

import asyncio
import os
import pathlib
import shutil
import signal
import socket
import tempfile
from dataclasses import dataclass

from pilothouse.clock import SystemClock
from pilothouse.ids import SystemIds
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.client import RANGE, EtcdClient
from pilothouse.store.etcd.election import EtcdElection
from pilothouse.store.etcd.layout import Layout
from pilothouse.store.etcd.member import Member, Settings, find_binary
from pilothouse.store.etcd.store import EtcdStore
from pilothouse.store.watch import KEPT_COMMITS

CLOCK = SystemClock()
IDS = SystemIds()


def free_ports(count):
    """Return ports of the loopback device that nobody uses just now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


class Cluster:
    """Members that begin together.

    Attributes:
        members: By number.
        clients: Where they are reached.
    """

    def __init__(self, size=1, security=None):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ph-etcd-"))
        self.security = security
        ports = free_ports(2 * size)
        self.peers = [f"127.0.0.1:{port}" for port in ports[:size]]
        self.clients = [f"127.0.0.1:{port}" for port in ports[size:]]
        known = {f"m{number}": peer for number, peer in enumerate(self.peers)}
        self.members = []
        for number in range(size):
            files = {} if security is None else security(number)
            self._add(Settings(name=f"m{number}", peer=self.peers[number], client=self.clients[number],
                               cluster=known, **files))  # fmt: skip

    def _add(self, settings):
        member = Member(self.directory / settings.name, find_binary(os.environ), CLOCK)
        member.configure(settings)
        self.members.append(member)
        return member

    def further(self, name):
        """Configure a member that joins those that run; return it. It is not started."""
        peer, client = (f"127.0.0.1:{port}" for port in free_ports(2))
        known = {f"m{number}": place for number, place in enumerate(self.peers)} | {name: peer}
        self.peers.append(peer)
        self.clients.append(client)
        return self._add(Settings(name=name, peer=peer, client=client, cluster=known, joins=True))

    async def start(self, *, answering=True):
        """Start every member and wait until the cluster answers."""
        for member in self.members:
            await member.ensure()
        if answering:
            await self.answers()

    async def answers(self, seconds=20.0):
        """Return once a read that needs a majority is answered."""
        client = self.client()
        try:
            await client.call(RANGE, rpc.RangeRequest(key=b"x"), seconds)
        finally:
            await client.close()

    def client(self, order=None):
        """Return a client; *order* says which members it asks, the first first."""
        order = range(len(self.clients)) if order is None else order
        return EtcdClient([self.clients[number] for number in order], CLOCK)

    async def store(self, prefix="/test/", order=None, keep=KEPT_COMMITS, client=None):
        """Open a store under *prefix*."""
        return await EtcdStore.open(client or self.client(order), CLOCK, IDS, Layout(prefix), keep)

    def signal(self, number, what):
        """Send a member a signal."""
        running = self.members[number].find()
        assert running is not None, f"member {number} does not run"
        os.kill(running.pid, what)

    async def kill(self, number):
        """End a member as a crash would, and wait until it is gone."""
        self.signal(number, signal.SIGKILL)
        while self.members[number].find() is not None:
            await CLOCK.sleep(0.01)

    async def close(self):
        """End all members and remove what they kept."""
        for member in self.members:
            if member.find() is not None:
                self.signal(self.members.index(member), signal.SIGKILL)
            await member.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@dataclass
class Manager:
    store: EtcdStore
    election: EtcdElection


class EtcdGroup:
    """Managers of one cluster, as `conformance_leadership` wants them."""

    def __init__(self, cluster, prefix):
        self._cluster = cluster
        self._prefix = prefix
        self._stores = []

    async def join(self):
        store = await self._cluster.store(self._prefix)
        self._stores.append(store)
        return Manager(store, EtcdElection(store, CLOCK, IDS))

    async def silence(self, manager):
        # Its signs of life stop, as if the process were; everything else of it goes on, as if it were woken.
        manager.store.client.call = _Asleep(manager.store.client.call)

    async def close(self):
        for store in self._stores:
            await store.close()


class _Asleep:
    def __init__(self, call):
        self._call = call

    async def __call__(self, method, request, seconds, **options):
        if "KeepAlive" in method.path:
            await asyncio.Event().wait()
        return await self._call(method, request, seconds, **options)
