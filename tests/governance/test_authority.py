"""What an authority issues, and what is believed of it."""

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.errors import InvalidRequestError, UnauthorizedError
from pilothouse.governance.identity.authority.issue import LIFE_SECONDS, MAX_REQUEST
from pilothouse.governance.identity.authority.make import cross_sign, make_authority
from pilothouse.governance.identity.authority.verify import verify
from pilothouse.link.credentials import leaf_of, new_request
from pilothouse.model.cluster import Role
from pilothouse.model.identity import SERVER_NAME, Identity
from tests.pki import CLUSTER, Pki

NOW = 1_800_000_000.0
DAY = 86_400.0


@pytest.fixture(scope="module")
def pki():
    return Pki(NOW)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def csr(key, *, names=(), subject="root", tamper=False):
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(names)), critical=False)
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    raw = signed.public_bytes(serialization.Encoding.DER)
    if tamper:
        raw = raw[:-1] + bytes([raw[-1] ^ 1])
    return x509.load_der_x509_csr(raw).public_bytes(serialization.Encoding.PEM).decode()


def test_an_authority_signs_certificates_and_nothing_else_for_two_years(pki):
    found = leaf_of(pki.made.certificate)
    assert isinstance(found.public_key().curve, ec.SECP256R1)
    assert extension(found, x509.BasicConstraints).critical
    assert extension(found, x509.BasicConstraints).value.ca
    usage = extension(found, x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature) == (True, False)
    life = found.not_valid_after_utc - datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    assert life == datetime.timedelta(days=730)
    names = extension(found, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"spiffe://{CLUSTER}"]


@pytest.mark.parametrize("role", Role)
def test_a_certificate_says_who_it_is_and_what_it_may_be_used_for(pki, role):
    found = leaf_of(pki.issue("a1", NOW, role).text)
    names = extension(found, x509.SubjectAlternativeName).value
    purposes = set(extension(found, x509.ExtendedKeyUsage).value)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    assert f"spiffe://{CLUSTER}/agent/a1" in uris
    manager = role is Role.MANAGER
    assert (f"spiffe://{CLUSTER}/manager/a1" in uris) is manager
    assert names.get_values_for_type(x509.DNSName) == ([SERVER_NAME] if manager else [])
    assert (ExtendedKeyUsageOID.SERVER_AUTH in purposes) is manager
    assert ExtendedKeyUsageOID.CLIENT_AUTH in purposes
    assert not extension(found, x509.BasicConstraints).value.ca


def test_a_certificate_lasts_a_day_and_begins_five_minutes_ago(pki):
    issued = pki.issue("a1", NOW)
    found = leaf_of(issued.text)
    assert found.not_valid_before_utc.timestamp() == NOW - 300
    assert found.not_valid_after_utc.timestamp() == NOW + DAY == NOW + LIFE_SECONDS
    assert (issued.certificate.not_before, issued.certificate.not_after) == (NOW - 300, NOW + DAY)
    assert issued.certificate.serial == f"{found.serial_number:x}"


def test_a_certificate_never_outlives_its_authority(pki):
    last = leaf_of(pki.made.certificate).not_valid_after_utc.timestamp()
    assert pki.issue("a1", last - 60).certificate.not_after == last


def test_two_certificates_never_share_a_serial(pki):
    request = new_request().text
    assert len({pki.issue("a1", NOW, request=request).certificate.serial for _ in range(50)}) == 50


def test_what_a_request_asks_for_is_ignored(pki):
    """A rogue agent asks to be a manager, another node, an authority: it gets the name it has."""
    key = ec.generate_private_key(ec.SECP256R1())
    wishes = (
        x509.DNSName(SERVER_NAME),
        x509.UniformResourceIdentifier(f"spiffe://{CLUSTER}/manager/a1"),
        x509.UniformResourceIdentifier(f"spiffe://{CLUSTER}/agent/victim"),
    )
    found = leaf_of(pki.issue("a1", NOW, request=csr(key, names=wishes, subject="victim")).text)
    names = extension(found, x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"spiffe://{CLUSTER}/agent/a1")]
    assert found.subject.rfc4514_string() == "CN=a1"
    assert found.public_key() == key.public_key()


@pytest.mark.parametrize(
    "request_text",
    [
        lambda: csr(ec.generate_private_key(ec.SECP384R1())),
        lambda: csr(ec.generate_private_key(ec.SECP256K1())),
        lambda: csr(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        lambda: csr(ed25519.Ed25519PrivateKey.generate()),
    ],
    ids=["p384", "secp256k1", "rsa", "ed25519"],
)
def test_another_kind_of_key_is_refused(pki, request_text):
    with pytest.raises(InvalidRequestError, match="P-256"):
        pki.issue("a1", NOW, request=request_text())


def test_a_request_for_a_key_that_somebody_else_has_is_refused(pki):
    with pytest.raises(InvalidRequestError, match="not signed by the key in it"):
        pki.issue("a1", NOW, request=csr(ec.generate_private_key(ec.SECP256R1()), tamper=True))


@pytest.mark.parametrize(
    "text", ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----"]
)
def test_what_is_no_request_is_refused(pki, text):
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        pki.issue("a1", NOW, request=text)


def test_a_request_that_is_too_long_is_not_even_read(pki):
    with pytest.raises(InvalidRequestError, match=f"at most {MAX_REQUEST}"):
        pki.issue("a1", NOW, request=new_request().text + " " * MAX_REQUEST)


def test_a_certificate_is_believed_of_the_authority_that_issued_it(pki):
    other = Pki(NOW, number=2)
    issued = other.issue("a1", NOW, Role.MANAGER)
    found = verify(issued.text, (pki.made.certificate, other.made.certificate), NOW)
    assert found.identity == Identity(cluster=CLUSTER, node_id="a1", role=Role.MANAGER)
    assert found.serial == issued.certificate.serial
    assert found.authority == 1
    with pytest.raises(UnauthorizedError, match="no authority that is trusted"):
        verify(issued.text, (pki.made.certificate,), NOW)


def test_an_authority_of_the_same_name_is_not_the_same_authority(pki):
    impostor = Pki(NOW)
    with pytest.raises(UnauthorizedError, match="no authority that is trusted"):
        verify(impostor.issue("a1", NOW).text, (pki.made.certificate,), NOW)


@pytest.mark.parametrize("at", [NOW - 301, NOW + DAY + 1])
def test_a_certificate_is_believed_only_while_it_lasts(pki, at):
    issued = pki.issue("a1", NOW).text
    verify(issued, (pki.made.certificate,), NOW - 300)
    verify(issued, (pki.made.certificate,), NOW + DAY)
    with pytest.raises(UnauthorizedError, match="not now"):
        verify(issued, (pki.made.certificate,), at)


def test_a_node_cannot_sign_for_another(pki):
    """A rogue agent uses its own certificate as if it were an authority."""
    request = new_request()
    rogue = pki.issue("a1", NOW, request=request.text)
    key = serialization.load_pem_private_key(request.key, None)
    builder = x509.CertificateBuilder(
        issuer_name=leaf_of(rogue.text).subject,
        subject_name=x509.Name([]),
        public_key=key.public_key(),
        serial_number=7,
        not_valid_before=datetime.datetime.fromtimestamp(NOW - 60, datetime.UTC),
        not_valid_after=datetime.datetime.fromtimestamp(NOW + 60, datetime.UTC),
    ).add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{CLUSTER}/agent/victim")]),
        critical=False,
    )
    forged = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(UnauthorizedError):
        verify(forged + rogue.text, (pki.made.certificate,), NOW)


def test_a_certificate_of_another_cluster_by_a_trusted_key_is_nobodys(pki):
    """Two clusters with one key would have to be made on purpose; names and authority must still agree."""
    other = Pki(NOW, cluster="d" * 32)
    other.made = pki.made
    with pytest.raises(UnauthorizedError, match="names no node of its authority's cluster"):
        verify(other.issue("a1", NOW).text, (pki.made.certificate,), NOW)


def test_an_authority_is_no_node(pki):
    with pytest.raises(UnauthorizedError, match="no node's"):
        verify(pki.made.certificate, (pki.made.certificate,), NOW)


def test_who_knows_only_the_old_authority_believes_the_new_one_that_it_certified(pki):
    new = Pki(NOW, number=2)
    cross = cross_sign(CLUSTER, new.made.certificate, pki.made.certificate, pki.made.key, NOW)
    issued = new.issue("m1", NOW, Role.MANAGER).text
    found = verify(issued + cross, (pki.made.certificate,), NOW)
    assert found.identity.node_id == "m1"
    assert verify(issued + cross, (new.made.certificate,), NOW).identity == found.identity
    with pytest.raises(UnauthorizedError):
        verify(issued, (pki.made.certificate,), NOW)


def test_a_bridge_ends_with_the_old_authority():
    old = make_authority(CLUSTER, 1, NOW - 700 * DAY)
    new = Pki(NOW, number=2)
    cross = cross_sign(CLUSTER, new.made.certificate, old.certificate, old.key, NOW)
    assert leaf_of(cross).not_valid_after_utc == leaf_of(old.certificate).not_valid_after_utc
    after = NOW + 31 * DAY
    with pytest.raises(UnauthorizedError):
        verify(new.issue("m1", after).text + cross, (old.certificate,), after)


def test_no_text_of_an_authority_shows_its_key(pki):
    assert "PRIVATE" not in repr(pki.made)
