"""Envoy's admin socket: what it has taken over, what it serves, what it counted.

Only root and Envoy's own user can open it.
"""

import re
from collections.abc import Mapping

import aiohttp
import msgspec

from pilothouse.errors import TemporaryError

TIMEOUT_SECONDS = 5.0


class Listening(msgspec.Struct):
    """A listener that is bound and served."""

    name: str


class _Listeners(msgspec.Struct):
    listener_statuses: list[Listening] = []


class SocketAddress(msgspec.Struct):
    """Where a host is."""

    address: str = ""
    port_value: int = 0


class _Address(msgspec.Struct):
    socket_address: SocketAddress = msgspec.field(default_factory=SocketAddress)


class _Statistic(msgspec.Struct):
    name: str
    value: int = 0

    def __post_init__(self) -> None:
        self.value = int(self.value)


class Host(msgspec.Struct):
    """One endpoint of a cluster, with its own counters and gauges."""

    address: _Address = msgspec.field(default_factory=_Address)
    stats: list[dict[str, str]] = []

    @property
    def place(self) -> tuple[str, int]:
        """Where it is."""
        return self.address.socket_address.address, self.address.socket_address.port_value

    @property
    def counts(self) -> dict[str, int]:
        """Its counters and gauges; those that are zero may be left out."""
        return {each["name"]: int(each.get("value", "0")) for each in self.stats}


class ClusterSeen(msgspec.Struct):
    """One cluster and its endpoints."""

    name: str
    host_statuses: list[Host] = []


class _Clusters(msgspec.Struct):
    cluster_statuses: list[ClusterSeen] = []


class _ErrorState(msgspec.Struct):
    details: str = ""


class _Dumped(msgspec.Struct):
    name: str = ""
    error_state: _ErrorState | None = None


class _Dump(msgspec.Struct):
    configs: list[_Dumped] = []


class Bucket(msgspec.Struct):
    """How many values were at most *upper_bound*."""

    upper_bound: float
    cumulative: int


class Histogram(msgspec.Struct):
    """A cumulative histogram."""

    name: str
    buckets: list[Bucket] = []


class _Stat(msgspec.Struct):
    name: str = ""
    value: object = 0
    histograms: list[Histogram] = []


class _Stats(msgspec.Struct):
    stats: list[_Stat] = []


class Admin:
    """The admin interface at one socket; opens a connection at the first question, `close` ends it."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """End the connection; the next question opens another."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def live(self) -> bool:
        """Whether it serves: every file was read once."""
        try:
            return (await self._ask("GET", "/ready")).startswith(b"LIVE")
        except TemporaryError:
            return False

    async def versions(self, names: str) -> dict[str, str]:
        """Return the versions it has taken over, by the name of the statistic; *names* is a regular expression."""
        text = (await self._ask("GET", "/stats", filter=names, type="TextReadouts")).decode()
        return {name: value.strip('"') for name, _, value in (line.partition(": ") for line in text.splitlines())}

    async def rejections(self) -> dict[str, int]:
        """Return how many updates it refused of each file, by the statistic's name without its last part."""
        text = (await self._ask("GET", "/stats", filter=r"\.update_(rejected|failure)$")).decode()
        found: dict[str, int] = {}
        for name, _, value in (line.partition(": ") for line in text.splitlines()):
            key = name.rpartition(".")[0]
            found[key] = found.get(key, 0) + int(value)
        return found

    async def listening(self) -> frozenset[str]:
        """Return the names of the listeners that are served."""
        answer = msgspec.json.decode(await self._ask("GET", "/listeners", format="json"), type=_Listeners)
        return frozenset(each.name for each in answer.listener_statuses)

    async def refused_listeners(self) -> dict[str, str]:
        """Return why it could not take a listener over, by name."""
        data = await self._ask("GET", "/config_dump", resource="dynamic_listeners", mask="name,error_state.details")
        dump = msgspec.json.decode(data, type=_Dump)
        return {each.name: each.error_state.details for each in dump.configs if each.error_state is not None}

    async def clusters(self, names: str) -> dict[str, dict[tuple[str, int], dict[str, int]]]:
        """Return the counts of every endpoint, by cluster; *names* is a regular expression."""
        data = await self._ask("GET", "/clusters", format="json", filter=names)
        seen = msgspec.json.decode(data, type=_Clusters)
        return {each.name: {host.place: host.counts for host in each.host_statuses} for each in seen.cluster_statuses}

    async def counts(self, names: str) -> tuple[dict[str, int], dict[str, list[Bucket]]]:
        """Return counters and gauges, and histograms; *names* is a regular expression."""
        data = await self._ask("GET", "/stats", filter=names, format="json", histogram_buckets="cumulative")
        stats = msgspec.json.decode(data, type=_Stats).stats
        numbers = {each.name: int(str(each.value)) for each in stats if each.name}
        return numbers, {one.name: one.buckets for each in stats for one in each.histograms}

    async def drain(self) -> None:
        """Have it accept nothing more, and ask its callers to leave."""
        await self._ask("POST", "/drain_listeners")

    async def _ask(self, method: str, path: str, **query: str) -> bytes:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
            self._session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=self._socket), timeout=timeout)
        try:
            async with self._session.request(method, f"http://envoy{path}", params=query) as answer:
                body = await answer.read()
                if answer.status >= 400 and path != "/ready":
                    raise TemporaryError(f"Envoy answered {path} with {answer.status}: {body[:200]!r}")
                return body
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TemporaryError(f"Envoy does not answer on its admin socket: {error!r}") from error


def exactly(names: Mapping[str, object] | frozenset[str] | tuple[str, ...]) -> str:
    """Return a regular expression that matches one of *names* and nothing else."""
    return f"^({'|'.join(re.escape(name) for name in names)})$"
