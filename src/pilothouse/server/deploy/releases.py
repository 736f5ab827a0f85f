"""What releases are based on and what they keep: pure questions about the releases of one app.

Releases are read here, never written: `server.deploy.plan` makes them, the releaser says what became of each.
"""

from collections.abc import Iterable, Mapping

from pilothouse.governance.audit.record import changes_of
from pilothouse.model.objects import Config, FieldChange, ResolvedImage, Secret, Service
from pilothouse.model.release import FileVersion, Release, ReleaseState, file_version_id
from pilothouse.server.deploy.describe import describe

File = Secret | Config


def stable_base(releases: Iterable[Release]) -> int:
    """Return the number of the newest stable release, which a new one goes back to if it fails; 0 if there is none."""
    return max((each.number for each in releases if each.state is ReleaseState.STABLE), default=0)


def newest(releases: Iterable[Release]) -> Release | None:
    """Return the newest of *releases*, or None."""
    return max(releases, key=lambda each: each.number, default=None)


def difference(before: Release | None, after: Release) -> tuple[FieldChange, ...]:
    """Return what differs between two releases of an app, field by field; None is that there was nothing."""
    return changes_of(_described(before) if before else {}, _described(after))


def _described(release: Release) -> dict[str, object]:
    """Return a release as flat text, as its deployment was recorded."""
    app, spec = release.app, release.spec
    return describe(
        spec,
        {
            s.name: Service(
                id=f"{app}/{s.name}",
                app=app,
                name=s.name,
                spec=s,
                image=release.images.get(s.name, ResolvedImage(ref=s.task.container.image)),
                restarts_requested=release.restarts.get(s.name, 0),
            )
            for s in spec.services
        },
        {
            f.key: Secret(id=f"{app}/{f.key}", app=app, spec=f, content_version=release.secret_versions.get(f.key, ""))
            for f in spec.secrets
        },
        {
            f.key: Config(id=f"{app}/{f.key}", app=app, spec=f, content_version=release.config_versions.get(f.key, ""))
            for f in spec.configs
        },
    )


def replaced_contents(
    known: Mapping[str, FileVersion], before: Mapping[str, File], after: Mapping[str, File], gone: Iterable[File]
) -> tuple[FileVersion, ...]:
    """Return the contents that are the newest no more and are not kept yet: an earlier release may need them again.

    Args:
        known: The contents that are kept already, by id.
        before: The files as they are stored, by key.
        after: The files as they will be.
        gone: The files that are removed.
    """
    old = (before[key] for key in before.keys() & after.keys())
    replaced = [file for file in old if file.content_version != after[file.spec.key].content_version]
    made = (_kept(file) for file in (*replaced, *gone) if file.content_version)
    return tuple(sorted((version for version in made if version.id not in known), key=lambda version: version.id))


def _kept(file: File) -> FileVersion:
    kind, stored = ("secret", file.sealed) if isinstance(file, Secret) else ("config", file.content)
    key, version = file.spec.key, file.content_version
    return FileVersion(
        id=file_version_id(kind, file.app, key, version),
        app=file.app,
        kind=kind,
        key=key,
        content_version=version,
        stored=stored,
    )
