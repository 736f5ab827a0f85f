"""An app as flat text, for the record of what a deployment changed: no contents, no values of variables."""

import hashlib
from collections.abc import Iterator, Mapping

import msgspec

from pilothouse.model.objects import Config, Secret, Service
from pilothouse.model.spec import AppSpec


class Hidden:
    """A value that can be compared and not be read; it is shown as "(hidden)"."""

    __slots__ = ("_digest",)

    def __init__(self, value: str) -> None:
        self._digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and other._digest == self._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def __str__(self) -> str:
        return "(hidden)"


def describe(
    spec: AppSpec, services: Mapping[str, Service], secrets: Mapping[str, Secret], configs: Mapping[str, Config]
) -> dict[str, object]:
    """Return the app as paths and short texts; equal apps give equal descriptions."""
    flat: dict[str, object] = {}
    for name, service in sorted(services.items()):
        if not service.removing:
            flat.update(_flatten(f"services.{name}", msgspec.to_builtins(service.spec)))
            flat[f"services.{name}.image"] = service.image.digest or service.image.id or service.image.ref
            if service.restarts_requested:
                flat[f"services.{name}.restarts_requested"] = str(service.restarts_requested)
    for network in spec.networks:
        flat.update(_flatten(f"networks.{network.key}", msgspec.to_builtins(network)))
    for volume in spec.volumes:
        flat.update(_flatten(f"volumes.{volume.key}", msgspec.to_builtins(volume)))
    for secret in spec.secrets:
        flat[f"secrets.{secret.key}.content_version"] = _version(secrets.get(secret.key))
    for config in spec.configs:
        flat[f"configs.{config.key}.content_version"] = _version(configs.get(config.key))
    flat.update(_flatten("ownership", msgspec.to_builtins(spec.ownership)))
    return flat


def _version(file: Secret | Config | None) -> str:
    return file.content_version if file else ""


def _flatten(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, content in sorted(value.items()):
            if key == "environment" and isinstance(content, dict):
                yield from ((f"{path}.environment.{name}", Hidden(v)) for name, v in sorted(content.items()))
            else:
                yield from _flatten(f"{path}.{key}", content)
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        for number, item in enumerate(value):
            yield from _flatten(f"{path}[{number}]", item)
    elif isinstance(value, list):
        yield path, " ".join(str(item) for item in value)
    else:
        yield path, "" if value is None else str(value)
