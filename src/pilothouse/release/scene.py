"""What the releaser sees of one app, at one revision of the store: the app, its releases, its services, its traffic."""

import msgspec

from pilothouse.model.objects import App, Service
from pilothouse.model.release import Release, Traffic
from pilothouse.model.rollout import Rollout, RolloutState
from pilothouse.store.interface import ReadTx


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One app and everything that decides what becomes of its releases.

    Attributes:
        releases: All that are kept, in the order of their numbers.
        services: All of the app, those that are leaving included.
    """

    app: App
    releases: tuple[Release, ...] = ()
    services: tuple[Service, ...] = ()
    traffic: tuple[Traffic, ...] = ()

    @property
    def newest(self) -> Release | None:
        """The release the app is to be as; None for an app that is leaving or has no release on record."""
        if self.app.removing:
            return None
        return next((each for each in self.releases if each.number == self.app.revision), None)


def scene(tx: ReadTx, app: str) -> Scene | None:
    """Return what there is of *app*, or None if there is no such app."""
    found = tx.get(App, app)
    if found is None:
        return None
    return Scene(
        app=found,
        releases=tuple(sorted(tx.find(Release, app=app), key=lambda release: release.number)),
        services=tuple(tx.find(Service, app=app)),
        traffic=tuple(tx.find(Traffic, app=app)),
    )


def rollout(seen: Scene, release: Release, service: Service) -> Rollout | None:
    """Return how far *service* is with *release*; None if the orchestrator has not answered yet.

    A rollout of another release is no answer, and neither is a failure from before a person had the release go on.
    """
    found = service.rollout
    if found.release != release.number:
        return None
    resumed = seen.app.resumed_at
    if found.state is RolloutState.FAILED and resumed and found.since <= resumed:
        return None
    return found
