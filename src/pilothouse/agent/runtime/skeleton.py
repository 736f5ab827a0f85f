"""Copy this to begin a driver for another engine: every verb says what it must do, and does nothing yet.

docs/checklists has the steps. Implement the eight verbs, then add the powers the engine has as classes of their own
(`interface.Images`, `interface.Logs` …); `conformance.check_runtime` leaves out the checks of those you do not.
"""

from pilothouse.agent.runtime.interface import ContainerPlan, ContainerState, ExitStatus
from pilothouse.model.node import NodeDescription


class SkeletonRuntime:
    """A driver that raises NotImplementedError everywhere; keeps `interface.Runtime`."""

    async def describe(self) -> NodeDescription:
        """Say what the node is. `capacity` is what containers may use in all; `warnings` are whole sentences."""
        raise NotImplementedError

    async def prepare(self, plan: ContainerPlan) -> str:
        """Make the container whole, networks included, but do not start it; return its id.

        Names are identities. If one of that name exists, finish what may be missing of it (the agent died between two
        calls) and return its id. Build the engine's request from the plan alone, apply `model.hardening.harden`, and
        refuse images whose labels begin with `model.names.RESERVED_LABEL_PREFIX`. Raise PermanentError for what can
        never work, TemporaryError for what may work later.
        """
        raise NotImplementedError

    async def start(self, name: str) -> None:
        """Start it if it was never started; leave one that runs or has ended alone.

        Raise PermanentError if it cannot be started as it is: a new task follows after a back-off.
        """
        raise NotImplementedError

    async def wait(self, name: str) -> ExitStatus:
        """Return how it ended, as soon as it has, however often and however late this is asked."""
        raise NotImplementedError

    async def stop(self, name: str, grace_seconds: float, signal: str = "") -> None:
        """Send the stop signal (*signal* if given), kill after the grace, and return once it has ended."""
        raise NotImplementedError

    async def remove(self, name: str) -> None:
        """Make it gone, running or not, with its anonymous volumes; return once it is. Gone already is fine."""
        raise NotImplementedError

    async def status(self) -> tuple[ContainerState, ...]:
        """Return every container whose name is a task's (`model.names.task_id_of`), never judging by labels."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of connections and leave the containers as they are."""
        raise NotImplementedError
