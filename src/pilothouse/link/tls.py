"""TLS between machines of a cluster: 1.3 only, and each end shows a certificate that chains to an authority both trust.

Whether a node may still come is not decided here but by the list of its certificates' serials; so sessions are never
resumed, which would skip the certificate.
"""

import asyncio
import datetime
import os
import ssl

import msgspec
from cryptography import x509

from pilothouse.errors import InvalidRequestError
from pilothouse.link.credentials import AUTHORITIES, CERTIFICATE, KEY, Credentials, serial_of, uri_names

HANDSHAKE_SECONDS = 10.0
_NOT_YET, _NO_MORE = 9, 10
"""OpenSSL's codes for a certificate that is not valid yet, or not any more."""


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end of a connection: URI names and serial number, both empty if it showed no certificate."""

    names: tuple[str, ...] = ()
    serial: str = ""


def peer_of(transport: asyncio.BaseTransport) -> Peer:
    """Return who showed a certificate on a connected transport; it chains to a trusted authority, or there was none."""
    tls = transport.get_extra_info("ssl_object")
    return Peer() if tls is None else peer_in(tls.getpeercert(binary_form=True))


def peer_in(certificate: bytes | None) -> Peer:
    """Return whom a DER certificate names."""
    if certificate is None:
        return Peer()
    found = x509.load_der_x509_certificate(certificate)
    return Peer(uri_names(found), serial_of(found))


def server_context(credentials: Credentials, *, anonymous: bool = False) -> ssl.SSLContext:
    """Return the context of a manager's listener.

    Files that were replaced meanwhile count for every new connection; connections that stand are left alone.

    Args:
        credentials: This machine's.
        anonymous: A peer may show no certificate; one that it shows is checked all the same.

    Raises:
        NotClusteredError: This machine has none.
        InvalidRequestError: Its files cannot be used.
    """
    context = _plain_server(credentials, anonymous=anonymous)
    newest = {credentials.directory(): context}

    def choose(tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        directory = credentials.directory()
        if directory not in newest:
            made = _plain_server(credentials, anonymous=anonymous)
            newest.clear()
            newest[directory] = made
        tls.context = newest[directory]

    context.sni_callback = choose  # asked whether or not a name is sent
    return context


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """Return a context for one connection to a manager; connect with `server_hostname=model.identity.SERVER_NAME`.

    Raises:
        NotClusteredError: This machine has no certificate.
        InvalidRequestError: Its files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _strict(context)
    _load(context, credentials)
    return context


def pinned_context(authority: str) -> ssl.SSLContext:
    """Return a context that trusts one authority, given as PEM, and shows nothing: for a machine that is to join."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _strict(context)
    context.load_verify_locations(cadata=authority)
    return context


def blind_context() -> ssl.SSLContext:
    """Return a context that believes anybody: good for fetching what is then compared with a hash, nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def clock_trouble(error: BaseException, now: float) -> str:
    """Return what to say of a manager that was not believed because its certificate counts not yet or no more, else "".

    Args:
        error: Why the connection failed.
        now: This machine's wall clock.
    """
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in {_NOT_YET, _NO_MORE}:
        when = "not valid yet" if error.verify_code == _NOT_YET else "not valid any more"
        return f"the manager's certificate is {when} by this machine's clock, {_set_clocks(now)}"
    return ""


def unheard(now: float) -> str:
    """Return what to say of a manager that hung up without a word: with TLS 1.3 that may be a refused certificate."""
    return (
        "it hung up before it said anything; if it does not take this machine's certificate, either that has ended, "
        "and the machine has to leave and join again, or a clock is wrong: this machine's is the one "
        f"{_set_clocks(now)}"
    )


def _set_clocks(now: float) -> str:
    stamp = f"{datetime.datetime.fromtimestamp(now, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
    return f"which says {stamp}: set both machines' clocks, by NTP (`chronyc makestep`, `timedatectl set-ntp true`)"


def _plain_server(credentials: Credentials, *, anonymous: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _strict(context)
    context.verify_mode = ssl.CERT_OPTIONAL if anonymous else ssl.CERT_REQUIRED
    context.num_tickets = 0
    _load(context, credentials)
    return context


def _strict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.hostname_checks_common_name = False


def _load(context: ssl.SSLContext, credentials: Credentials) -> None:
    directory = credentials.directory()
    authorities, certificate, key = (os.path.join(directory, name) for name in (AUTHORITIES, CERTIFICATE, KEY))
    try:
        context.load_verify_locations(cafile=authorities)
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequestError(f"the key and certificates in {directory} cannot be used: {error}") from error
