"""Reads whose certificate it is and which authority stands behind it; TLS asks the same of every connection."""

import itertools
from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pilothouse.errors import InvalidRequestError, UnauthorizedError
from pilothouse.link.credentials import serial_of, uri_names
from pilothouse.model.base import Value
from pilothouse.model.identity import Identity, cluster_name, identity_of


class Verified(Value, frozen=True, kw_only=True):
    """Whose certificate it is; *authority* is the index of the one among those given that stands behind it."""

    identity: Identity
    serial: str
    authority: int


def verify(text: str, authorities: Iterable[str], now: float) -> Verified:
    """Return whom a PEM certificate, with what follows it, belongs to.

    Args:
        text: The certificate; after it, an authority that one of *authorities* certified may stand.
        authorities: PEM, those that are trusted.
        now: When it must be valid.

    Raises:
        UnauthorizedError: It is not valid now, chains to none of them, or names no node of the authority's cluster.
    """
    leaf, *between = _read(text)
    _check_time(leaf, now)
    if _signs(leaf):
        raise UnauthorizedError("an authority's certificate is no node's")
    for number, pem in enumerate(authorities):
        trusted = _read(pem)[0]
        for path in ((leaf, trusted), *((leaf, each, trusted) for each in between)):
            if _chained(path, now):
                return Verified(identity=_identity(leaf, trusted), serial=serial_of(leaf), authority=number)
    raise UnauthorizedError("the certificate chains to no authority that is trusted here")


def _chained(path: tuple[x509.Certificate, ...], now: float) -> bool:
    """Whether each of *path* was issued by the one after it, all of those may sign, and all are valid now."""
    try:
        for below, above in itertools.pairwise(path):
            below.verify_directly_issued_by(above)
            _check_time(above, now)
    except (ValueError, TypeError, InvalidSignature, UnauthorizedError):
        return False
    return all(_signs(above) for above in path[1:])


def _signs(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and usage.key_cert_sign


def _check_time(certificate: x509.Certificate, now: float) -> None:
    if not certificate.not_valid_before_utc.timestamp() <= now <= certificate.not_valid_after_utc.timestamp():
        raise UnauthorizedError(
            f"the certificate is valid from {certificate.not_valid_before_utc} to {certificate.not_valid_after_utc}, "
            "and not now: compare the clocks, or have the machine join again"
        )


def _identity(leaf: x509.Certificate, authority: x509.Certificate) -> Identity:
    found = identity_of(uri_names(leaf))
    if found is None or uri_names(authority) != (cluster_name(found.cluster),):
        raise UnauthorizedError("the certificate names no node of its authority's cluster")
    return found


def _read(text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise InvalidRequestError(f"certificates were expected, and this is none: {error}") from error
