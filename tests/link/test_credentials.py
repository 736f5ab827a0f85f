"""A machine's key and certificates are replaced together, for its owner's eyes only."""

import stat
import time

import pytest

from pilothouse.errors import InvalidRequestError
from pilothouse.link.credentials import Credentials, new_request
from pilothouse.model.cluster import Role
from pilothouse.model.identity import Identity, identity_of, names_of
from tests.pki import CLUSTER, Pki


@pytest.fixture
def pki():
    return Pki(time.time())


def test_what_was_kept_is_held(pki, tmp_path):
    now = time.time()
    held = pki.credentials(tmp_path, "a1", now).held()
    assert held.names == (f"spiffe://{CLUSTER}/agent/a1",)
    assert held.not_before == int(now - 300)
    assert held.not_after == int(now + 86_400)
    assert held.authorities == pki.made.certificate


def test_only_the_owner_may_read_any_of_it(pki, tmp_path):
    directory = pki.credentials(tmp_path, "a1", time.time()).directory()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    assert sorted(path.name for path in directory.iterdir()) == ["authorities.pem", "node.key", "node.pem"]


def test_a_reader_of_the_generation_before_is_not_disturbed(pki, tmp_path):
    credentials = pki.credentials(tmp_path, "a1", time.time())
    first, serial = credentials.directory(), credentials.held().serial
    pki.credentials(tmp_path, "a1", time.time())
    assert credentials.held().serial != serial
    assert (first / "node.key").exists()
    for _ in range(3):
        pki.credentials(tmp_path, "a1", time.time())
    assert not first.exists()
    assert len(list(tmp_path.glob("pki.*"))) == 2


def test_a_certificate_for_another_key_is_not_kept(pki, tmp_path):
    credentials = pki.credentials(tmp_path, "a1", time.time())
    before = credentials.held()
    with pytest.raises(InvalidRequestError, match="not for this machine's key"):
        credentials.keep(pki.made.certificate, pki.issue("a1", time.time()).text, new_request().key)
    assert credentials.held() == before


def test_new_authorities_leave_key_and_certificate_alone(pki, tmp_path):
    credentials = pki.credentials(tmp_path, "a1", time.time())
    before, key = credentials.held(), (credentials.directory() / "node.key").read_bytes()
    credentials.trust(pki.made.certificate * 2)
    assert credentials.held().serial == before.serial
    assert (credentials.directory() / "node.key").read_bytes() == key
    assert credentials.held().authorities == pki.made.certificate * 2


def test_removing_leaves_nothing(pki, tmp_path):
    credentials = pki.credentials(tmp_path, "a1", time.time())
    credentials.remove()
    credentials.remove()
    assert list(tmp_path.iterdir()) == []
    assert not Credentials(tmp_path).exist()


def test_no_text_of_a_request_shows_its_key():
    request = new_request()
    assert request.key.decode() not in repr(request)
    assert "PRIVATE" not in repr(request)


@pytest.mark.parametrize("role", Role)
def test_an_identity_is_read_from_its_names_in_any_order(role):
    identity = Identity(cluster=CLUSTER, node_id="web-1.rack2", role=role)
    assert identity_of(names_of(identity)) == identity
    assert identity_of(reversed(names_of(identity))) == identity


@pytest.mark.parametrize(
    "names",
    [
        (),
        (f"spiffe://{CLUSTER}",),
        (f"spiffe://{CLUSTER}/manager/m1",),
        (f"spiffe://{CLUSTER}/agent/m1", f"spiffe://{CLUSTER}/manager/m2"),
        (f"spiffe://{CLUSTER}/agent/m1", f"spiffe://{'d' * 32}/manager/m1"),
        (f"spiffe://{CLUSTER}/agent/m1", f"spiffe://{CLUSTER}/agent/m1"),
        (f"spiffe://{CLUSTER}/agent/m1", f"spiffe://{CLUSTER}/agent/m2"),
        (f"spiffe://{CLUSTER}/agent/m1", f"spiffe://{CLUSTER}/manager/m1", "spiffe://else"),
        (f"spiffe://{CLUSTER}/agent/m1/x",),
        (f"spiffe://{CLUSTER}/agent/../m1",),
        (f"spiffe://{CLUSTER}/agent/M1",),
        (f"spiffe://{CLUSTER}/agent/m1\n",),
        (f"SPIFFE://{CLUSTER}/agent/m1",),
        (f"spiffe://{CLUSTER.upper()}/agent/m1",),
        (f"spiffe://{CLUSTER}/boss/m1",),
    ],
)
def test_names_of_any_other_form_are_nobodys(names):
    assert identity_of(names) is None
