"""How long to wait before the next attempt: a pure function of how many have failed."""


def delay_seconds(
    failures: int, *, fraction: float, first: float = 1.0, cap: float = 300.0, jitter: float = 0.2
) -> float:
    """Return the wait before attempt *failures* + 1.

    The first failure is retried at once; then the wait is *first*, doubling up to *cap*, moved by up to ± *jitter* of
    itself so that many things that failed together do not come back together.

    Args:
        failures: Consecutive failures so far; 0 and 1 both mean "no wait".
        fraction: A number in [0, 1) that decides where in the jitter the wait falls.
        first: The wait in seconds after the second failure.
        cap: The longest wait in seconds, before jitter.
        jitter: The share of the wait by which it may move.
    """
    if failures <= 1:
        return 0.0
    # 2**63 seconds is far past any cap; bounding the exponent keeps the float finite.
    plain = min(cap, first * 2.0 ** min(failures - 2, 63))
    return plain * (1.0 + jitter * (2.0 * fraction - 1.0))
