"""What the agent needs of a proxy: backends that come, get traffic, drain and go. The driver in use is Envoy.

Level-triggered: the agent says what should be, as often as it likes; the proxy makes it so and keeps it so, also while
the agent and the server are down. `agent.proxy.conformance` tests the contract; `agent.proxy.fake` keeps it in memory.
"""

import enum
from collections.abc import Iterable
from typing import Protocol

from pilothouse.model.base import Value
from pilothouse.model.objects import PortBinding
from pilothouse.model.wire import Split, TrafficReport


class Door(enum.Enum):
    """Whether a task may get traffic.

    CLOSED: none yet or none any more, but its port is listened on: callers are told that nobody is there (HTTP 503).
    OPEN: it may get requests and connections.
    DRAINING: nothing new; what it has may end.
    """

    CLOSED = "closed"
    OPEN = "open"
    DRAINING = "draining"


class Backend(Value, frozen=True, kw_only=True):
    """One port of one task that the proxy serves.

    Attributes:
        service_id: "APP/SERVICE"; all backends of one host port have the same.
        fingerprint: Of the task; what a `Split` divides by.
        port: The host port, as it was given (`PortBinding.ingress` is true).
        address: Where the container answers, without the port; "" as long as it is not known.
        app_protocol: "http", "h2c", "grpc" … and "tcp" as written; "" lets the proxy see by the first bytes.
        client_address: As in `model.container.Port`.
    """

    task_id: str
    service_id: str
    fingerprint: str
    port: PortBinding
    address: str = ""
    app_protocol: str = ""
    client_address: str = ""
    door: Door = Door.CLOSED


class Ingress(Protocol):
    """The published ports of this node."""

    async def run(self) -> None:
        """Keep the proxy as it should be until cancelled; it runs on afterwards as it is."""
        ...

    def put(self, task_id: str, backends: Iterable[Backend]) -> None:
        """Say what should be of one task from now on; () when nothing of it is left. Returns at once.

        A task that was served before this agent began stays served as it was until it is put for the first time, so
        whoever does not know yet whether a task is ready waits with it.
        """
        ...

    def settle(self, task_ids: Iterable[str]) -> None:
        """Say which tasks there are, as soon as the first assignment is known; cheap to repeat.

        What an earlier agent put of any other task is forgotten. Until then nothing that is served is taken away.
        """
        ...

    def divide(self, splits: Iterable[Split]) -> None:
        """Say how the traffic of services is divided between releases from now on; whole, not differences."""
        ...

    async def claim(self, ports: Iterable[PortBinding], service_id: str) -> None:
        """Return once the proxy listens on *ports*, so that a task that is to be reached there may be made.

        The caller has put a backend for each of them before, its door CLOSED and its address perhaps unknown.

        Raises:
            PermanentError: Another program has one of them, or the address is not of this host; the message says which
                program if that can be told.
            TemporaryError: The proxy does not run yet, has not taken the ports over, or another service has one still.
        """
        ...

    async def drained(self, task_id: str) -> None:
        """Return once the task, whose door is DRAINING, has no request and no connection any more.

        Not before the proxy is known to send it nothing new. Returns at once for a task that is not known, and when
        the proxy does not run. The caller bounds the wait.
        """
        ...

    def measured(self) -> tuple[TrafficReport, ...]:
        """Return the newest counts for each split, from when it was first divided by that fingerprint; at most 2 s old.

        A split that was not measured yet has no report. Raw TCP connections count as requests without a latency.
        """
        ...

    def warnings(self) -> tuple[str, ...]:
        """Return what somebody should see to before ports can be published; `pilothouse doctor` shows it."""
        ...
