"""A machine joins over real TLS: it believes the token's authority alone, and a refusal leaves nothing behind."""

import asyncio
import contextlib
import json
import os
import pathlib
import ssl
import stat
import time

import pytest
from msgspec.structs import replace

from pilothouse.cli import joining, membership, remote
from pilothouse.cli.places import places
from pilothouse.cli.transport import Transport
from pilothouse.errors import (
    ConflictError,
    InvalidRequestError,
    JoinRefusedError,
    ServerUnavailableError,
    UnauthorizedError,
)
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.link.tls import blind_context, client_context, pinned_context, server_context
from pilothouse.model.addresses import join_address, split_address
from pilothouse.model.api import Page
from pilothouse.model.cluster import Authority, Role
from pilothouse.model.cluster_api import AuthorityAnswer, JoinRequest
from pilothouse.model.join_token import write
from pilothouse.model.node import Node
from pilothouse.server.cluster.allow_list import AllowList
from pilothouse.server.listen import Listener
from tests.pki import Pki
from tests.server.clustering import Cluster


class Served(Cluster):
    """A cluster whose API listens on loopback.

    Attributes:
        address: Of the API.
    """

    @contextlib.asynccontextmanager
    async def listening(self, token=None, credentials=None):
        self.clock.at = time.time()
        if not self.credentials.exist():
            await self.init()
        listed = AllowList(self.clock)
        await self.store.view(listed.survey)
        self.allow_list = listed
        self.listener = listener = Listener(self.api, asyncio.Event())
        context = server_context(credentials or self.credentials, anonymous=True)
        port = await listener.open_cluster("127.0.0.1", 0, context, listed, token)
        self.address = join_address("127.0.0.1", port)
        try:
            yield self
        finally:
            await listener.close(0.1)

    async def ask(self, context, method, path, kind=dict, body=None):
        return await asyncio.to_thread(remote.ask, self.address, context, method, path, kind, body)


@pytest.fixture
async def manager(tmp_path):
    data = tmp_path / "manager"
    data.mkdir()
    async with Served(data).listening() as found:
        yield found


@pytest.fixture
def joiner(tmp_path):
    return places({}, data=str(tmp_path / "joiner"), run=str(tmp_path / "run"))


async def join(manager, joiner, token, address=None, **more):
    text = token if isinstance(token, str) else write(token)
    return await asyncio.to_thread(joining.join, joiner, address or manager.address, text, **more)


def left_behind(joiner):
    return sorted(os.listdir(joiner.data)) if os.path.isdir(joiner.data) else []


def make_a_store(joiner):
    pathlib.Path(joiner.data).mkdir()
    pathlib.Path(joiner.data, joining.STORE_FILE).touch()


def texts(joiner):
    return [each.read_text() for each in pathlib.Path(joiner.data).rglob("*") if each.is_file()]


async def test_a_machine_that_joined_holds_what_it_needs_and_nobody_else_can_read_it(manager, joiner):
    token = await manager.token(labels={"zone": "a"})
    answer = await join(manager, joiner, token, advertise="10.1.2.3")
    held = Credentials(manager.credentials.link.parent.parent / "joiner").held()
    assert held.names == (f"spiffe://{answer.cluster}/agent/{answer.node_id}",)
    known = membership.load(joiner.data)
    assert (known.role, known.node_id, known.managers) == (Role.AGENT, answer.node_id, ("192.0.2.1:7444",))
    file = os.path.join(joiner.data, membership.FILE)
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    node = await manager.one(Node, answer.node_id)
    assert (node.spec.labels, node.description.address) == ({"zone": "a"}, "10.1.2.3")
    assert [c.serial for c in node.certificates] == [held.serial]


async def test_a_machine_is_in_one_cluster_at_a_time(manager, joiner):
    await join(manager, joiner, await manager.token())
    with pytest.raises(ConflictError, match="in a cluster already"):
        await join(manager, joiner, await manager.token())
    joining.undo(joiner)
    assert left_behind(joiner) == []
    await join(manager, joiner, await manager.token())


async def test_a_platform_of_its_own_does_not_join(manager, joiner):
    make_a_store(joiner)
    with pytest.raises(ConflictError, match="platform of its own"):
        await join(manager, joiner, await manager.token())


def test_the_file_of_a_store_is_called_as_the_store_calls_it():
    from pilothouse.store.database import FILE

    assert joining.STORE_FILE == FILE


async def test_a_refusal_leaves_nothing_behind(manager, joiner):
    token = await manager.token()
    with pytest.raises(JoinRefusedError, match="lets no machine join"):
        await join(manager, joiner, replace(token, secret="A" * 26))
    with pytest.raises(InvalidRequestError, match="copied whole"):
        await join(manager, joiner, write(token)[:-1])
    assert left_behind(joiner) == []
    assert len(await manager.all(Node)) == 1


async def test_a_manager_that_is_not_there_is_named(joiner):
    with pytest.raises(ServerUnavailableError, match=r"nobody listens at 127\.0\.0\.1:1"):
        await join(None, joiner, f"PH1-AAAAAAAA-{'A' * 26}-{'0' * 64}", address="127.0.0.1:1")


async def test_somebody_in_between_with_an_authority_of_his_own_gets_no_secret(manager, joiner, tmp_path):
    """He answers with his own authority: its hash is not the token's, so nothing more is said to him."""
    token = await manager.token()
    data = tmp_path / "between"
    data.mkdir()
    between = Served(data)
    heard = []
    async with between.listening():
        real = between.api._answer
        between.api._answer = lambda request: (heard.append(request.raw_path), real(request))[1]
        with pytest.raises(JoinRefusedError, match="somebody sits in between; nothing was sent"):
            await join(between, joiner, token)
    assert heard == [b"/v1/cluster/authority"]
    assert left_behind(joiner) == []


async def test_somebody_in_between_who_shows_the_right_authority_cannot_prove_it(manager, joiner, tmp_path):
    """The authority's certificate is no secret: he has it, but not its key, so the second connection fails."""
    token = await manager.token()
    own = Pki(time.time()).credentials(tmp_path / "between", "m1", time.time(), Role.MANAGER)
    heard = []
    real = manager.api._answer
    manager.api._answer = lambda request: (heard.append(request.raw_path), real(request))[1]
    async with manager.listening(credentials=own):
        with pytest.raises(ServerUnavailableError, match="no manager of the cluster that the token is for"):
            await join(manager, joiner, token)
    assert heard == [b"/v1/cluster/authority"], "the secret was not sent"
    assert left_behind(joiner) == []


async def test_a_rogue_agent_in_between_is_no_manager(manager, joiner, tmp_path):
    """It has a certificate of the right authority, and the right authority to show; still it is an agent's."""
    victim = await manager.token()
    rogue = places({}, data=str(tmp_path / "rogue"), run=str(tmp_path / "rogue-run"))
    await join(manager, rogue, await manager.token())
    async with manager.listening(credentials=Credentials(tmp_path / "rogue")):
        with pytest.raises(ServerUnavailableError, match="no manager of the cluster"):
            await join(manager, joiner, victim)
    assert left_behind(joiner) == []


async def test_a_stranger_may_ask_for_the_authority_and_join_and_nothing_else(manager):
    stranger = blind_context()
    found = await manager.ask(stranger, "GET", "/v1/cluster/authority", AuthorityAnswer)
    assert len(found.authorities) == 1
    body = JoinRequest(token_id="A", secret="B", request="C", hostname="h")
    with pytest.raises(JoinRefusedError):
        await manager.ask(stranger, "POST", "/v1/join", dict, body)
    for method, path in (("GET", "/v1/nodes"), ("GET", "/v1/cluster"), ("POST", "/v1/tokens"), ("GET", "/v1/info")):
        with pytest.raises(UnauthorizedError):
            await manager.ask(stranger, method, path)


async def test_an_agents_certificate_opens_no_more_than_a_strangers(manager, joiner, tmp_path):
    await join(manager, joiner, await manager.token())
    context = client_context(Credentials(tmp_path / "joiner"))
    with pytest.raises(UnauthorizedError):
        await manager.ask(context, "GET", "/v1/nodes")


async def test_a_managers_certificate_opens_the_api_until_it_is_taken_back(manager):
    context = client_context(manager.credentials)
    assert len((await manager.ask(context, "GET", "/v1/nodes", Page[Node])).items) == 1
    manager.clock.at += 2 * 86_400
    with pytest.raises(UnauthorizedError):
        await manager.ask(context, "GET", "/v1/nodes")


async def test_the_bearer_token_opens_it_too_if_there_is_one(tmp_path):
    tmp_path.joinpath("m").mkdir()
    async with Served(tmp_path / "m").listening(token=b"t" * 40) as manager:
        reader, writer = await asyncio.open_connection(*split_address(manager.address), ssl=blind_context())
        for token, status in ((b"t" * 40, b"200"), (b"x" * 40, b"401")):
            writer.write(b"GET /v1/nodes HTTP/1.1\r\nHost: m\r\nAuthorization: Bearer " + token + b"\r\n\r\n")
            assert (await reader.readline()).split()[1] == status
            length = 0
            while (header := await reader.readline()) != b"\r\n":
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            await reader.readexactly(length)
        writer.close()


async def test_a_client_certificate_of_another_authority_is_cut_off(manager, tmp_path):
    other = Pki(time.time()).credentials(tmp_path / "other", "m1", time.time(), Role.MANAGER)
    context = client_context(other)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with pytest.raises(ServerUnavailableError):
        await manager.ask(context, "GET", "/v1/cluster/authority")


async def test_a_disk_that_cannot_be_written_says_what_to_do_on_the_manager(manager, joiner, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(membership, "save", full)
    with pytest.raises(ServerUnavailableError, match="pilothouse node remove"):
        await join(manager, joiner, await manager.token())
    assert left_behind(joiner) == []


async def test_no_file_of_the_joiner_and_no_line_of_the_log_holds_the_secret(manager, joiner, capfd):
    token = await manager.token()
    await join(manager, joiner, token)
    said = capfd.readouterr()
    assert token.secret not in said.out + said.err
    assert len(texts(joiner)) >= 4
    assert not any(token.secret in each for each in texts(joiner))


def test_a_damaged_membership_is_named_and_none_is_none(tmp_path):
    assert membership.load(tmp_path) is None
    (tmp_path / membership.FILE).write_text(json.dumps({"role": "king"}))
    with pytest.raises(InvalidRequestError, match="is damaged"):
        membership.load(tmp_path)


def test_the_address_of_this_machine_towards_loopback_is_loopback():
    assert joining.own_address("127.0.0.1:7443").startswith("127.")


async def test_the_pinned_authority_is_the_only_one_believed(manager):
    (authority,) = await manager.all(Authority)
    await manager.ask(pinned_context(authority.certificate), "GET", "/v1/cluster/authority")
    with pytest.raises(ServerUnavailableError):
        await manager.ask(pinned_context(Pki(time.time()).made.certificate), "GET", "/v1/cluster/authority")


async def test_strangers_in_numbers_do_not_keep_the_people_of_this_machine_out(tmp_path, monkeypatch):
    """Their connections are counted apart, so those of the Unix socket are never the ones too many."""
    (tmp_path / "m").mkdir()
    monkeypatch.setattr("pilothouse.server.listen.MAX_CONNECTIONS", 4)
    manager = Served(tmp_path / "m")
    async with manager.listening():
        socket = tmp_path / "api.sock"
        await manager.listener.open_unix(socket)
        async with contextlib.AsyncExitStack() as held:
            for _ in range(6):
                _, writer = await asyncio.open_connection(*split_address(manager.address), ssl=blind_context())
                held.callback(writer.close)
            done = await asyncio.to_thread(Transport(str(socket)).call, "GET", "/healthz")
            assert b"true" in done or done == b"{}"


async def test_a_clock_that_is_wrong_is_called_that(manager, joiner, tmp_path):
    """A machine that just booted, with a clock of last year, must not suspect its manager."""
    token = await manager.token()
    manager.clock.at += 7_200
    made = await manager.renew("m1", request := new_request())
    ahead = Credentials(tmp_path / "ahead")
    ahead.link.parent.mkdir()
    ahead.keep(made.authorities, made.certificate, request.key)
    async with manager.listening(credentials=ahead):
        with pytest.raises(ServerUnavailableError, match="set both machines' clocks"):
            await join(manager, joiner, token)
    assert left_behind(joiner) == []
