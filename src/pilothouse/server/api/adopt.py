"""Take over what `docker compose` runs."""

from pilothouse.errors import (
    ImageMissingError,
    InvalidManifestError,
    InvalidRequestError,
    NodeUnavailableError,
    PolicyDeniedError,
)
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import AdoptRequest, AdoptResult
from pilothouse.server.api.apps import MAX_DEPLOY
from pilothouse.server.api.route import Call, NoQuery, Route
from pilothouse.server.deploy.adoption import adopt
from pilothouse.server.deploy.pipeline import Caller


async def post_adopt(call: Call[NoQuery, AdoptRequest]) -> AdoptResult:
    """Adopt the containers of the app's Compose project."""
    name, spec = call.path["app"], call.body.deploy.spec
    if spec.name != name:
        raise InvalidRequestError(f"the path says {name[:80]!r} and the spec {spec.name[:80]!r}; use one name")
    return await adopt(call.context, Caller(call.principal, call.request_id), call.body)


ROUTES = (
    Route(
        method="POST",
        path="/v1/adopt/{app}",
        name="apps.adopt",
        summary="Make the containers of a Compose project a managed app, without a restart of those that fit",
        permission=Permission.APP_WRITE,
        handler=post_adopt,
        body=AdoptRequest,
        answer=AdoptResult,
        max_body=MAX_DEPLOY,
        errors=(InvalidManifestError, PolicyDeniedError, ImageMissingError, NodeUnavailableError),
    ),
)
