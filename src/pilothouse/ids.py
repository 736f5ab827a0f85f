"""The only source of randomness: identifiers, and the jitter that keeps retries apart."""

import random
import secrets
from typing import Protocol

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_LENGTH = 12
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_NUMBER_BYTES = 16
_DRAWN = 256


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

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def new(self) -> str:
        try:
            number = self._numbers.pop()
        except IndexError:
            number = self._draw()
        number, first = divmod(number, 26)
        found = [_ALPHABET[10 + first]]
        for _ in range(5):
            number, pair = divmod(number, 1296)
            found.append(_PAIRS[pair])
        found.append(_ALPHABET[number % 36])
        return "".join(found)

    def _draw(self) -> int:
        """Return a number of 128 bits and keep others for later.

        Asking the system lets another thread run, and one that has much to do keeps this one waiting for 5 ms. Each
        request to the API needs an identifier, and a deployment thousands.
        """
        drawn = secrets.token_bytes(_NUMBER_BYTES * _DRAWN)
        places = range(0, len(drawn), _NUMBER_BYTES)
        numbers = [int.from_bytes(drawn[place : place + _NUMBER_BYTES], "big") for place in places]
        self._numbers += numbers[1:]
        return numbers[0]

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
