"""An agent that has its sessions over the network, put together: part of the composition roots.

A machine that joined runs nothing else. A manager that shares its store runs it beside the server, so that its node
goes on whoever leads.
"""

import asyncio
import os
import pathlib
from collections.abc import Callable, Mapping

from msgspec.structs import replace

import pilothouse
from pilothouse import log
from pilothouse.agent.agent import Agent
from pilothouse.agent.beats import Signs
from pilothouse.agent.fence import Fence
from pilothouse.agent.guard.register import Register
from pilothouse.agent.lease import Lease
from pilothouse.agent.managers import Managers
from pilothouse.agent.proxy.binary import find_binary
from pilothouse.agent.proxy.driver import EnvoyIngress
from pilothouse.agent.remote import RemoteLink, dialler
from pilothouse.agent.runtime.interface import Engine
from pilothouse.cli import membership
from pilothouse.cli.collecting import image_policy
from pilothouse.cli.introduced import Introduced
from pilothouse.cli.membership import Membership
from pilothouse.cli.places import Places
from pilothouse.clock import Clock
from pilothouse.errors import NotClusteredError
from pilothouse.ids import Ids
from pilothouse.link.credentials import Credentials
from pilothouse.link.renewal import Renewal
from pilothouse.link.tls import client_context
from pilothouse.model.addresses import split_address
from pilothouse.supervise import Loop

GUARD = "guard"
"""The directory of the guard's files, in the run directory."""


def agent_loops(
    places: Places,
    engine: Engine,
    clock: Clock,
    ids: Ids,
    heard: Callable[[], None],
    *,
    renews: bool,
    linked: Callable[[RemoteLink], None] = lambda _link: None,
) -> Mapping[str, Loop]:
    """Return what must run for this machine to be a node of its cluster, for `supervise.run_term`.

    Args:
        places: Where things are.
        engine: The node's.
        clock: The time.
        ids: Names and chance.
        heard: Called whenever a manager has heard what this node is.
        renews: The machine's certificate is renewed over the session; a manager does that from the store.
        linked: Told the link to the manager that leads, for whoever else has something to ask there.

    Raises:
        NotClusteredError: This machine is in no cluster.
    """
    data, run = pathlib.Path(places.data), pathlib.Path(places.run)
    known = membership.load(data)
    if known is None:
        raise NotClusteredError(
            f"this machine is in no cluster (there is no {membership.FILE} in {data}): pilothouse join"
        )
    credentials = Credentials(data)
    register = Register(run / GUARD)
    lease = Lease(clock, register.term)
    asks_for_renewal = asyncio.Event()

    def time_told(sent: float, received: float, manager: float) -> None:
        agent.health.clocks.told(sent, received, manager)

    signs = Signs(
        clock=clock,
        ids=ids,
        lease=lease,
        boottime=clock.boottime,
        pressure=lambda: agent.health.pressure,
        renewal_due=asks_for_renewal.set,
        time_told=time_told,
    )
    link = RemoteLink(
        connect=dialler(clock, lambda: client_context(credentials)),
        managers=Managers(known.managers, lambda managers: _remember(data, managers)),
        signs=signs,
        version=pilothouse.__version__,
    )
    linked(link)
    introduced = Introduced(link, lambda: address_of(known), heard)
    ingress = EnvoyIngress(run / "proxy", find_binary(os.environ), clock, ids)
    fence = Fence(lease, clock, register)
    agent = Agent(introduced, engine, ingress, clock, ids, data, run, fence, image_policy(os.environ))
    loops: dict[str, Loop] = {"session": lambda: link.run(agent.services), "agent": agent.run}
    if renews:
        loops["renewal"] = Renewal(credentials, link.renew, clock, ids, asks_for_renewal).run
    return loops


def address_of(known: Membership) -> str:
    """Return the host at which others reach this machine, "" if nobody said."""
    return split_address(known.advertise)[0] if known.advertise else ""


def _remember(data: pathlib.Path, managers: tuple[str, ...]) -> None:
    """Keep where the managers are for the next start; that it cannot be kept changes nothing now."""
    known = membership.load(data)
    if known is None:
        return
    try:
        membership.save(data, replace(known, managers=managers))
    except OSError as error:
        log.event("warning", "managers.forgotten", error=str(error))
