"""A join token as a person carries it from one machine to another; reading it needs no server.

`PH1-ID-SECRET-HASH`: the hash is of the authority's certificate, so that whoever joins knows whom to believe.
"""

import re

from pilothouse.errors import InvalidRequestError
from pilothouse.model.base import Value

PREFIX = "PH1"
ID_LENGTH = 8
SECRET_LENGTH = 26
HASH_LENGTH = 64
_BASE32 = re.compile(r"[A-Z2-7]*\Z")
_HEX = re.compile(r"[0-9a-f]*\Z")


class Token(Value, frozen=True, kw_only=True):
    """A token, taken apart.

    Attributes:
        token_id: Its public name.
        secret: 128 bits.
        authority_hash: SHA-256 of the authority's certificate (DER), in hexadecimal.
    """

    token_id: str
    secret: str
    authority_hash: str

    def __repr__(self) -> str:
        """Leave the secret out, so that no log line can hold it."""
        return f"Token(token_id={self.token_id!r})"


def write(token: Token) -> str:
    """Return the text of a token."""
    return f"{PREFIX}-{token.token_id}-{token.secret}-{token.authority_hash}"


def read(text: str) -> Token:
    """Return the parts of a token; white space around it is taken off.

    Raises:
        InvalidRequestError: It has not the form of one; the message says what is wrong and repeats nothing of it.
    """
    parts = text.strip().split("-")
    if parts[0] != PREFIX:
        raise InvalidRequestError(
            f"this is no join token: one begins with {PREFIX}-; `pilothouse token create` makes it"
        )
    if len(parts) != 4:
        raise InvalidRequestError(
            f"the join token has {len(parts)} parts between dashes instead of 4; was it copied whole?"
        )
    _, token_id, secret, authority_hash = parts
    for part, what, length, form in (
        (token_id, "name (the second part)", ID_LENGTH, _BASE32),
        (secret, "secret (the third part)", SECRET_LENGTH, _BASE32),
        (authority_hash, "authority's hash (the last part)", HASH_LENGTH, _HEX),
    ):
        if len(part) != length:
            raise InvalidRequestError(
                f"the join token's {what} has {len(part)} characters instead of {length}; was it copied whole?"
            )
        if not form.match(part):
            wanted = "A-Z and 2-7" if form is _BASE32 else "0-9 and a-f"
            raise InvalidRequestError(f"the join token's {what} has other characters than {wanted}; copy it again")
    return Token(token_id=token_id, secret=secret, authority_hash=authority_hash)
