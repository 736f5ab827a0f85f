"""Join tokens: made, read, checked. A token carries the hash of the authority, so the joiner knows whom to believe.

`PH1-ID-SECRET-HASH`: 40 bits of name, 128 bits of secret, the SHA-256 of the authority's certificate. The secret is
kept nowhere but in the token; the platform keeps its hash.
"""

import base64
import hashlib
import hmac

from pilothouse.errors import InvalidRequestError
from pilothouse.model.base import Value
from pilothouse.model.cluster import JoinToken

ENTROPY_BYTES = 21
MAX_LIFE_SECONDS = 3600.0
LEAST_LIFE_SECONDS = 60.0
_ID_BYTES = 5
_NOBODY = "0" * 64


class Secret(Value, frozen=True, kw_only=True):
    """The two parts of a token that the platform is told."""

    token_id: str
    secret: str

    def __repr__(self) -> str:
        """Leave the secret out, so that no log line can hold it."""
        return f"Secret(token_id={self.token_id!r})"


def make(entropy: bytes) -> Secret:
    """Return a new token's name and secret from 21 random bytes."""
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"a token is made of {ENTROPY_BYTES} random bytes")
    return Secret(token_id=_base32(entropy[:_ID_BYTES]), secret=_base32(entropy[_ID_BYTES:]))


def hash_of(secret: str) -> str:
    """Return what the platform keeps of a secret; it is random, so one round of a hash is enough."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def check(token: JoinToken | None, secret: str, now: float) -> str:
    """Return "" if *secret* opens *token* now, else why not, in words for the audit log alone.

    It takes the same time whether the token is known and how much of the secret is right.
    """
    right = hmac.compare_digest(hash_of(secret), _NOBODY if token is None else token.secret_hash)
    if token is None:
        return "there is no such token"
    if not right:
        return "the secret is wrong"
    if token.revoked_at is not None:
        return "the token was revoked"
    if token.used_by:
        return f"the token was used already, by {token.used_by}"
    if token.expires_at <= now:
        return "the token has expired"
    return ""


def check_life(seconds: float) -> float:
    """Return how long a token may be used, if that is a time a token can have.

    Raises:
        InvalidRequestError: It is not.
    """
    if not LEAST_LIFE_SECONDS <= seconds <= MAX_LIFE_SECONDS:
        raise InvalidRequestError(
            f"a token lasts from {LEAST_LIFE_SECONDS:g} to {MAX_LIFE_SECONDS:g} seconds, not {seconds:g}; it is meant "
            "for one machine that joins now"
        )
    return seconds


def _base32(content: bytes) -> str:
    return base64.b32encode(content).decode().rstrip("=")
