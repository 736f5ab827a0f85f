"""Raw sockets against the listener: a request has one reading or is refused, and no second one hides in it."""

import asyncio
import contextlib
import datetime
import json
import os
import re
import socket
import ssl
import stat

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilothouse.errors import ConflictError, InvalidRequestError
from pilothouse.model.objects import AuditRecord
from pilothouse.server import guard
from pilothouse.server.listen import Listener, Tcp, of_token
from tests.server.harness import World

GOOD = b"GET /healthz HTTP/1.1\r\nHost: pilothouse\r\n\r\n"
HEAD = b"POST /v1/check HTTP/1.1\r\nHost: pilothouse\r\n"
# What an attacker hides behind a first request; if it is answered, somebody was fooled.
HIDDEN = b"GET /v1/smuggled HTTP/1.1\r\nHost: pilothouse\r\n\r\n"


@contextlib.asynccontextmanager
async def listening(tmp_path):
    world = World()
    listener = Listener(world.api, world.context.closing)
    path = tmp_path / "run" / "api.sock"
    await listener.open_unix(path)
    try:
        yield world, path, listener
    finally:
        await listener.close()


async def talk(path, *parts):
    """Send *parts* one after the other and return everything that comes back until the server closes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        async with asyncio.timeout(8):
            for part in parts:
                writer.write(part)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
            came = b""
            # A server that closes before it read everything resets the connection; what came before that counts.
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(65536):
                    came += chunk
            return came
    finally:
        writer.close()


def statuses(answer):
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


PROBES = {
    "length and coding": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "coding and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 50\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": HEAD + b"Content-Length: 0\r\nContent-Length: 50\r\n\r\n" + HIDDEN,
    "two equal lengths": HEAD + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n" + HIDDEN,
    "a list of lengths": HEAD + b"Content-Length: 0, 50\r\n\r\n" + HIDDEN,
    "a length with a sign": HEAD + b"Content-Length: +5\r\n\r\nhello" + HIDDEN,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "a length beyond all numbers": HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n" + HIDDEN,
    "another coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two codings": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two coding headers": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a coding in HTTP/1.0": HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded header": HEAD + b"X-One: a\r\n b\r\n\r\n" + HIDDEN,
    "line feeds without return": b"GET /healthz HTTP/1.1\nHost: pilothouse\n\n" + HIDDEN,
    "a return without line feed": HEAD + b"X-One: a\rTransfer-Encoding: chunked\r\n\r\n" + HIDDEN,
    "space before the colon": HEAD + b"Content-Length : 5\r\n\r\nhello" + HIDDEN,
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n" + HIDDEN,
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + HIDDEN,
    "a host with a path": b"GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n" + HIDDEN,
    "an underscore in a name": HEAD + b"Content_Length: 5\r\n\r\n" + HIDDEN,
    "a forwarded user with an underscore": HEAD + b"X_Forwarded_User: root\r\n\r\n" + HIDDEN,
    "an absolute target": b"GET http://other/healthz HTTP/1.1\r\nHost: pilothouse\r\n\r\n" + HIDDEN,
    "a target with a fragment": b"GET /healthz#x HTTP/1.1\r\nHost: pilothouse\r\n\r\n" + HIDDEN,
    "a tunnel": b"CONNECT other:443 HTTP/1.1\r\nHost: pilothouse\r\n\r\n" + HIDDEN,
    "another protocol": HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + HIDDEN,
    "a zero byte in a value": HEAD + b"X-One: a\x00b\r\n\r\n" + HIDDEN,
    "a hundred and one headers": HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(101)) + b"\r\n" + HIDDEN,
    "a header of a mebibyte": HEAD + b"X-One: " + b"a" * (1 << 20) + b"\r\n\r\n" + HIDDEN,
    "a target of a mebibyte": b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: pilothouse\r\n\r\n" + HIDDEN,
    "many small headers beyond the limit": HEAD + (b"X-One: " + b"a" * 900 + b"\r\n") * 40 + b"\r\n" + HIDDEN,
    "HTTP/0.9": b"GET /healthz\r\n\r\n" + HIDDEN,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "an unknown version": b"GET /healthz HTTP/1.2\r\nHost: pilothouse\r\n\r\n" + HIDDEN,
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + HIDDEN,
}


@pytest.mark.parametrize("probe", PROBES.values(), ids=list(PROBES))
async def test_an_ambiguous_request_gets_one_refusal_and_nothing_hidden_in_it_is_answered(tmp_path, probe):
    async with listening(tmp_path) as (world, path, _):
        found = statuses(await talk(path, probe))
        assert len(found) == 1 or (found == [] and len(probe) > 1 << 20), found
        assert set(found) <= {400, 408, 413, 414, 431, 505}
        assert await world.store.view(lambda tx: tx.find(AuditRecord)) == []


@pytest.mark.parametrize(
    "body",
    [
        b"5;ext=1\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    ],
)
async def test_odd_chunks_end_the_connection(tmp_path, body):
    async with listening(tmp_path) as (_, path, _):
        request = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        found = statuses(await talk(path, request + HIDDEN))
        assert len(found) == 1
        assert found[0] >= 400


async def test_plain_requests_are_answered_one_after_the_other_on_one_connection(tmp_path):
    async with listening(tmp_path) as (_, path, _):
        last = GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert statuses(await talk(path, GOOD + GOOD, last)) == [200, 200, 200]


async def test_what_follows_a_request_that_ends_its_connection_is_not_answered(tmp_path):
    async with listening(tmp_path) as (_, path, _):
        last = GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert statuses(await talk(path, last + HIDDEN)) == [200]


async def test_a_head_that_does_not_come_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "HEAD_SECONDS", 0.2)
    async with listening(tmp_path) as (_, path, _):
        assert statuses(await talk(path, GOOD[:20])) == [408]
        assert statuses(await talk(path)) == [408]
        assert statuses(await talk(path, GOOD + GOOD[:20])) == [200, 408]


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("pilothouse.server.api.dispatch.IDLE_SECONDS", 0.2)
    async with listening(tmp_path) as (_, path, _):
        request = HEAD + b"Content-Length: 10\r\nConnection: close\r\n\r\nabc"
        assert statuses(await talk(path, request)) == [408]


async def test_a_body_that_says_it_is_too_large_is_refused_at_once(tmp_path):
    async with listening(tmp_path) as (_, path, _):
        request = HEAD + b"Content-Length: 209715200\r\nConnection: close\r\n\r\n"
        assert statuses(await talk(path, request)) == [413]


async def test_two_hundred_bad_callers_hold_up_nobody(tmp_path):
    async with listening(tmp_path) as (_, path, _):
        bad = [await asyncio.open_unix_connection(str(path)) for _ in range(200)]
        for _, writer in bad:
            writer.write(GOOD[:30])
        loop = asyncio.get_running_loop()
        started = loop.time()
        last = GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        assert statuses(await talk(path, last)) == [200]
        assert loop.time() - started < 2
        for _, writer in bad:
            writer.close()


async def test_the_caller_is_who_the_kernel_says_whatever_headers_claim(tmp_path):
    async with listening(tmp_path) as (world, path, _):
        body = json.dumps({"app": "shop", "kind": "gpu", "reason": "x"}).encode()
        request = (
            b"POST /v1/grants HTTP/1.1\r\nHost: p\r\nX-Forwarded-User: mallory\r\nAuthorization: Bearer x\r\n"
            b"Connection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert statuses(await talk(path, request + body)) == [201]
        (record,) = await world.store.view(lambda tx: tx.find(AuditRecord))
        assert record.principal.startswith(f"uid:{os.getuid()}")


async def test_the_socket_is_for_owner_and_group_and_goes_with_the_server(tmp_path):
    async with listening(tmp_path) as (_, path, _):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
    assert not path.exists()


async def test_a_socket_left_by_a_dead_server_is_replaced_and_a_living_ones_is_not(tmp_path):
    stale = tmp_path / "run" / "api.sock"
    stale.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    async with listening(tmp_path) as (world, path, _):
        assert statuses(await talk(path, GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))) == [200]
        with pytest.raises(ConflictError, match="another server"):
            await Listener(world.api, world.context.closing).open_unix(path)
        assert path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    world = World()
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(InvalidRequestError):
        await Listener(world.api, world.context.closing).open_unix(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "mine"


async def test_stopping_ends_streams_and_lets_answers_finish(tmp_path):
    async with listening(tmp_path) as (world, path, listener):
        await world.call("PUT", "/v1/apps/shop", {"spec": {"name": "shop"}})
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /v1/apps/shop/watch HTTP/1.1\r\nHost: p\r\n\r\n")
        async with asyncio.timeout(5):
            await reader.readuntil(b"event: app")
            await listener.close(grace_seconds=2.0)
            assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()


def self_signed(directory):
    """Write a certificate for 127.0.0.1 and its key, and return both paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (directory / "c.pem").write_bytes(made.public_bytes(encoding))
    plain = serialization.NoEncryption()
    (directory / "k.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return directory / "c.pem", directory / "k.pem"


async def test_over_tcp_only_the_holder_of_the_token_is_answered_and_only_over_tls(tmp_path):
    world = World()
    certificate, key = self_signed(tmp_path)
    token = tmp_path / "token"
    token.write_text("t" * 40)
    token.chmod(0o600)
    listener = Listener(world.api, world.context.closing)
    port = await listener.open_tcp(Tcp(host="127.0.0.1", port=0, certificate=certificate, key=key, token_file=token))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def ask(tls, authorization):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
        writer.write(b"GET /v1/apps HTTP/1.1\r\nHost: p\r\nConnection: close\r\n" + authorization + b"\r\n")
        try:
            return statuses(await asyncio.wait_for(reader.read(), 5))
        except ConnectionError:
            return []
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    try:
        assert await ask(context, b"Authorization: Bearer " + b"t" * 40 + b"\r\n") == [200]
        assert await ask(context, b"Authorization: Bearer " + b"u" * 40 + b"\r\n") == [401]
        assert await ask(context, b"") == [401]
        assert await ask(None, b"") == []
    finally:
        await listener.close()


@pytest.mark.parametrize("missing", ["certificate", "token"])
async def test_tcp_is_refused_without_tls_and_a_token(tmp_path, missing):
    world = World()
    token = tmp_path / "token"
    if missing != "token":
        token.write_text("t" * 40)
        token.chmod(0o600)
    tcp = Tcp(host="127.0.0.1", port=0, certificate=tmp_path / "c.pem", key=tmp_path / "k.pem", token_file=token)
    with pytest.raises(InvalidRequestError, match="TCP needs"):
        await Listener(world.api, world.context.closing).open_tcp(tcp)


@pytest.mark.parametrize(
    ("headers", "known"),
    [
        ([(b"authorization", b"Bearer " + b"t" * 40)], True),
        ([(b"authorization", b"Bearer " + b"u" * 40)], False),
        ([(b"authorization", b"Basic " + b"t" * 40)], False),
        ([(b"authorization", b"Bearer " + b"t" * 40)] * 2, False),
        ([], False),
    ],
)
def test_a_request_on_tcp_is_known_by_its_token(headers, known):
    assert (of_token(headers, b"t" * 40) is not None) is known
