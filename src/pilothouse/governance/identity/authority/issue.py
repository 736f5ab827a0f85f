"""Issues a node's certificate for a signing request: the key is the node's, everything else the authority decides."""

import ipaddress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pilothouse.errors import InvalidRequestError
from pilothouse.governance.identity.authority.make import BACKDATE_SECONDS, load_key, moment, usage
from pilothouse.link.credentials import leaf_of, serial_of
from pilothouse.model.base import Value
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import Role
from pilothouse.model.identity import SERVER_NAME, Identity, names_of

LIFE_SECONDS = 86_400.0
MAX_REQUEST = 4096
"""A request with a P-256 key has some 350 bytes."""


class Issued(Value, frozen=True, kw_only=True):
    """A certificate as PEM, and what the store keeps of it."""

    text: str
    certificate: Certificate


def issue(
    request: str, identity: Identity, authority_id: str, authority: str, key: bytes, now: float, host: str = ""
) -> Issued:
    """Return a certificate for the key in *request*; names and wishes in the request are ignored.

    A manager's also names the *host* it is at: members of the replicated store check that of each other.

    It is valid from five minutes ago for 24 hours from now, or as long as the authority is.

    Raises:
        InvalidRequestError: The request is none, is not signed by its own key, or has another kind of key than P-256.
    """
    public, signer, issuer = _key_of(request), load_key(key), leaf_of(authority)
    end = min(now + LIFE_SECONDS, issuer.not_valid_after_utc.timestamp())
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(name) for name in names_of(identity)]
    if identity.role is Role.MANAGER:
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
        names.append(x509.DNSName(SERVER_NAME))
        if host:
            names.append(_host(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.node_id)]))
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(now - BACKDATE_SECONDS))
        .not_valid_after(moment(end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Issued(
        text=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        certificate=Certificate(
            serial=serial_of(certificate),
            not_before=now - BACKDATE_SECONDS,
            not_after=certificate.not_valid_after_utc.timestamp(),
            authority=authority_id,
        ),
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def issued_at(certificate: Certificate) -> float:
    """Return when a certificate was issued."""
    return certificate.not_before + BACKDATE_SECONDS


def _key_of(text: str) -> ec.EllipticCurvePublicKey:
    if len(text) > MAX_REQUEST:
        raise InvalidRequestError(f"the signing request has {len(text)} characters; at most {MAX_REQUEST} are read")
    try:
        request = x509.load_pem_x509_csr(text.encode())
        key, signed = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, x509.UnsupportedGeneralNameType) as error:
        raise InvalidRequestError(f"the signing request cannot be read: {error}; send a PKCS #10 as PEM") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidRequestError("the signing request has another kind of key than P-256; make one of that kind")
    if not signed:
        raise InvalidRequestError("the signing request is not signed by the key in it")
    return key
