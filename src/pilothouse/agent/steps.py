"""How each instruction of the machine is carried out with the engine; what to do when is decided elsewhere.

Every step may be repeated after a crash at any of its calls, and ends with the world as if it had run once.
"""

import asyncio

import msgspec

from pilothouse import log
from pilothouse.agent.ending import ending_of
from pilothouse.agent.equipment import Equipment
from pilothouse.agent.hooks import HookFailure, tail
from pilothouse.agent.logs import archive
from pilothouse.agent.plan import Surroundings, networks_of, plan_container, volumes_of
from pilothouse.agent.runtime.interface import ContainerPlan, ContainerState
from pilothouse.agent.volumes.files import PlannedFile, plan_files
from pilothouse.errors import DriverError, PermanentError
from pilothouse.model.names import container_name
from pilothouse.model.objects import Ending, Task
from pilothouse.model.wire import LogQuery


async def prepare(task: Task, kit: Equipment) -> ContainerState:
    """Make everything the container needs, then the container, and return it."""
    files = plan_files(task, kit.assignment)
    user = task.spec.container.user
    if files:
        kit.files.write(task.id, files, user or "0")
    plan = plan_container(task, surroundings(task, kit, files))
    await kit.check(plan)
    await _ensure(task, kit)
    try:
        container_id = await kit.engine.prepare(plan)
    except PermanentError:
        if not await _mend(task, kit, plan):
            raise
        container_id = await kit.engine.prepare(plan)
    if files and not user:
        # Only the image knows who its processes run as, and only a container of it tells.
        made = await kit.engine.inspect(plan.name)
        if made is not None:
            kit.files.write(task.id, files, made.user)
            return made
    return ContainerState(
        name=plan.name,
        task_id=task.id,
        id=container_id,
        image_id=task.image.id or plan.image,
        phase="created",
        installation=kit.installation,
    )


async def pre_start(task: Task, kit: Equipment) -> HookFailure | None:
    """Run the task's `pre_start` hooks; return the one that failed, if one did."""
    return await kit.hooks.pre_start(task, surroundings(task, kit, plan_files(task, kit.assignment)))


async def collect(task: Task, container: ContainerState, kit: Equipment) -> Ending:
    """Return how the container ended and what it wrote last."""
    return ending_of(container.exit, await tail(kit.engine, container_name(task)))


async def clean(task: Task, container: ContainerState | None, kit: Equipment) -> None:
    """Save what the task wrote, then remove everything of it."""
    name = container_name(task)
    if container is not None and container.phase in {"running", "paused"}:
        # Whoever is dead for the manager may have been replaced already: first it dies, then its log is saved.
        await kit.engine.stop(name, 0.0, "KILL")
        kit.fence.cleared(task.id)
    if container is not None and container.phase != "created" and not kit.archive.has(task.id):
        await _save_log(task, name, kit)
    await kit.engine.remove(name)
    await kit.hooks.clean(task)
    kit.files.wipe(task.id)


def surroundings(task: Task, kit: Equipment, files: tuple[PlannedFile, ...]) -> Surroundings:
    """Return what the plan of *task* needs to know."""
    return Surroundings(
        assignment=kit.assignment,
        installation=kit.installation,
        hostname=kit.hostname,
        neighbours=kit.neighbours(task),
        files=kit.files.paths(task.id, files),
    )


async def _ensure(task: Task, kit: Equipment) -> None:
    for network in networks_of(task, kit.assignment):
        await kit.networks.ensure(network)
    for volume in volumes_of(task, kit.assignment):
        await kit.volumes.ensure(volume)


async def _mend(task: Task, kit: Equipment, plan: ContainerPlan) -> bool:
    """Look for what somebody removed behind our back and make it again; return whether trying once more may help."""
    networks, volumes = networks_of(task, kit.assignment), volumes_of(task, kit.assignment)
    for network in networks:
        kit.networks.distrust(network)
    for volume in volumes:
        kit.volumes.distrust(volume)
    await _ensure(task, kit)
    if await kit.engine.find_image(plan.image) is not None:
        return bool(networks or volumes)
    ref = task.image.digest
    if not ref:
        return False
    log.event("warning", "image.vanished", task=task.id, image=ref)
    steps = [
        s async for s in kit.engine.ensure_image(ref, task.spec.container.pull_policy, task.spec.container.platform)
    ]
    return bool(steps) and steps[-1].phase == "resolved" and steps[-1].id in {plan.image, "", ref, task.image.id}


async def _save_log(task: Task, name: str, kit: Equipment) -> None:
    query = LogQuery(task_id=task.id, tail=archive.LINES)
    try:
        lines = [msgspec.structs.replace(line, task_id=task.id) async for line in kit.engine.logs(name, query)]
        await asyncio.to_thread(kit.archive.save, task.id, lines)
    except (DriverError, OSError) as error:
        # A full disk or a log driver that cannot be read must not keep the container for ever.
        log.event("warning", "log.lost", task=task.id, error=str(error))
