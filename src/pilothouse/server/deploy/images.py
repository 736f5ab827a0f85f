"""Makes sure of every image a deployment needs, on the node, before anything is touched."""

import shlex

import msgspec

from pilothouse.errors import ImageMissingError
from pilothouse.model.container import MountKind
from pilothouse.model.objects import ResolvedImage, Service
from pilothouse.model.release import Release
from pilothouse.model.spec import AppSpec, TaskSpec
from pilothouse.model.steps import step_indexes
from pilothouse.model.wire import ImageProgress
from pilothouse.server.sessions.interface import NodeServices

_NEVER = frozenset({"never", "build"})
_KEPT = _NEVER | {"", "missing"}
"""The pull policies by which an image that is on the node stays what it is."""


class Need(msgspec.Struct, frozen=True, order=True):
    """One image as a manifest asks for it."""

    ref: str
    policy: str = ""
    platform: str = ""


def needs(spec: AppSpec) -> dict[Need, tuple[str, ...]]:
    """Return every image *spec* needs, with the manifest keys that ask for it."""
    found: dict[Need, list[str]] = {}
    for service in spec.services:
        task = service.task
        policy, platform = task.container.pull_policy, task.container.platform
        asked = [(f"services.{service.name}.image", task.container.image)]
        asked += [(f"services.{service.name}.pre_start", hook.image) for hook in task.pre_start if hook.image]
        for mount in task.container.mounts:
            if mount.kind is MountKind.IMAGE:
                asked.append((f"services.{service.name}.volumes", mount.source))
        for key, ref in asked:
            found.setdefault(Need(ref, policy, platform), []).append(key)
    return {need: tuple(keys) for need, keys in sorted(found.items())}


def need_of(spec: AppSpec, name: str) -> Need:
    """Return the image of the service called *name*."""
    container = next(service for service in spec.services if service.name == name).task.container
    return Need(container.image, container.pull_policy, container.platform)


def of_steps(task: TaskSpec, found: dict[Need, ResolvedImage]) -> dict[str, ResolvedImage]:
    """Return what the images of the once-per-release steps of *task* resolved to, by reference."""
    policy, platform = task.container.pull_policy, task.container.platform
    refs = (task.pre_start[index].image for index in step_indexes(task))
    return {ref: found[Need(ref, policy, platform)] for ref in refs if ref}


async def resolve(spec: AppSpec, node: NodeServices) -> dict[Need, ResolvedImage]:
    """Return what each image resolved to, pulling what is missing as the manifest's pull policy says.

    Raises:
        ImageMissingError: One is not on the node and cannot be pulled.
    """
    found: dict[Need, ResolvedImage] = {}
    for need, keys in needs(spec).items():
        last = await _last(node, need)
        if last is None or last.phase != "resolved":
            raise ImageMissingError(missing(need, keys, last.message if last else "the node gave no answer"))
        found[need] = ResolvedImage(ref=need.ref, id=last.id, digest=last.digest)
    return found


class Seen(msgspec.Struct, frozen=True):
    """What the node has of the images of a spec; nothing was pulled.

    Attributes:
        found: What each image means there; of a missing one, what it meant when it was deployed, or nothing.
        warnings: Which images would have to be pulled, or will be in any case, each as one sentence.
        refused: Which are missing and must not be pulled, so that the deployment would be refused; likewise.
    """

    found: dict[Need, ResolvedImage]
    warnings: tuple[str, ...]
    refused: tuple[str, ...]


async def look(spec: AppSpec, node: NodeServices, services: dict[str, Service]) -> Seen:
    """Return what each image of *spec* would resolve to; *services* are those that are stored."""
    found: dict[Need, ResolvedImage] = {}
    warnings: list[str] = []
    refused: list[str] = []
    known = {service.image.ref: service.image for service in services.values()}
    for need, keys in needs(spec).items():
        what = f"{', '.join(keys)}: the image {need.ref}"
        last = await _last(node, msgspec.structs.replace(need, policy="never"))
        if last is not None and last.phase == "resolved":
            found[need] = ResolvedImage(ref=need.ref, id=last.id, digest=last.digest)
            if need.policy not in _KEPT:
                warnings.append(f"{what} may mean another one by then, as `pull_policy: {need.policy}` has it pulled")
            continue
        found[need] = known.get(need.ref, ResolvedImage(ref=need.ref))
        if need.policy in _NEVER:
            refused.append(f"{what} is not on the node, and `pull_policy: {need.policy}` does not have it pulled")
        else:
            warnings.append(f"{what} is not on the node and would have to be pulled")
    return Seen(found, tuple(warnings), tuple(refused))


async def have_again(release: Release, node: NodeServices) -> None:
    """Make sure that the very images of an earlier release are on the node; a tag may mean another one by now.

    One that is gone is pulled by its digest if it came from a registry and its pull policy allows it. Those of
    once-per-release steps are not looked for: they ran for that release, and are not run again.

    Raises:
        ImageMissingError: One is gone and cannot be had again.
    """
    for service in release.spec.services:
        container, image = service.task.container, release.images[service.name]
        pulls = [(image.id or image.ref, "never")]
        if image.digest and container.pull_policy not in {"never", "build"}:
            pulls.append((image.digest, "missing"))
        tried = [await _last(node, Need(ref, policy, container.platform)) for ref, policy in pulls]
        if not any(last and last.phase == "resolved" and last.id in {image.id, ""} for last in tried):
            raise ImageMissingError(_gone(release, service.name, image, tried[-1]))
    for need, keys in needs(_without_steps(release.spec)).items():
        others = tuple(key for key in keys if not key.endswith(".image"))
        last = await _last(node, need) if others else None
        if others and (last is None or last.phase != "resolved"):
            raise ImageMissingError(missing(need, others, last.message if last else "the node gave no answer"))


def _without_steps(spec: AppSpec) -> AppSpec:
    services = []
    for service in spec.services:
        hooks = tuple(hook for hook in service.task.pre_start if hook.per_replica)
        services.append(msgspec.structs.replace(service, task=msgspec.structs.replace(service.task, pre_start=hooks)))
    return msgspec.structs.replace(spec, services=tuple(services))


def _gone(release: Release, service: str, image: ResolvedImage, last: ImageProgress | None) -> str:
    """Return the sentence that says which image of an earlier release cannot be had again, and what to do."""
    if last is not None and last.phase == "resolved":
        why = "the registry has another image under that digest"
    else:
        why = last.message if last and last.message else "the node gave no answer"
    return (
        f"the image that services.{service} had in release {release.number} of {release.app} "
        f"({image.ref}, {image.digest or image.id}) is not on the node any more and could not be had again: {why}; "
        "build or pull it and deploy the manifest as it was"
    )


async def _last(node: NodeServices, need: Need) -> ImageProgress | None:
    last = None
    async for progress in node.ensure_image(need.ref, need.policy, need.platform):
        last = progress
    return last


def missing(need: Need, keys: tuple[str, ...], why: str) -> str:
    """Return the sentence that says which image is missing, who needs it, and what to do."""
    ref = shlex.quote(need.ref)
    return (
        f"the image {need.ref} ({', '.join(keys)}) is not on the node and could not be pulled: {why}; "
        f"make it with 'docker build -t {ref} DIRECTORY' or 'docker pull {ref}' on the node, then deploy again"
    )
