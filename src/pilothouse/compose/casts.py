"""Text to the type a key needs, and numbers to text, as the reference implementation does it."""

import math
import re
import struct
from collections.abc import Callable

_WHOLE = re.compile(r"[+-]?[0-9]+")
_REAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MAX_DIGITS = 20
_OLD_TRUE, _OLD_FALSE = frozenset({"y", "yes", "on"}), frozenset({"n", "no", "off"})

Warn = Callable[[str], None]


def whole(text: str, warn: Warn) -> int:
    """Return a decimal whole number of at most 64 bits.

    Raises:
        ValueError: If text is none.
    """
    del warn
    if len(text) <= _MAX_DIGITS and _WHOLE.fullmatch(text):
        number = int(text)
        if -(2**63) <= number < 2**63:
            return number
    raise ValueError(f"{text!r} is not a whole number; write digits only")


def real(text: str, warn: Warn) -> float:
    """Return a number.

    Raises:
        ValueError: If text is none.
    """
    del warn
    if _REAL.fullmatch(text) and not math.isinf(number := float(text)):
        return number
    raise ValueError(f"{text!r} is not a number; write it like 0.5")


def single(text: str, warn: Warn) -> float:
    """Return a number, rounded to single precision."""
    return rounded(real(text, warn))


def flag(text: str, warn: Warn) -> bool:
    """Return true or false; the words of YAML 1.1 are taken with a warning.

    Raises:
        ValueError: If text is neither.
    """
    lower = text.lower()
    if lower in _OLD_TRUE:
        warn(f'"{text}" for boolean is not supported by YAML 1.2, please use `true`')
    elif lower in _OLD_FALSE:
        warn(f'"{text}" for boolean is not supported by YAML 1.2, please use `false`')
    elif lower not in {"true", "false"}:
        raise ValueError(f"{text!r} is not a boolean; write true or false")
    return lower == "true" or lower in _OLD_TRUE


CASTS: dict[str, Callable[[str, Warn], object]] = {"whole": whole, "float": real, "float32": single, "flag": flag}


def rounded(number: float) -> float:
    """Return the single-precision number nearest to number."""
    try:
        return float(struct.unpack("f", struct.pack("f", number))[0])
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def shortest(number: float, bits: int = 64) -> tuple[str, int]:
    """Return the shortest digits that read back as number, and the decimal exponent of the first digit."""
    precision = 17
    if bits == 32:
        precision = next(size for size in range(1, 10) if rounded(float(f"{number:.{size - 1}e}")) == number)
        mantissa, exponent = f"{abs(number):.{precision - 1}e}".split("e")
    else:
        mantissa, exponent = f"{abs(number):.16e}".split("e")
        text = repr(abs(number))
        digits = text.split("e")[0].replace(".", "").lstrip("0").rstrip("0") or "0"
        return digits, _exponent(text, int(exponent))
    return mantissa.replace(".", "").rstrip("0") or "0", int(exponent)


def _exponent(text: str, fallback: int) -> int:
    """Return the decimal exponent of the first significant digit of a number as Python prints it."""
    mantissa, _, power = text.partition("e")
    left, _, right = mantissa.partition(".")
    shift = int(power or "0")
    if left.strip("0"):
        return len(left.lstrip("0")) - 1 + shift
    zeros = len(right) - len(right.lstrip("0"))
    return fallback if not right.strip("0") else shift - zeros - 1


def printed_number(number: float, bits: int = 64, low: int = -4, high: int = 6) -> str:
    """Return number in its shortest decimal form; exponents outside low..high-1 make it scientific."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    sign = "-" if math.copysign(1.0, number) < 0 else ""
    if number == 0:
        return sign + "0"
    digits, exponent = shortest(number, bits)
    if exponent < low or exponent >= high:
        fraction = "." + digits[1:] if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    if len(digits) <= exponent + 1:
        return sign + digits + "0" * (exponent + 1 - len(digits))
    return f"{sign}{digits[: exponent + 1]}.{digits[exponent + 1 :]}"


def as_text(value: object) -> str:
    """Return a scalar as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return printed_number(value)
    return "<nil>" if value is None else str(value)
