"""Members and managers prove who they are, and a machine that was approved becomes a manager."""

import asyncio
import contextlib
import os

import pytest

from pilothouse.cli import joining, share
from pilothouse.cli.becoming import Becoming
from pilothouse.cli.moving import Mover, place_of
from pilothouse.cli.places import places
from pilothouse.errors import StoreUnavailableError
from pilothouse.governance.identity.authority.issue import issue
from pilothouse.governance.secrets.seal import load_vault
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.model.cluster import Role
from pilothouse.model.identity import SERVER_NAME, Identity
from pilothouse.model.states import Writer
from pilothouse.server.cluster.renewing import renew
from pilothouse.store.conformance import sample_task
from pilothouse.store.etcd import revocations
from pilothouse.store.etcd.client import EtcdClient, read_security
from pilothouse.store.etcd.member import Member, Settings, client_of, find_binary
from pilothouse.store.etcd.membership import add
from pilothouse.store.etcd.store import EtcdStore
from pilothouse.store.etcd.turns import Turns
from tests.pki import Pki
from tests.store.cluster import CLOCK, IDS, Cluster
from tests.store.managers import Server

pytestmark = pytest.mark.slow
ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Certified:
    """Credentials of one authority, in directories of their own."""

    def __init__(self, directory):
        self._directory = directory
        self._pki = Pki(CLOCK.now())

    def files(self, name, role=Role.MANAGER, host="127.0.0.1"):
        """Return the paths of a machine's files, as a member's settings name them."""
        data = self._directory / name
        if not data.exists():
            data.mkdir()
            request = new_request()
            identity = Identity(cluster=self._pki.cluster, node_id=name, role=role)
            made = self._pki.made
            issued = issue(request.text, identity, "1", made.certificate, made.key, CLOCK.now(), host)
            Credentials(data).keep(made.certificate, issued.text, request.key)
        pki = data / "pki"
        return {
            "authorities": str(pki / "authorities.pem"),
            "certificate": str(pki / "node.pem"),
            "key": str(pki / "node.key"),
        }

    def client(self, cluster, name, **options):
        files = {key: os.fspath(path) for key, path in self.files(name, **options).items()}

        def security():
            from pathlib import Path

            paths = [Path(files[key]) for key in ("authorities", "certificate", "key")]
            return read_security(*paths, SERVER_NAME)

        return EtcdClient(cluster.clients, CLOCK, security)


async def test_members_trust_managers_of_their_cluster_alone(tmp_path):
    ours, theirs = Certified(tmp_path / "ours"), Certified(tmp_path / "theirs")
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    cluster = Cluster(3, security=lambda number: ours.files(f"m{number}"))
    try:
        await cluster.start(answering=False)
        store = await cluster.store(client=ours.client(cluster, "m0"))
        await store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task("t")))
        await cluster.kill(2)
        await store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(sample_task("t2")))
        for client in (
            ours.client(cluster, "an-agent", role=Role.AGENT),
            theirs.client(cluster, "a-stranger"),
            cluster.client(),
        ):
            with pytest.raises(StoreUnavailableError):
                async with asyncio.timeout(20):
                    await client.call(*_a_read(), 1.0)
            await client.close()
        await store.close()
    finally:
        await cluster.close()


async def test_a_certificate_that_was_taken_back_opens_no_member_and_is_cut_off_in_turn(tmp_path):
    ours = Certified(tmp_path)
    cluster = Cluster(3, security=lambda number: ours.files(f"m{number}"))
    try:
        await cluster.start(answering=False)
        store, gone = await cluster.store(client=ours.client(cluster, "m0")), ours.client(cluster, "m9")
        await gone.call(*_a_read(), 10.0)
        serial = Credentials(tmp_path / "m9").held().serial
        for member in cluster.members:
            assert revocations.keep(member.directory, (serial,), CLOCK)
            assert not revocations.keep(member.directory, (serial,), CLOCK), "nothing new"
        fresh = ours.client(cluster, "m9")
        with pytest.raises(StoreUnavailableError):
            await fresh.call(*_a_read(), 2.0)
        await gone.call(*_a_read(), 10.0)
        await _in_turn(cluster, ours, store)
        with pytest.raises(StoreUnavailableError):
            await gone.call(*_a_read(), 2.0)
        for client in (fresh, gone):
            await client.close()
        await store.close()
    finally:
        await cluster.close()


async def test_members_trust_another_authority_after_each_was_restarted_in_turn(tmp_path):
    for each in ("ours", "next"):
        (tmp_path / each).mkdir()
    ours, following = Certified(tmp_path / "ours"), Certified(tmp_path / "next")
    cluster = Cluster(3, security=lambda number: ours.files(f"m{number}"))
    try:
        await cluster.start(answering=False)
        store, later = await cluster.store(client=ours.client(cluster, "m0")), following.client(cluster, "m0")
        both = "".join(Credentials(tmp_path / each / "m0").held().authorities for each in ("ours", "next"))
        for number in range(3):
            Credentials(tmp_path / "ours" / f"m{number}").trust(both)
        Credentials(tmp_path / "next" / "m0").trust(both)
        with pytest.raises(StoreUnavailableError):
            await later.call(*_a_read(), 2.0)
        await _in_turn(cluster, ours, store)
        await later.close()
        later = following.client(cluster, "m0")
        await later.call(*_a_read(), 10.0)
        await later.close()
        await store.close()
    finally:
        await cluster.close()


async def _in_turn(cluster, certified, store):
    """Have every member restart as its manager would; no two are away at once, and changes go through meanwhile."""
    before = [member.find().pid for member in cluster.members]
    assert all(member.outdated for member in cluster.members)
    clients = [certified.client(cluster, f"m{number}") for number in range(3)]
    turns = [
        Turns(client, store.layout, member, CLOCK) for client, member in zip(clients, cluster.members, strict=True)
    ]
    written = 0
    async with asyncio.timeout(60):
        while any(member.outdated for member in cluster.members):
            looking = asyncio.gather(*(each.look() for each in turns))
            while not looking.done():
                assert sum(member.find() is None for member in cluster.members) <= 1
                with contextlib.suppress(StoreUnavailableError):
                    await store.update(Writer.ORCHESTRATOR, lambda tx, n=written: tx.put(sample_task(f"w{n}")))
                    written += 1
                await CLOCK.sleep(0.05)
            await looking
    assert written > 0
    assert not {member.find().pid for member in cluster.members} & set(before)
    for client in clients:
        await client.close()


def _a_read():
    from pilothouse.store.etcd import rpc_pb2 as rpc
    from pilothouse.store.etcd.client import RANGE

    return RANGE, rpc.RangeRequest(key=b"x")


async def test_a_machine_that_was_approved_becomes_a_manager_and_can_be_removed(tmp_path):
    port = 20_000 + os.getpid() % 10_000
    first, second = (Server(tmp_path / name, name) for name in ("first", "second"))
    for server in (first, second):
        (server.directory / "data").mkdir(parents=True)
    try:
        first_node, token = await _founded(first, f"127.0.0.1:{port}")

        known = places({}, data=str(second.directory / "data"), run=str(second.directory / "run"))
        answer = await _joined(known, f"127.0.0.1:{port}", token, f"127.0.0.2:{port}")
        async with _becoming(known):
            await _says(known, "waits until somebody on a manager approves it")
        assert (await first.call("POST", f"/v1/nodes/{answer.node_id}/approve"))[0] == 200
        await _fetch_certificate(first.directory / "data", second.directory / "data", answer.node_id)
        own = second.directory / "data" / "etcd"
        await _become(known, own)
        second.start()
        await _answers(second)
        found = await second.status()
        assert [(each.get("learner", False), each.get("trouble", "")) for each in found["members"]] == [(False, "")] * 2
        assert (await second.call("PATCH", f"/v1/nodes/{answer.node_id}", {"labels": {"a": "b"}}))[0] == 200
        _, _, seen = await first.call("GET", f"/v1/nodes/{answer.node_id}")
        assert seen["spec"]["labels"] == {"a": "b"}
        assert (second.directory / "data" / "secrets.key").read_bytes() == (
            first.directory / "data" / "secrets.key"
        ).read_bytes()

        for node in (first_node, answer.node_id):
            await _ready(first, node)
        # Killed, the leading manager is followed by the other, and every node's agent goes there.
        first.kill()
        async with asyncio.timeout(15):
            while (await second.status() or {}).get("leader") != answer.node_id:
                await CLOCK.sleep(0.05)
        await _ready(second, answer.node_id)
        first.start()
        await _answers(first)
        await _ready(second, first_node)

        await _clear_up(first, answer.node_id)
        await _stop(second)
        await Member(own, "", CLOCK).stop()
        status, _, kept = await first.call("DELETE", f"/v1/nodes/{answer.node_id}?force=true")
        assert status in {409, 503}, kept
        await Member(own, find_binary(ENVIRONMENT), CLOCK).ensure()
        await _until_removed(first, answer.node_id)
        assert len((await first.status())["members"]) == 1
        serial = Credentials(second.directory / "data").held().serial
        await _until(lambda: serial in (revocations.kept(first.directory / "data" / "etcd") or ()))
    finally:
        for server in (first, second):
            if server.process is not None and server.process.poll() is None:
                server.kill()
            await Member(server.directory / "data" / "etcd", find_binary(ENVIRONMENT), CLOCK).stop()


async def _founded(server, advertise):
    """Have a server be the first manager, its state in etcd; return its node and a token for another one."""
    server.start()
    await _answers(server)
    status, _, made = await server.call("POST", "/v1/cluster", {"advertise": advertise})
    assert status == 200, made
    node = (await server.call("GET", "/v1/nodes"))[2]["items"][0]["id"]
    _, _, token = await server.call("POST", "/v1/tokens", {"role": "manager"})
    await _stop(server)
    data = server.directory / "data"
    await Mover(data, ENVIRONMENT, CLOCK, IDS).to_members(place_of(data, ""))
    server.start()
    await _answers(server)
    return node, token["token"]


async def _become(known, own):
    """Have an approved machine become a manager, interrupted half way, where something of an earlier share is left."""
    Member(own, "", CLOCK).configure(Settings(name="old", peer="127.0.0.2:1", client="127.0.0.2:2", cluster={}, id="1"))
    (own / "data").mkdir()
    async with _becoming(known):
        await _until(lambda: Member(own, "", CLOCK).find() is not None)
    async with _becoming(known) as became:
        await asyncio.wait_for(became.wait(), 60)
    assert share.complete(known.data)
    assert share.progress(known) == ""


async def _clear_up(server, manager):
    """Take a member out that was let in and never came; a manager's own cannot be taken out so."""
    client = client_of(Member(server.directory / "data" / "etcd", find_binary(ENVIRONMENT), CLOCK), CLOCK)
    await add(client, "https://127.0.0.9:9", learner=True)
    await client.close()
    _, _, doctor = await server.call("GET", "/v1/doctor")
    (left,) = [each for each in doctor["items"] if "belongs to no manager" in each["message"]]
    assert (await server.call("DELETE", f"/v1/store/members/{left['advice'].split()[-1]}"))[0] == 200
    assert (await server.call("DELETE", f"/v1/store/members/{manager}"))[0] == 409
    assert (await server.call("DELETE", "/v1/store/members/nobody"))[0] == 404


@contextlib.asynccontextmanager
async def _becoming(known):
    """Have a machine become a manager, as it does beside its agent; gives what is set once it is one."""
    os.makedirs(known.run, exist_ok=True)
    became = asyncio.Event()
    running = asyncio.create_task(Becoming(known, ENVIRONMENT, CLOCK, became.set).run())
    try:
        yield became
    finally:
        running.cancel()
        await asyncio.wait([running])


async def _says(known, text):
    await _until(lambda: text in share.progress(known))


async def _until(true):
    async with asyncio.timeout(30):
        while not true():
            await CLOCK.sleep(0.02)


async def _until_removed(server, node_id):
    """Remove a node once most members answer again."""
    async with asyncio.timeout(30):
        while (await server.call("DELETE", f"/v1/nodes/{node_id}?force=true"))[0] != 200:
            await CLOCK.sleep(0.1)


async def _answers(server):
    async with asyncio.timeout(40):
        while await server.status() is None:
            assert server.process.poll() is None, server.log()
            await CLOCK.sleep(0.05)


async def _ready(server, node):
    """Return once the beats of a node are heard by the manager that leads."""
    async with asyncio.timeout(30):
        while True:
            _, _, found = await server.call("GET", f"/v1/nodes/{node}")
            if found.get("state") == "ready":
                return
            assert server.process.poll() is None, server.log()
            await CLOCK.sleep(0.1)


async def _stop(server):
    server.process.terminate()
    await asyncio.to_thread(server.process.wait)


async def _joined(known, address, token, advertise):
    return await asyncio.to_thread(joining.join, known, address, token, advertise)


async def _fetch_certificate(managers_data, data, node_id):
    """Do what the node's agent does once it was approved: make a new key and have it certified."""
    member = Member(managers_data / "etcd", find_binary(ENVIRONMENT), CLOCK)
    store = await EtcdStore.open(client_of(member, CLOCK), CLOCK, IDS)
    request = new_request()
    made = await renew(store, load_vault(managers_data), CLOCK, node_id, request.text)
    Credentials(data).keep(made.authorities, made.certificate, request.key)
    await store.close()
