"""The only source of randomness: identifiers, and the jitter that keeps retries apart."""

import random
import secrets
from typing import Protocol

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH = 12


class Ids(Protocol):
    """Where a component gets names that nobody else has, and chance."""

    def new(self) -> str:
        """Return a fresh identifier: 12 characters of 0-9 and a-z, a letter first (62 bits)."""
        ...

    def fraction(self) -> float:
        """Return a number in [0, 1), for jitter."""
        ...


class SystemIds:
    """Identifiers from the operating system's randomness."""

    def new(self) -> str:
        # One look at the system's randomness for each, because thousands are made in one transaction.
        number = secrets.randbits(128)
        number, first = divmod(number, 26)
        found = [_ALPHABET[10 + first]]
        for _ in range(_LENGTH - 1):
            number, each = divmod(number, 36)
            found.append(_ALPHABET[each])
        return "".join(found)

    def fraction(self) -> float:
        return random.random()  # noqa: S311 - jitter, not a secret


class SeededIds:
    """Repeatable identifiers for simulations: the same seed gives the same run."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def new(self) -> str:
        first = self._random.choice(_ALPHABET[10:])
        return first + "".join(self._random.choice(_ALPHABET) for _ in range(_LENGTH - 1))

    def fraction(self) -> float:
        return self._random.random()
