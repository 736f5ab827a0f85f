"""Who gets which share of a published port's traffic: pure, and the same for every proxy.

A port is served for one service. Its open backends divide the traffic evenly, unless the service has a split: then the
new ones have the split's percentage and the others the rest. A side that has nobody open gives its part to the other.
"""

from collections.abc import Iterable, Mapping

from pilothouse.agent.proxy.interface import Backend, Door
from pilothouse.agent.proxy.table import Wanted
from pilothouse.model.base import Value
from pilothouse.model.wire import Split


class Served(Value, frozen=True, kw_only=True):
    """One published port and whom it is served for.

    Attributes:
        host_ip: "" is every address of the host.
        backends: All of the service on this port, in the order in which they were put.
        split: How the service's traffic is divided, or None.
    """

    host_ip: str
    host_port: int
    service_id: str
    backends: tuple[Backend, ...]
    split: Split | None = None

    @property
    def app_protocol(self) -> str:
        """What is spoken: as the newest task says."""
        return self.backends[-1].app_protocol

    @property
    def target(self) -> int:
        """The port in the container: the newest task's."""
        return self.backends[-1].port.target

    @property
    def client_address(self) -> str:
        """How programs learn who calls: as the newest task says."""
        return self.backends[-1].client_address

    def is_new(self, backend: Backend) -> bool:
        """Whether the backend is on the new side of the split."""
        return self.split is not None and backend.fingerprint == self.split.fingerprint

    @property
    def weights(self) -> tuple[int, int]:
        """The percentages of the old and of the new side; (100, 0) where there is no split and where nobody is open."""
        ready = [each for each in self.backends if reachable(each) and each.door is Door.OPEN]
        new = any(self.is_new(each) for each in ready)
        old = any(not self.is_new(each) for each in ready)
        if self.split is None or not new:
            return 100, 0
        weight = min(100, max(0, self.split.weight)) if old else 100
        return 100 - weight, weight


def served(wanted: Wanted) -> tuple[Served, ...]:
    """Return the ports to serve, by port and address; a port two services want is the one's that came first."""
    splits = {f"{split.app}/{split.service}": split for split in wanted.splits}
    found: dict[tuple[int, str], list[Backend]] = {}
    for backend in wanted.backends:
        of = found.setdefault((backend.port.host_port, backend.port.host_ip), [])
        if not of or of[0].service_id == backend.service_id:
            of.append(backend)
    return tuple(
        Served(
            host_ip=host_ip,
            host_port=port,
            service_id=of[0].service_id,
            backends=tuple(of),
            split=splits.get(of[0].service_id),
        )
        for (port, host_ip), of in sorted(found.items())
    )


def reachable(backend: Backend) -> bool:
    """Whether it is known where the backend answers."""
    return backend.address != ""


def shares(port: Served) -> Mapping[str, float]:
    """Return the part of the traffic, 0 to 1, that each open task gets; those with none are left out."""
    ready = [each for each in port.backends if reachable(each) and each.door is Door.OPEN]
    parts: dict[str, float] = {}
    for is_new, weight in zip((False, True), port.weights, strict=True):
        of = [each.task_id for each in ready if port.is_new(each) == is_new]
        for task_id in of if weight else ():
            parts[task_id] = weight / 100 / len(of)
    return parts


def find(ports: Iterable[Served], host_port: int, host_ip: str) -> Served | None:
    """Return what is served there, or None."""
    return next((port for port in ports if (port.host_port, port.host_ip) == (host_port, host_ip)), None)
