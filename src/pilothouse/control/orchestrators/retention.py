"""Which releases of an app are kept, and which contents and measurements nobody needs without them. Pure."""

from collections.abc import Iterable

from pilothouse.model.base import Object
from pilothouse.model.objects import App, Config, Secret, Task
from pilothouse.model.release import FileVersion, Release, ReleaseState, Traffic, file_version_id, release_id
from pilothouse.store.interface import ReadTx

KEPT_RELEASES = 20


def kept_releases(releases: Iterable[Release]) -> list[Release]:
    """Return the releases to keep: the newest 20, those they go back to if they fail, and the newest stable one."""
    ordered = sorted(releases, key=lambda release: release.number)
    newest = ordered[-KEPT_RELEASES:]
    stable = [release.number for release in ordered if release.state is ReleaseState.STABLE][-1:]
    needed = {release.base for release in newest} | {release.number for release in newest} | set(stable)
    return [release for release in ordered if release.number in needed]


class Kept:
    """What the releases and the live tasks of an app need of it."""

    def __init__(self, tx: ReadTx, app: str, tasks: Iterable[Task], *, going: bool) -> None:
        """Look at *app*.

        Args:
            tx: The snapshot.
            app: Its name.
            tasks: Those that stay, dead ones included.
            going: The app is taken down, so no release will be restored any more.
        """
        self._tx = tx
        self._app = app
        self._releases = tx.find(Release, app=app)
        self._kept = [] if going else kept_releases(self._releases)
        self._versions = {version.id: version for version in tx.find(FileVersion, app=app)}
        self._needed = self._named([task for task in tasks if not task.state.terminal]) if self._versions else set()

    def leftovers(self) -> list[Object]:
        """Return the releases, contents and measurements that may go."""
        kept = {release.number for release in self._kept}
        return [
            *(release for release in self._releases if release.number not in kept),
            *(version for version in self._versions.values() if self._is_idle(version)),
            *(() if self._is_rolling() else self._tx.find(Traffic, app=self._app)),
        ]

    def only_copy(self, file: Secret | Config) -> bool:
        """Whether a kept release needs the content of *file* and it is kept nowhere else."""
        kind = "secret" if isinstance(file, Secret) else "config"
        found = file_version_id(kind, self._app, file.spec.key, file.content_version)
        return found in _of_releases(self._app, self._kept) and found not in self._versions

    def _is_idle(self, version: FileVersion) -> bool:
        """Whether nobody names *version*, or it is the newest content itself."""
        if version.id not in self._needed:
            return True
        kind: type[Secret] | type[Config] = Secret if version.kind == "secret" else Config
        newest = self._tx.get(kind, f"{self._app}/{version.key}")
        return newest is not None and not newest.removing and newest.content_version == version.content_version

    def _named(self, live: Iterable[Task]) -> set[str]:
        found = _of_releases(self._app, self._kept)
        for task in live:
            found |= {file_version_id("secret", self._app, *item) for item in task.secret_versions.items()}
            found |= {file_version_id("config", self._app, *item) for item in task.config_versions.items()}
        return found

    def _is_rolling(self) -> bool:
        app = self._tx.get(App, self._app)
        newest = self._tx.get(Release, release_id(self._app, app.revision)) if app and not app.removing else None
        return newest is not None and not newest.state.over


def _of_releases(app: str, releases: Iterable[Release]) -> set[str]:
    """Return the ids of every content that *releases* name."""
    found: set[str] = set()
    for release in releases:
        found |= {file_version_id("secret", app, *item) for item in release.secret_versions.items()}
        found |= {file_version_id("config", app, *item) for item in release.config_versions.items()}
    return found
