"""What a node must have, with the contents of its files: secrets are opened here, and only those it does not have."""

from collections.abc import Collection, Iterable

from msgspec.structs import replace

from pilothouse.control.assignments import needs
from pilothouse.governance.secrets.seal import Vault
from pilothouse.model.wire import Assignment, FileContent
from pilothouse.server.sessions.contents import stored_content
from pilothouse.store.interface import ReadTx

NOTHING: frozenset[tuple[str, str]] = frozenset()


def assignment_of(
    tx: ReadTx,
    vault: Vault,
    node_id: str,
    *,
    secrets_there: Collection[tuple[str, str]] = NOTHING,
    configs_there: Collection[tuple[str, str]] = NOTHING,
) -> Assignment:
    """Return what *node_id* must have at the revision of *tx*.

    Args:
        tx: The snapshot.
        vault: Opens secrets.
        node_id: The node.
        secrets_there: The (id, version) of secrets whose content is left out, because the node has it.
        configs_there: The same of configs.
    """
    found = needs(tx, node_id)
    secrets, configs = _stored(tx, "secret", found.secrets), _stored(tx, "config", found.configs)
    return replace(
        found.assignment,
        secrets=tuple(_opened(vault, file, secrets_there) for file in secrets),
        configs=tuple(_left_out(file, configs_there) for file in configs),
    )


def _stored(tx: ReadTx, kind: str, wanted: Iterable[tuple[str, str]]) -> list[FileContent]:
    """Return files as they are stored, each version once: asked for by its name and as the newest, it is one file."""
    files = [file for at in wanted if (file := stored_content(tx, kind, *at)) is not None]
    return list({(file.id, file.version): file for file in files}.values())


def _opened(vault: Vault, sealed: FileContent, there: Collection[tuple[str, str]]) -> FileContent:
    if (sealed.id, sealed.version) in there:
        return replace(sealed, content=b"")
    app, _, key = sealed.id.partition("/")
    return replace(sealed, content=vault.open(app, key, sealed.version, sealed.content))


def _left_out(file: FileContent, there: Collection[tuple[str, str]]) -> FileContent:
    return replace(file, content=b"") if (file.id, file.version) in there else file
