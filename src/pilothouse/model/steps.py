"""Once-per-release steps: the `pre_start` hooks that run once for what the tasks are made from, each as its own task.

Only what a step is and what is remembered of it; when one is made is `control.orchestrators.steps`.
"""

import shlex
from collections.abc import Collection, Iterable

from msgspec.structs import replace

from pilothouse.model.container import Healthcheck, NetworkAttachment
from pilothouse.model.objects import ResolvedImage, Service
from pilothouse.model.rollout import StepRecord
from pilothouse.model.spec import Probes, Resources, TaskSpec

KEPT_FINGERPRINTS = 20
_LONGEST_COMMAND = 80


def step_indexes(spec: TaskSpec) -> tuple[int, ...]:
    """Return which `pre_start` hooks of *spec* are steps, in the order in which they run."""
    return tuple(index for index, hook in enumerate(spec.pre_start) if not hook.per_replica)


def hook_spec(spec: TaskSpec, index: int) -> TaskSpec:
    """Return what runs `pre_start` hook number *index* of *spec* in a container of its own.

    It has the files, volumes, networks, environment and limits of the tasks, but nothing by which anybody finds or
    checks one: no names, addresses, ports, checks or hooks. It reserves nothing, so it fits where the tasks do.
    """
    hook, container = spec.pre_start[index], spec.container
    inner = replace(
        container,
        image=hook.image or container.image,
        command=hook.command or None,
        entrypoint=() if hook.command else None,
        user=hook.user or container.user,
        working_dir=hook.working_dir or container.working_dir,
        environment={**container.environment, **hook.environment},
        privileges=replace(
            container.privileges,
            privileged=container.privileges.privileged or hook.privileged,
            ipc="",
            pid="",
            uts="",
        ),
        networks=tuple(NetworkAttachment(network=attached.network) for attached in container.networks),
        healthcheck=Healthcheck(test=("NONE",)),
        hostname="",
        domainname="",
        container_name="",
        mac_address="",
        ports=(),
        expose=(),
    )
    return replace(
        spec,
        container=inner,
        reservations=Resources(),
        placement=replace(spec.placement, max_replicas_per_node=0),
        probes=Probes(),
        pre_start=(),
        post_start=(),
        pre_stop=(),
    )


def step_image(service: Service, index: int) -> ResolvedImage:
    """Return the image of step *index* of *service*: what was resolved when it was deployed."""
    ref = service.spec.task.pre_start[index].image
    return service.step_images.get(ref, ResolvedImage(ref=ref)) if ref else service.image


def step_title(spec: TaskSpec, index: int) -> str:
    """Return what people call step *index* of *spec*: "step 1 of 2 (python manage.py migrate)"."""
    indexes, hook = step_indexes(spec), spec.pre_start[index]
    command = shlex.join(hook.command) or hook.image
    short = command if len(command) <= _LONGEST_COMMAND else f"{command[: _LONGEST_COMMAND - 1]}…"
    return f"step {indexes.index(index) + 1} of {len(indexes)} ({short})"


def record_of(steps: Iterable[StepRecord], fingerprint: str, index: int) -> StepRecord | None:
    """Return what is known of the newest try of a step, or None if none has ended."""
    found = [record for record in steps if (record.fingerprint, record.index) == (fingerprint, index)]
    return found[-1] if found else None


def remembered(
    steps: Iterable[StepRecord], ended: Iterable[StepRecord], needed: Collection[str]
) -> tuple[StepRecord, ...]:
    """Return *steps* with those that *ended* now, in that order, as far as they are of the newest fingerprints.

    Args:
        steps: What is remembered so far.
        ended: What is new.
        needed: Fingerprints that are kept however old they are.
    """
    every = {record.task_id: record for record in (*steps, *ended)}.values()
    prints = list(dict.fromkeys(record.fingerprint for record in reversed(every)))
    kept = {*prints[:KEPT_FINGERPRINTS], *needed}
    return tuple(record for record in every if record.fingerprint in kept)
