"""All control loops, by name: what a manager runs in one term (`pilothouse.supervise.run_term`)."""

from collections.abc import Mapping

from pilothouse.clock import Clock
from pilothouse.control.nodes.liveness import Liveness, Presence
from pilothouse.control.orchestrators.loop import Orchestrator
from pilothouse.control.orchestrators.reaping import Reaper
from pilothouse.control.resources.loop import Resources
from pilothouse.control.scheduler.loop import Scheduler
from pilothouse.ids import Ids
from pilothouse.pulse import pulse
from pilothouse.store.interface import Store
from pilothouse.supervise import Loop, run_term


def loops(store: Store, clock: Clock, ids: Ids, presence: Presence) -> Mapping[str, Loop]:
    """Return the loops; *presence* is where sessions say which agents are connected."""
    return {
        "orchestrator": lambda: pulse("orchestrator", store, clock, Orchestrator(store, clock, ids)),
        "resources": lambda: pulse("resources", store, clock, Resources(store)),
        "scheduler": lambda: pulse("scheduler", store, clock, Scheduler(store, clock)),
        "liveness": lambda: pulse("liveness", store, clock, Liveness(store, clock, presence), presence.changed),
        "reaper": lambda: pulse("reaper", store, clock, Reaper(store, clock)),
    }


async def run_control(store: Store, clock: Clock, ids: Ids, presence: Presence) -> None:
    """Run every control loop until one dies or the caller cancels."""
    await run_term(loops(store, clock, ids, presence))
