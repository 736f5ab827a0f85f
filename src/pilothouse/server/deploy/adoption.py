"""Takes over the containers `docker compose` runs for an app (docs/adr/0006-adoption-takes-the-slot-first.md).

Which container gets which slot is a pure decision on what the node shows. The tasks are stored before the services, and
the services only once the node has every container under its task: the orchestrator finds every slot taken and starts
nothing beside a container that runs.
"""

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from pilothouse.control.orchestrators.adoption import Takeover, take_over
from pilothouse.errors import ConflictError, InvalidManifestError, NodeUnavailableError
from pilothouse.model.api import AdoptRequest, AdoptResult
from pilothouse.model.names import display_name
from pilothouse.model.objects import ResolvedImage, Task
from pilothouse.model.spec import AppSpec, Mode, ServiceSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.wire import ForeignContainer
from pilothouse.server.api.context import Context
from pilothouse.server.deploy.overlay import Overlay
from pilothouse.server.deploy.pipeline import Caller, commit, deploy, load, prepare
from pilothouse.server.deploy.plan import plan
from pilothouse.store.interface import ReadTx, WriteTx

ACTION = "app.adopt"
TAKEOVER_SECONDS = 30.0


class Match(msgspec.Struct, frozen=True):
    """What becomes of an app's containers; *replaced* are sentences."""

    takeovers: tuple[Takeover, ...] = ()
    replaced: tuple[str, ...] = ()


def match(
    spec: AppSpec,
    images: Mapping[str, ResolvedImage],
    foreign: Iterable[ForeignContainer],
    taken: frozenset[tuple[str, int]],
    node_id: str,
    *,
    pinned: bool = False,
) -> Match:
    """Return which containers are taken over, and which of them only to be replaced in order.

    Args:
        spec: The app as it is to be.
        images: What each service's image resolved to.
        foreign: The containers on the node that are not managed.
        taken: (service, slot) that a live task already has.
        node_id: The node.
        pinned: There are other nodes, where the containers are not.
    """
    takeovers: list[Takeover] = []
    replaced: list[str] = []
    services = {service.name: service for service in spec.services}
    used = set(taken)
    mine = [f for f in foreign if f.project == spec.name and f.running and not f.one_off]
    for found in sorted(mine, key=lambda f: (f.service, f.number, f.id)):
        service = services.get(found.service)
        if service is None:
            replaced.append(f"{found.name}: no service {found.service!r} in the manifest, so it is left alone")
            continue
        if service.mode.job:
            replaced.append(f"{found.name}: {found.service} is a job, so the container is left to end by itself")
            continue
        slot = _slot(service, found, used)
        used.add((service.name, slot))
        why = differs(service, images[service.name], found, slot)
        takeovers.append(
            Takeover(
                service_id=f"{spec.name}/{service.name}",
                slot=slot,
                container_id=found.id,
                container_name=found.name,
                current=not why,
                node_id=node_id if pinned or service.mode is Mode.GLOBAL else "",
            )
        )
        if why:
            replaced.append(f"{service.name} ({found.name}): {why}")
    return Match(tuple(takeovers), tuple(replaced))


def differs(service: ServiceSpec, image: ResolvedImage, found: ForeignContainer, slot: int) -> str:
    """Return why a container cannot stay as it is, as far as can be told from outside, or ""."""
    if service.mode is Mode.REPLICATED and slot > service.replicas:
        return f"the manifest asks for {service.replicas} of it"
    if found.image_id != image.id:
        return f"it runs another image than {image.ref} is now"
    for name, value in sorted(service.task.container.labels.items()):
        if found.labels.get(name) != value:
            return f"its label {name} differs from the manifest's"
    return ""


def kept_ports(task: Task) -> str:
    """Return what is to be said of the ports of a container that is taken over as it runs, or ""."""
    ports = [port for port in task.spec.container.ports if port.ingress and port.published is not None]
    if not ports:
        return ""
    numbers = ", ".join(str(port.published[0]) for port in ports if port.published is not None)
    return (
        f" (its port {numbers} stays with the engine until the container is replaced for the first time; it is then "
        "stopped first, and the proxy serves the port from there on)"
    )


def _too_few(app: str, service: ServiceSpec, found: int) -> str:
    """Return why the containers of a service cannot be taken over into so many replicas, or ""."""
    if service.mode is not Mode.REPLICATED or not 0 < found < service.replicas:
        return ""
    fixed = [port for port in service.task.container.ports if port.ingress and port.published is not None]
    if not fixed:
        return ""
    number = fixed[0].published[0] if fixed[0].published else 0
    return (
        f"services.{service.name}: its container publishes port {number} through the engine, so no other replica can "
        f"be reached there before it is replaced: adopt with {found}, run `pilothouse restart {app} {service.name}`, "
        f"then ask for {service.replicas}"
    )


def _slot(service: ServiceSpec, found: ForeignContainer, used: set[tuple[str, int]]) -> int:
    """Return the container's own number if it is free, else the first that is."""
    if service.mode is Mode.GLOBAL:
        return 0
    if found.number > 0 and (service.name, found.number) not in used:
        return found.number
    slot = 1
    while (service.name, slot) in used:
        slot += 1
    return slot


async def adopt(context: Context, caller: Caller, request: AdoptRequest) -> AdoptResult:
    """Make the containers of a Compose project the tasks of a managed app; those that fit go on without a restart."""
    asked_for = request.deploy
    if asked_for.dry_run:
        return AdoptResult(deployed=await deploy(context, caller, asked_for, ACTION))
    node_id, pinned = await _home(context, asked_for.spec.name)
    asked = await prepare(context, caller, asked_for, ACTION)
    foreign = await context.nodes.of(node_id).list_foreign()

    _refuse_too_few(asked_for.spec, foreign)

    def write(tx: WriteTx) -> tuple[Match, list[Task]]:
        live = [task for task in tx.find(Task, app=asked_for.spec.name) if not task.state.terminal]
        taken = frozenset((task.service, task.slot) for task in live)
        # Containers that an earlier, broken attempt has tasks for already are not given another.
        known = {task.adopts for task in live}
        fresh = [found for found in foreign if found.id not in known]
        matched = match(asked_for.spec, asked.images, fresh, taken, node_id, pinned=pinned)
        planned = Overlay(tx, plan(load(tx, asked_for.spec.name), asked).writes)
        return matched, take_over(tx, planned, matched.takeovers, asked.now, context.ids)

    matched, tasks = await context.store.update(Writer.ORCHESTRATOR, write)
    await _taken_over(context, asked_for.spec.name)
    result = await commit(context, caller, asked_for, asked, ACTION)
    names = {one.container_id: one.container_name for one in matched.takeovers if one.current}
    adopted = tuple(
        f"{names[task.adopts]} → {display_name(task)}{kept_ports(task)}" for task in tasks if task.adopts in names
    )
    return AdoptResult(deployed=result, adopted=adopted, replaced=matched.replaced)


async def _home(context: Context, project: str) -> tuple[str, bool]:
    """Return the node that the containers of *project* are on, and whether there are others where they are not.

    Raises:
        ConflictError: They are on several nodes.
        NodeUnavailableError: No node is connected.
    """
    first, _ = context.nodes.any()
    connected = context.nodes.connected
    if len(connected) == 1:
        return first, False
    answers = await asyncio.gather(*(context.nodes.of(node_id).list_foreign() for node_id in connected))
    homes = [
        node_id
        for node_id, found in zip(connected, answers, strict=True)
        if any(each.project == project and each.running for each in found)
    ]
    if len(homes) > 1:
        raise ConflictError(
            f"containers of {project} run on several nodes ({', '.join(homes)}), and only those of one can be taken "
            "over; stop the others, then adopt again"
        )
    return homes[0] if homes else first, True


def _refuse_too_few(spec: AppSpec, foreign: Iterable[ForeignContainer]) -> None:
    running = [found.service for found in foreign if found.project == spec.name and found.running and not found.one_off]
    findings = [why for each in spec.services if (why := _too_few(spec.name, each, running.count(each.name)))]
    if findings:
        raise InvalidManifestError("\n".join(findings), tuple(findings))


async def _taken_over(context: Context, app: str) -> None:
    """Wait until the node has taken in every task of *app* that adopts a container.

    Before that nobody may replace or stop one: a task that no node knows of is called off without a container being
    stopped, and its container would run on beside the replacement.

    Raises:
        NodeUnavailableError: The node did not; no service was stored, and adopting again goes on from here.
    """
    waiter = context.commits.waiter(lambda commit: any(isinstance(change.object, Task) for change in commit.changes))
    deadline = context.clock.monotonic() + TAKEOVER_SECONDS
    try:
        while waiting := await context.store.view(lambda tx: _waiting(tx, app)):
            left = deadline - context.clock.monotonic()
            if left <= 0 or not await waiter.changed(left):
                raise NodeUnavailableError(
                    f"the node did not take over {len(waiting)} container(s) within {TAKEOVER_SECONDS:g} s "
                    f"({waiting[0]}); the containers run on as they were: adopt again, it goes on from here"
                )
    finally:
        context.commits.forget(waiter)


def _waiting(tx: ReadTx, app: str) -> list[str]:
    """Return what each task waits for that adopts a container and has not reached the node."""
    tasks = [task for task in tx.find(Task, app=app) if task.adopts and task.state <= TaskState.ASSIGNED]
    return [f"{display_name(task)}: {task.placement_message or 'the node has yet to answer'}" for task in tasks]
