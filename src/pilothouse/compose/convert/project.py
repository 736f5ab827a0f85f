"""The whole loaded model → an app, and the contents of its secrets and configs beside it."""

from collections.abc import Callable, Mapping

import msgspec

from pilothouse.compose import x_pilothouse
from pilothouse.compose.convert import builds, files, networking
from pilothouse.compose.convert.service import completed_dependencies, convert_service
from pilothouse.compose.load import Loaded
from pilothouse.compose.reader import Findings, Places, Reader
from pilothouse.model.base import Value
from pilothouse.model.spec import AppSpec, VolumeSpec


class Converted(Value, frozen=True, kw_only=True):
    """What a Compose project asks for.

    Attributes:
        secrets, configs: The content of each one that is not external, by key.
        builds: The command that builds each image with a `build:` section, by the image's reference.
        warnings: "PATH: SENTENCE", in the order of the manifest.
    """

    spec: AppSpec
    secrets: dict[str, bytes] = {}
    configs: dict[str, bytes] = {}
    builds: dict[str, str] = {}
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Leave contents out, so that no log line can hold them."""
        return f"Converted({self.spec.name!r}, {len(self.spec.services)} services)"


def convert(
    project: Mapping[str, object],
    *,
    project_directory: str,
    read_file: Callable[[str], bytes],
    environment: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    places: Places | None = None,
) -> Converted:
    """Return the app that *project*, a loaded model, describes; the same model gives an equal app.

    Args:
        project: The loaded model: interpolated, merged and normalised, `$` written once, `x-pilothouse` kept.
        project_directory: Absolute; the base of relative paths of secrets and configs.
        read_file: Return the bytes of a file, or raise OSError.
        environment: The caller's variables, for secrets and configs that are taken from one.
        values: Contents that were taken from variables already, by path such as "secrets.token"; they win.
        places: Where paths such as "services.web.ports.0" stand, for findings and warnings.

    Raises:
        InvalidManifestError: Something cannot be used as it is written; `errors` holds every finding with its path.
    """
    findings = Findings()
    root = findings.open(project, "")
    root.ignore("version", "include")
    root.refuse("models", "are not supported yet; run a model server as a service")
    app = root.text("name")
    if not app:
        root.error("name", "is needed; write name: and 1 to 63 of a-z, 0-9, '-' and '_'")
    entries = list(root.entries("services"))
    to_complete = set().union(*(completed_dependencies(entry) for _, entry in entries))
    services = tuple(convert_service(app, key, entry, key in to_complete) for key, entry in entries)
    sources = files.Sources(_below(project_directory, read_file), environment or {}, values or {})
    given = {grant.source for service in services for grant in service.task.container.secrets}
    unused = files.build_secrets(entries) - given
    secret_specs, secrets = files.contents(root, "secrets", app, sources, unused)
    config_specs, configs = files.contents(root, "configs", app, sources)
    used = {attachment.network for service in services for attachment in service.task.container.networks}
    spec = AppSpec(
        name=app,
        services=services,
        networks=networking.networks(root, app, used),
        volumes=tuple(_volume(key, entry, app) for key, entry in root.entries("volumes")),
        secrets=secret_specs,
        configs=config_specs,
        ownership=x_pilothouse.ownership(root),
    )
    return Converted(
        warnings=findings.finish(places or {}),
        spec=spec,
        secrets=secrets,
        configs=configs,
        builds=builds.commands(app, entries),
    )


def convert_loaded(loaded: Loaded) -> Converted:
    """Return the app of a project that was just loaded, the loader's warnings first; findings name file and line.

    Raises:
        InvalidManifestError: As `convert`.
    """
    made = convert(
        loaded.project,
        project_directory=loaded.project_directory,
        read_file=loaded.reader.named,
        environment=loaded.environment,
        values=loaded.values,
        places=loaded.marks,
    )
    return msgspec.structs.replace(made, warnings=(*loaded.warnings, *made.warnings))


def _below(directory: str, read_file: Callable[[str], bytes]) -> Callable[[str], bytes]:
    return lambda path: read_file(path if path.startswith("/") else f"{directory.rstrip('/')}/{path}")


def _volume(key: str, entry: Reader, app: str) -> VolumeSpec:
    external = entry.flag("external")
    return VolumeSpec(
        key=key,
        name=entry.text("name") or (key if external else f"{app}_{key}"),
        driver=entry.text("driver"),
        driver_opts=entry.pairs("driver_opts"),
        external=external,
        labels=entry.pairs("labels"),
    )
