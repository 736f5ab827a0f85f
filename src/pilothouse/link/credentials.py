"""This machine's own key, its certificate and the authorities it trusts: made, kept in files, replaced together.

DATA/pki is a symbolic link to a directory of one generation, so a reader sees all of the old files or all of the new.
A private key never leaves the machine: what is sent is a signing request. Knows nothing of who may have a certificate.
"""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pilothouse.errors import InvalidRequestError, NotClusteredError

DIRECTORY = "pki"
AUTHORITIES = "authorities.pem"
CERTIFICATE = "node.pem"
KEY = "node.key"
_FILES = (AUTHORITIES, CERTIFICATE, KEY)
_GENERATIONS_KEPT = 2
"""The newest and the one before it, which somebody may be reading just now."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A new key and the request to certify it; only *text*, the request as PEM, may be sent."""

    text: str
    key: bytes

    def __repr__(self) -> str:
        """Leave the key out, so that no log line can hold it."""
        return "Request()"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has.

    Attributes:
        directory: Of this generation; its files never change.
        serial: Of the certificate, in hexadecimal.
        names: Its URI names.
        not_before, not_after: Seconds since the epoch.
        authorities: PEM, every one that is trusted.
    """

    directory: str
    serial: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    authorities: str


class Credentials:
    """The files of one machine.

    Attributes:
        link: DATA/pki.
    """

    def __init__(self, data: pathlib.Path) -> None:
        self.link = data / DIRECTORY

    def exist(self) -> bool:
        """Whether this machine has a certificate at all."""
        return self.link.is_symlink()

    def directory(self) -> pathlib.Path:
        """Return the directory of the newest generation.

        Raises:
            NotClusteredError: There is none.
        """
        try:
            return self.link.parent / os.readlink(self.link)
        except OSError as error:
            raise NotClusteredError(
                f"{self.link} is not there, so this machine is in no cluster: run `pilothouse init`, or join one"
            ) from error

    def held(self) -> Held:
        """Return what this machine has now.

        Raises:
            NotClusteredError: There is nothing.
            InvalidRequestError: The files cannot be read.
        """
        directory = self.directory()
        try:
            certificate = leaf_of((directory / CERTIFICATE).read_text())
            authorities = (directory / AUTHORITIES).read_text()
        except OSError as error:
            raise InvalidRequestError(f"{error.filename} cannot be read ({error.strerror}): restore {directory}") from (
                error
            )
        return Held(
            directory=str(directory),
            serial=serial_of(certificate),
            names=uri_names(certificate),
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            authorities=authorities,
        )

    def trust(self, authorities: str) -> None:
        """Replace the authorities that are trusted; key and certificate stay."""
        directory = self.directory()
        self.keep(authorities, (directory / CERTIFICATE).read_text(), (directory / KEY).read_bytes())

    def keep(self, authorities: str, certificate: str, key: bytes) -> None:
        """Make these the newest generation: whole and durable, or not at all.

        Raises:
            InvalidRequestError: The certificate is not for the key.
            OSError: It cannot be written; what was there is there still.
        """
        _check_pair(certificate, key)
        parent = self.link.parent
        fresh = pathlib.Path(tempfile.mkdtemp(prefix=f"{DIRECTORY}.", dir=parent))  # mode 0700
        next_link = parent / f".{fresh.name}"
        try:
            for name, content in zip(_FILES, (authorities.encode(), certificate.encode(), key), strict=True):
                _write(fresh / name, content)
            _sync(fresh)
            next_link.symlink_to(fresh.name)
            next_link.rename(self.link)
        except OSError:
            next_link.unlink(missing_ok=True)
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        _sync(parent)
        self._forget(fresh.name)

    def remove(self) -> None:
        """Take everything away; does nothing where there is nothing."""
        self.link.unlink(missing_ok=True)
        for directory in self._generations():
            shutil.rmtree(directory)

    def _forget(self, newest: str) -> None:
        others = [directory for directory in self._generations() if directory.name != newest]
        for directory in others[: -(_GENERATIONS_KEPT - 1)]:
            shutil.rmtree(directory)

    def _generations(self) -> list[pathlib.Path]:
        found = self.link.parent.glob(f"{DIRECTORY}.*")
        return sorted(found, key=lambda each: (each.stat().st_mtime_ns, each.name))


def new_request() -> Request:
    """Return a new P-256 key and a request for it; the request names nobody, the authority decides the names."""
    key = ec.generate_private_key(ec.SECP256R1())
    signed = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return Request(text=signed.public_bytes(serialization.Encoding.PEM).decode(), key=key_text(key))


def key_text(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def leaf_of(text: str) -> x509.Certificate:
    """Return the first certificate of a PEM text.

    Raises:
        InvalidRequestError: There is none.
    """
    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError as error:
        raise InvalidRequestError(f"a certificate was expected, and this is none: {error}") from error


def der_of(text: str) -> bytes:
    """Return the first certificate of a PEM text as DER.

    Raises:
        InvalidRequestError: There is none.
    """
    return leaf_of(text).public_bytes(serialization.Encoding.DER)


def serial_of(certificate: x509.Certificate) -> str:
    """Return a serial number as the platform writes it: hexadecimal, lower case, no leading zeros."""
    return f"{certificate.serial_number:x}"


def uri_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the URI names of a certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def bundle(certificates: Iterable[str]) -> str:
    """Return PEM certificates as one text."""
    return "".join(each.strip() + "\n" for each in certificates)


def _check_pair(certificate: str, key: bytes) -> None:
    own = serialization.load_pem_private_key(key, password=None).public_key()
    if leaf_of(certificate).public_key() != own:
        raise InvalidRequestError("the certificate that came is not for this machine's key; ask for another")


def _write(path: pathlib.Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: pathlib.Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
