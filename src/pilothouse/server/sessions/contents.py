"""Finds one version of a secret's or config's content in the store: the newest one, or an older one that is kept."""

from pilothouse.model.objects import Config, Secret
from pilothouse.model.release import FileVersion, file_version_id
from pilothouse.model.wire import FileContent
from pilothouse.store.interface import ReadTx


def stored_content(tx: ReadTx, kind: str, id: str, version: str) -> FileContent | None:
    """Return a content as it is stored, a secret's still sealed; None if that version is not kept.

    Args:
        tx: The snapshot.
        kind: "secret" or "config".
        id: "APP/KEY".
        version: "" is whichever is the newest.
    """
    newest = _newest(tx, kind, id)
    if newest is not None and version in {"", newest.version}:
        return newest
    app, _, key = id.partition("/")
    older = tx.get(FileVersion, file_version_id(kind, app, key, version))
    return FileContent(id=id, version=version, content=older.stored) if older is not None else None


def _newest(tx: ReadTx, kind: str, id: str) -> FileContent | None:
    if kind == "secret":
        secret = tx.get(Secret, id)
        return FileContent(id=id, version=secret.content_version, content=secret.sealed) if secret else None
    config = tx.get(Config, id)
    return FileContent(id=id, version=config.content_version, content=config.content) if config else None
