"""Bounds how often one address may be wrong; remembers no more addresses than it has room for."""

import ipaddress

WRONG = 5
WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 4096
_NETWORK_BITS = 64


class Limiter:
    """Who was wrong how often in the last minute. Times are any clock's that only grows."""

    def __init__(
        self, *, wrong: int = WRONG, window_seconds: float = WINDOW_SECONDS, most: int = MAX_ADDRESSES
    ) -> None:
        self._wrong = wrong
        self._window = window_seconds
        self._most = most
        self._times: dict[str, tuple[float, ...]] = {}

    def __len__(self) -> int:
        """Return how many addresses are remembered."""
        return len(self._times)

    def wait_seconds(self, address: str, now: float) -> float:
        """Return for how long *address* is refused without being heard; 0 if it may try."""
        times = self._times.get(group_of(address), ())
        return max(0.0, times[-1] + self._window - now) if len(times) >= self._wrong else 0.0

    def wrong(self, address: str, now: float) -> bool:
        """Note a wrong try, and return whether it was the one after which the address is refused."""
        group = group_of(address)
        recent = tuple(at for at in self._times.pop(group, ()) if at > now - self._window)[-self._wrong + 1 :]
        self._times[group] = (*recent, now)  # as the newest: the first is who was wrong the longest time ago
        if len(self._times) > self._most:
            del self._times[next(iter(self._times))]
        return len(recent) + 1 == self._wrong


def group_of(address: str) -> str:
    """Return who is counted as one: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _NETWORK_BITS), strict=False))
    return str(found)
