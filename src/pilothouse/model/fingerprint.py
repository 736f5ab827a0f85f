"""What a task was made from, as one short text: a task is outdated when its service's differs."""

import hashlib
from collections.abc import Mapping

import msgspec

from pilothouse.model.objects import Service

_LENGTH = 16


def fingerprint(
    service: Service, secret_versions: Mapping[str, str], config_versions: Mapping[str, str], restarted: tuple[str, ...]
) -> str:
    """Return the fingerprint of the tasks *service* should have now.

    Args:
        service: The service.
        secret_versions: The content version of each secret the service uses, by key.
        config_versions: The same for its configs.
        restarted: The fingerprints of the dependencies it must restart with, in order of their names.
    """
    parts = (
        service.spec.task,
        service.image.id or service.image.digest or service.image.ref,
        service.restarts_requested,
        sorted(secret_versions.items()),
        sorted(config_versions.items()),
        restarted,
    )
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:_LENGTH]
