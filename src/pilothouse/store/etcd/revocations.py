"""The list of certificates that open a member no more: a file that etcd reads at each handshake.

etcd looks for serial numbers in it and checks nothing else of it, so a key made for the moment signs it; who can write
the file can write the member's data as well.
"""

import datetime
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pilothouse.clock import Clock
from pilothouse.store.directory import private_file, sync_directory

FILE = "revoked.crl"
_YEARS = datetime.timedelta(days=3650)


def keep(directory: pathlib.Path, serials: tuple[str, ...], clock: Clock) -> bool:
    """Have the file in *directory* name these serial numbers, in hexadecimal; return whether it did not before.

    Raises:
        OSError: It cannot be written; what was there is there still.
    """
    if kept(directory) == frozenset(serials):
        return False
    part = private_file(directory / f"{FILE}.part")
    part.write_bytes(_list(serials, datetime.datetime.fromtimestamp(clock.now(), datetime.UTC)))
    part.rename(directory / FILE)
    sync_directory(directory)
    return True


def kept(directory: pathlib.Path) -> frozenset[str] | None:
    """Return the serial numbers that the file names, None if there is none that can be read."""
    try:
        found = x509.load_der_x509_crl((directory / FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return frozenset(f"{each.serial_number:x}" for each in found)


def _list(serials: tuple[str, ...], now: datetime.datetime) -> bytes:
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pilothouse")]),
        last_update=now,
        next_update=now + _YEARS,
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder(serial_number=int(serial, 16), revocation_date=now).build()
        builder = builder.add_revoked_certificate(revoked)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)
