"""Two ends of a TLS connection meet if and only if each can show what the other must see."""

import asyncio
import ssl
import time

import pytest

from pilothouse.errors import InvalidRequestError, NotClusteredError
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.link.tls import (
    HANDSHAKE_SECONDS,
    blind_context,
    client_context,
    peer_of,
    pinned_context,
    server_context,
)
from pilothouse.model.cluster import Role
from pilothouse.model.identity import SERVER_NAME
from tests.pki import CLUSTER, Pki

DAY = 86_400.0


@pytest.fixture
def now():
    return time.time()


@pytest.fixture
def pki(now):
    return Pki(now)


@pytest.fixture
def manager(pki, tmp_path, now):
    return pki.credentials(tmp_path / "manager", "m1", now, Role.MANAGER)


@pytest.fixture
def agent(pki, tmp_path, now):
    return pki.credentials(tmp_path / "agent", "a1", now)


class Listening:
    """A server that tells each caller who it is."""

    def __init__(self, context):
        self.context = context
        self.callers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(
            self._meet, "127.0.0.1", 0, ssl=self.context, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _meet(self, reader, writer):
        self.callers.append(peer_of(writer.transport))
        writer.write(b"met\n")
        writer.write_eof() if writer.can_write_eof() else None
        await reader.read(1)
        writer.close()

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()


async def meet(server, context, name=SERVER_NAME):
    """Connect, read the greeting, and return the transport's TLS object's facts."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname=name)
        try:
            # With TLS 1.3 a client learns only from its first read that it was refused.
            assert await reader.readline() == b"met\n"
            return peer_of(writer.transport), writer.get_extra_info("ssl_object").version()
        finally:
            writer.close()


async def test_an_agent_and_a_manager_meet_and_know_each_other(manager, agent):
    async with Listening(server_context(manager)) as server:
        found, version = await meet(server, client_context(agent))
    assert version == "TLSv1.3"
    assert found.serial == manager.held().serial
    assert found.names == (f"spiffe://{CLUSTER}/agent/m1", f"spiffe://{CLUSTER}/manager/m1")
    assert [(c.names, c.serial) for c in server.callers] == [((f"spiffe://{CLUSTER}/agent/a1",), agent.held().serial)]


async def test_whoever_shows_no_certificate_is_refused_unless_the_listener_allows_it(manager, pki):
    pinned = pinned_context(pki.made.certificate)
    async with Listening(server_context(manager)) as server:
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await meet(server, pinned)
        assert server.callers == []
    async with Listening(server_context(manager, anonymous=True)) as server:
        await meet(server, pinned)
        assert [c.names for c in server.callers] == [()]


async def test_a_certificate_of_another_authority_is_refused_by_both_ends(manager, agent, tmp_path, now):
    other = Pki(now)
    stranger = other.credentials(tmp_path / "stranger", "a1", now, authorities=agent.held().authorities)
    impostor = other.credentials(tmp_path / "impostor", "m1", now, Role.MANAGER)
    for anonymous in (False, True):
        async with Listening(server_context(manager, anonymous=anonymous)) as server:
            with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
                await meet(server, client_context(stranger))
            assert server.callers == []
    async with Listening(server_context(impostor)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await meet(server, client_context(agent))


async def test_an_agent_cannot_pass_itself_off_as_a_manager(pki, agent, tmp_path, now):
    rogue = pki.credentials(tmp_path / "rogue", "a2", now)
    async with Listening(server_context(rogue)) as server:
        for context in (client_context(agent), pinned_context(pki.made.certificate)):
            with pytest.raises(ssl.SSLCertVerificationError):
                await meet(server, context)


async def test_the_name_of_the_listener_is_checked_wherever_it_listens(manager, agent):
    async with Listening(server_context(manager)) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
            await meet(server, client_context(agent), name="127.0.0.1")


async def test_an_expired_certificate_is_refused(pki, manager, tmp_path, now):
    late = pki.credentials(tmp_path / "late", "a1", now - 2 * DAY)
    async with Listening(server_context(manager)) as server:
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await meet(server, client_context(late))


async def test_nothing_older_than_tls_1_3_is_spoken(manager, agent):
    old = client_context(agent)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Listening(server_context(manager)) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await meet(server, old)


async def test_a_listener_takes_replaced_files_for_new_connections(pki, manager, agent, now):
    async with Listening(server_context(manager)) as server:
        first, _ = await meet(server, client_context(agent))
        request = new_request()
        renewed = pki.issue("m1", now, Role.MANAGER, request.text)
        manager.keep(pki.made.certificate, renewed.text, request.key)
        second, _ = await meet(server, client_context(agent))
    assert first.serial != second.serial == renewed.certificate.serial


async def test_a_listener_stops_believing_an_authority_that_was_taken_out(pki, manager, agent, tmp_path, now):
    other = Pki(now, number=2)
    both = pki.made.certificate + other.made.certificate
    moved = other.credentials(tmp_path / "moved", "a2", now, authorities=both)
    async with Listening(server_context(manager)) as server:
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await meet(server, client_context(moved))
        manager.trust(both)
        await meet(server, client_context(moved))
        await meet(server, client_context(agent))
        manager.trust(pki.made.certificate)
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await meet(server, client_context(moved))
        await meet(server, client_context(agent))


async def test_a_session_is_never_resumed(manager, agent):
    context = client_context(agent)
    async with Listening(server_context(manager)) as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=context, server_hostname=SERVER_NAME
        )
        await reader.readline()
        session = writer.get_extra_info("ssl_object").session
        writer.close()
    assert session is None or not session.has_ticket


async def test_the_blind_context_meets_anybody(tmp_path, now):
    other = Pki(now, cluster="d" * 32).credentials(tmp_path / "other", "m9", now, Role.MANAGER)
    async with Listening(server_context(other, anonymous=True)) as server:
        await meet(server, blind_context(), name="anything")


def test_a_machine_without_credentials_says_what_to_do(tmp_path):
    with pytest.raises(NotClusteredError, match="pilothouse init"):
        client_context(Credentials(tmp_path))
    assert not Credentials(tmp_path).exist()


def test_damaged_files_are_named(manager):
    (manager.directory() / "node.key").write_text("no key")
    with pytest.raises(InvalidRequestError, match="cannot be used"):
        server_context(manager)
