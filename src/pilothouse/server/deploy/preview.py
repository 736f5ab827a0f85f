"""From a request to what it would do: looks at the store and the node, and writes nothing, not even an audit record.

What would be refused is part of the answer and no error.
"""

from collections.abc import Sequence

import msgspec

from pilothouse.errors import InvalidManifestError
from pilothouse.model.api import DeployRequest
from pilothouse.model.node import Node
from pilothouse.model.release_api import PlanView
from pilothouse.model.validate import validate
from pilothouse.server.api.context import Context
from pilothouse.server.aside import reckon
from pilothouse.server.deploy import images
from pilothouse.server.deploy.crowding import crowded
from pilothouse.server.deploy.foresee import foresee, unplannable
from pilothouse.server.deploy.pipeline import Caller, asked_of, check_contents, load, refusals
from pilothouse.server.deploy.plan import Asked, Stored
from pilothouse.server.deploy.whereabouts import Site


async def preview(context: Context, caller: Caller, request: DeployRequest) -> PlanView:
    """Return what *request* would do now; images are looked for and never pulled.

    Raises:
        NodeUnavailableError: No node can say which images it has.
    """
    stored, nodes = await context.store.view(lambda tx: (load(tx, request.spec.name), tx.find(Node)))
    if faults := _faults(request, stored, nodes):
        return unplannable(request.spec, stored.app, faults)
    seen = await images.look(request.spec, Site(context.nodes, nodes, dict(stored.services)))
    asked = asked_of(context, caller, request, seen.found)
    digest = context.vault.content_version(request.spec.name, "", _essence(asked))
    return await reckon(
        context.store,
        lambda tx: foresee(
            tx,
            load(tx, request.spec.name),
            asked,
            refusals=refusals(tx, request, asked.now),
            errors=seen.refused,
            warnings=seen.warnings,
            digest=digest,
        ),
    )


def _faults(request: DeployRequest, stored: Stored, nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return why the request makes no sense, each as one sentence."""
    if found := validate(request.spec):
        return found
    try:
        check_contents(request, stored)
    except InvalidManifestError as error:
        return error.errors
    return crowded(request.spec, nodes)


def _essence(asked: Asked) -> bytes:
    """Return everything that two requests must have in common to mean the same; of contents, their versions."""
    files = [sorted((key, content.version) for key, content in each.items()) for each in (asked.secrets, asked.configs)]
    return msgspec.json.encode((asked.spec, asked.keep_orphans, files), order="deterministic")
