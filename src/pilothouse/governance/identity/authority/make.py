"""Makes a certificate authority: a P-256 key that signs for one cluster, and for nobody after two years."""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilothouse.link.credentials import key_text, leaf_of
from pilothouse.model.base import Value
from pilothouse.model.identity import cluster_name

LIFE_SECONDS = 2 * 365 * 86_400.0
BACKDATE_SECONDS = 300.0
"""So far behind may the clock of a machine be that checks a certificate just made."""


class Made(Value, frozen=True, kw_only=True):
    """An authority's certificate and key as PEM, and when it ends."""

    certificate: str
    key: bytes
    not_after: float

    def __repr__(self) -> str:
        """Leave the key out, so that no log line can hold it."""
        return f"Made(not_after={self.not_after!r})"


def make_authority(cluster: str, number: int, now: float) -> Made:
    """Return a new authority of *cluster*; *number* tells it apart from those before it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Pilothouse {cluster[:8]} authority {number}")])
    certificate = _certificate(
        subject=name, issuer=name, public=key.public_key(), signer=key, cluster=cluster, now=now, end=now + LIFE_SECONDS
    )
    return Made(certificate=_pem(certificate), key=key_text(key), not_after=now + LIFE_SECONDS)


def cross_sign(cluster: str, new: str, old: str, old_key: bytes, now: float) -> str:
    """Return the *new* authority certified by the *old* one, as PEM.

    A node that was away while the authority changed trusts only the old one; with this beside it, it believes a
    certificate of the new one as well, as long as the old one lasts.
    """
    fresh, before = leaf_of(new), leaf_of(old)
    signer = load_key(old_key)
    public = fresh.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise TypeError("an authority has a key on an elliptic curve")
    end = min(fresh.not_valid_after_utc, before.not_valid_after_utc).timestamp()
    return _pem(
        _certificate(
            subject=fresh.subject,
            issuer=before.subject,
            public=public,
            signer=signer,
            cluster=cluster,
            now=now,
            end=end,
            below=0,
        )
    )


def load_key(key: bytes) -> ec.EllipticCurvePrivateKey:
    """Return a private key from PEM."""
    found = serialization.load_pem_private_key(key, password=None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise TypeError("an authority has a key on an elliptic curve")
    return found


def moment(at: float) -> datetime.datetime:
    """Return seconds since the epoch as certificates have them: whole seconds."""
    return datetime.datetime.fromtimestamp(int(at), datetime.UTC)


def _certificate(
    *,
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    cluster: str,
    now: float,
    end: float,
    below: int = 1,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(now - BACKDATE_SECONDS))
        .not_valid_after(moment(end))
        # One authority below it at most: the next one, signed by this one while they change.
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(cluster_name(cluster))]), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Return what a key may be used for: to sign certificates, or to sign in a handshake; never both."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
