"""Which images must stay on a node although no task there uses them now: those that a rollback may go back to. Pure."""

from collections.abc import Iterable

from pilothouse.control.orchestrators.retention import kept_releases
from pilothouse.model.objects import App, ResolvedImage, Service, Task
from pilothouse.model.release import Release, ReleaseState
from pilothouse.model.spec import TaskSpec
from pilothouse.store.interface import ReadTx

STABLE_KEPT = 2
"""The newest stable releases, so that there is one to go back to from a stable one as well."""


def needed_images(tx: ReadTx, node_id: str) -> tuple[str, ...]:
    """Return the ids, digests and references of images that must stay on *node_id*, sorted.

    Of every app with tasks there: what its services are made from now, and in the releases it may go back to: the
    newest one, the one that that would go back to, and the newest stable ones. An image that came from no registry can
    be had nowhere else, so it stays as long as any release names it that is kept.
    """
    here = {task.app for task in tx.find(Task, node_id=node_id)}
    found: set[str] = set()
    for app in tx.find(App):
        if app.removing:
            continue
        releases = kept_releases(tx.find(Release, app=app.id))
        back = _goes_back_to(releases)
        for service in tx.find(Service, app=app.id):
            found |= _names((service.image, *service.step_images.values()), everything=app.id in here)
            found |= _hooks(service.spec.task) if app.id in here else set()
        for release in releases:
            images = [*release.images.values(), *(i for each in release.step_images.values() for i in each.values())]
            wanted = app.id in here and release.number in back
            found |= _names(images, everything=wanted)
            for spec in release.spec.services if wanted else ():
                found |= _hooks(spec.task)
    return tuple(sorted(found))


def _goes_back_to(releases: Iterable[Release]) -> set[int]:
    ordered = sorted(releases, key=lambda release: release.number)
    stable = [release.number for release in ordered if release.state is ReleaseState.STABLE][-STABLE_KEPT:]
    return {*stable, *(number for release in ordered[-1:] for number in (release.number, release.base, release.copies))}


def _names(images: Iterable[ResolvedImage], *, everything: bool) -> set[str]:
    """Return what *images* are called; those that a registry has only with *everything*."""
    return {
        name
        for image in images
        if everything or not image.digest
        for name in ((image.id, image.digest) if image.id or image.digest else (image.ref,))
        if name
    }


def _hooks(spec: TaskSpec) -> set[str]:
    return {hook.image for hook in spec.pre_start if hook.image}
