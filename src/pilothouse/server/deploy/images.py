"""Makes sure of every image a deployment needs, on a node that could run it, before anything is touched.

An image of a registry can be had by every node, by its digest. Any other is on some nodes only: these are noted with
it, and its tasks go nowhere else.
"""

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from pilothouse.errors import ImageMissingError
from pilothouse.model.container import MountKind
from pilothouse.model.objects import ResolvedImage
from pilothouse.model.release import Release
from pilothouse.model.spec import AppSpec, TaskSpec
from pilothouse.model.steps import step_indexes
from pilothouse.model.wire import ImageProgress
from pilothouse.server.deploy.whereabouts import Site, last_of
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


class Found(msgspec.Struct, frozen=True):
    """What the images of a spec are, and what a person should know about them, each as one sentence."""

    images: dict[Need, ResolvedImage]
    warnings: tuple[str, ...] = ()


async def resolve(spec: AppSpec, site: Site) -> Found:
    """Return what each image resolved to, pulling what is missing as the manifest's pull policy says.

    Raises:
        ImageMissingError: One is on no node that could run it and cannot be pulled.
        UnavailableError, DriverError: Whoever may have it did not answer.
    """
    found: dict[Need, ResolvedImage] = {}
    warnings: list[str] = []
    for need, keys in needs(spec).items():
        nodes = site.candidates(spec, _services(keys))
        last = await _last(site.nodes.of(nodes[0]), need)
        have = {nodes[0]: last} if last.phase == "resolved" else {}
        if not have or _is_pinned(need, have[nodes[0]]):
            others = await site.ask(nodes[1:], need.ref, need.platform)
            have |= (others if have else others.believed(sure=True)).have
        if not have:
            raise ImageMissingError(missing(need, keys, last.message))
        found[need] = _image(need, have, site)
        warnings += _various(need, keys, have)
    return Found(found, tuple(warnings))


class Seen(msgspec.Struct, frozen=True):
    """What the nodes have of the images of a spec; nothing was pulled.

    Attributes:
        found: What each image means there; of a missing one, what it meant when it was deployed, or nothing.
        warnings: Which images would have to be pulled, or will be in any case, each as one sentence.
        refused: Which are missing and must not be pulled, so that the deployment would be refused; likewise.
    """

    found: dict[Need, ResolvedImage]
    warnings: tuple[str, ...]
    refused: tuple[str, ...]


async def look(spec: AppSpec, site: Site) -> Seen:
    """Return what each image of *spec* would resolve to."""
    found: dict[Need, ResolvedImage] = {}
    warnings: list[str] = []
    refused: list[str] = []
    known = {service.image.ref: service.image for service in site.services.values()}
    for need, keys in needs(spec).items():
        nodes = site.candidates(spec, _services(keys))
        there = "the node" if len(site.nodes.connected) == 1 else "any node that could run it"
        what = f"{', '.join(keys)}: the image {need.ref}"
        if have := (await site.ask(nodes, need.ref, need.platform)).believed().have:
            found[need] = _image(need, have, site)
            warnings += _various(need, keys, have)
            if need.policy not in _KEPT:
                warnings.append(f"{what} may mean another one by then, as `pull_policy: {need.policy}` has it pulled")
            continue
        found[need] = known.get(need.ref, ResolvedImage(ref=need.ref))
        if need.policy in _NEVER:
            refused.append(f"{what} is not on {there}, and `pull_policy: {need.policy}` does not have it pulled")
        else:
            warnings.append(f"{what} is not on {there} and would have to be pulled")
    return Seen(found, tuple(warnings), tuple(refused))


def _services(keys: Iterable[str]) -> set[str]:
    """Return the services whose keys these are: "services.NAME.image" and so on; a name may hold dots."""
    return {key.removeprefix("services.").rpartition(".")[0] for key in keys}


def _is_pinned(need: Need, image: ImageProgress) -> bool:
    """Whether only nodes that have the image already can run it."""
    return not image.digest or need.policy in _NEVER


def _image(need: Need, have: Mapping[str, ImageProgress], site: Site) -> ResolvedImage:
    """Return what the image is that these nodes have; of several, the one that most of them have."""
    counted = Counter(each.id for each in have.values())
    chosen = max(have.values(), key=lambda each: (counted[each.id], bool(each.digest)))
    image = ResolvedImage(ref=need.ref, id=chosen.id, digest=chosen.digest, platform=chosen.platform)
    if not _is_pinned(need, chosen):
        return image
    here = {node_id for node_id, each in have.items() if each.id == chosen.id}
    # A node that is away at the moment keeps what it had.
    known = [service.image for service in site.services.values()]
    had = {node for old in known if (old.ref, old.id) == (image.ref, image.id) for node in old.nodes}
    return replace(image, nodes=tuple(sorted(here | (had - set(site.nodes.connected)))))


def _various(need: Need, keys: Iterable[str], have: Mapping[str, ImageProgress]) -> list[str]:
    """Return a warning if the nodes mean different images by one name."""
    if len({each.id for each in have.values()}) < 2 or not any(_is_pinned(need, each) for each in have.values()):
        return []
    which = ", ".join(f"{each.id.removeprefix('sha256:')[:12]} on {node_id}" for node_id, each in sorted(have.items()))
    return [
        f"{', '.join(keys)}: the nodes mean different images by {need.ref} ({which}); the one that most have is taken: "
        "build it once and load it on each, or push it to a registry"
    ]


async def have_again(release: Release, site: Site) -> None:
    """Make sure that the very images of an earlier release can be had; a tag may mean another one by now.

    One that is gone is pulled by its digest if it came from a registry and its pull policy allows it. Those of
    once-per-release steps are not looked for: they ran for that release, and are not run again.

    Raises:
        ImageMissingError: One is gone and cannot be had again.
    """
    for service in release.spec.services:
        container, image = service.task.container, release.images[service.name]
        nodes = site.candidates(release.spec, {service.name})
        answers = (await site.ask(nodes, image.id or image.ref, container.platform)).believed(sure=True)
        if any(each.id in {image.id, ""} for each in answers.have.values()):
            continue
        last = answers.absent
        if image.digest and container.pull_policy not in _NEVER:
            last = await _last(site.nodes.of(nodes[0]), Need(image.digest, "missing", container.platform))
        if last is None or last.phase != "resolved" or last.id not in {image.id, ""}:
            raise ImageMissingError(_gone(release, service.name, image, last))
    for need, keys in needs(_without_steps(release.spec)).items():
        others = tuple(key for key in keys if not key.endswith(".image"))
        if not others:
            continue
        last = await _last(site.nodes.of(site.candidates(release.spec, _services(others))[0]), need)
        if last.phase != "resolved":
            raise ImageMissingError(missing(need, others, last.message))


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


async def _last(node: NodeServices, need: Need) -> ImageProgress:
    return await last_of(node, need.ref, need.policy, need.platform)


def missing(need: Need, keys: tuple[str, ...], why: str) -> str:
    """Return the sentence that says which image is missing, who needs it, and what to do."""
    ref = shlex.quote(need.ref)
    return (
        f"the image {need.ref} ({', '.join(keys)}) is not on the node and could not be pulled: {why}; "
        f"make it with 'docker build -t {ref} DIRECTORY' or 'docker pull {ref}' on the node, then deploy again"
    )
