"""Seals and opens contents with AES-256-GCM; what a sealed text belongs to is authenticated with it.

A sealed content moved to another app, key or version does not open. Nothing here logs or formats a content.
"""

import hashlib
import hmac
import os
import pathlib
import tempfile

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pilothouse.errors import StoreCorruptError

KEY_FILE = "secrets.key"
KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION_LENGTH = 24


class Vault:
    """The platform's key, and what it is good for."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise StoreCorruptError(
                f"the key for secrets has {len(key)} bytes instead of {KEY_BYTES}; restore the file"
            )
        self._sealing = AESGCM(_derive(key, b"seal"))
        self._naming = _derive(key, b"content-version")

    def __repr__(self) -> str:
        """Leave the key out, so that no log line can hold it."""
        return "Vault()"

    def content_version(self, app: str, key: str, content: bytes) -> str:
        """Return a text that changes if and only if the content does; without the key it tells nothing about it."""
        message = _length_prefixed(app.encode(), key.encode()) + content
        return hmac.new(self._naming, message, hashlib.sha256).hexdigest()[:_VERSION_LENGTH]

    def seal(self, app: str, key: str, version: str, content: bytes) -> bytes:
        """Return *content* encrypted, bound to its app, key and version; two seals of one content differ."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._sealing.encrypt(nonce, content, _binding(app, key, version))

    def open(self, app: str, key: str, version: str, sealed: bytes) -> bytes:
        """Return the content that was sealed for exactly this app, key and version.

        Raises:
            StoreCorruptError: It was sealed under another key or for something else, or it was changed.
        """
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._sealing.decrypt(nonce, text, _binding(app, key, version))
        except (InvalidTag, ValueError) as error:
            raise StoreCorruptError(
                f"the secret {app}/{key} does not open with this server's key: restore {KEY_FILE} from the backup, "
                "or deploy the app again to replace the secret"
            ) from error


def load_vault(directory: pathlib.Path) -> Vault:
    """Return the vault of a data directory; its key file is made on first use, whole or not at all, mode 0600.

    Raises:
        StoreCorruptError: The file is damaged, or others than its owner can read it.
    """
    path = directory / KEY_FILE
    if not path.exists():
        _create(path)
    if path.stat().st_mode & 0o077:
        raise StoreCorruptError(f"{path} can be read by others than its owner: run chmod 600 {path}")
    return Vault(path.read_bytes())


def _create(path: pathlib.Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    fresh = pathlib.Path(name)
    try:
        os.write(descriptor, os.urandom(KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(fresh, path)  # fails if another process was first, and then its key is the one
    except FileExistsError:
        return
    finally:
        fresh.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _derive(key: bytes, purpose: bytes) -> bytes:
    return hmac.new(key, b"pilothouse/" + purpose, hashlib.sha256).digest()


def _binding(app: str, key: str, version: str) -> bytes:
    return _length_prefixed(app.encode(), key.encode(), version.encode())


def _length_prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
