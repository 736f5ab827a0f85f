"""Services of an app: see one, have its tasks replaced as they are."""

from pilothouse.errors import ConflictError, NotFoundError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import ServiceView
from pilothouse.model.release_api import RestartRequest
from pilothouse.server import views
from pilothouse.server.api.route import Call, NoQuery, Route
from pilothouse.server.deploy.pipeline import Caller
from pilothouse.server.deploy.restart import restart


async def read_service(call: Call[NoQuery, None]) -> ServiceView:
    """Return one service."""
    app, name = call.path["app"], call.path["service"]
    found = await call.context.store.view(lambda tx: views.service_view(tx, app, name))
    if found is None:
        raise _missing(app, name)
    return found


async def post_restart(call: Call[NoQuery, None]) -> ServiceView:
    """Ask for a service's tasks to be replaced, at its own pace, as a release; a parked slot is tried again.

    Raises:
        NotFoundError: There is no such service.
        ConflictError: It is being removed.
    """
    caller = Caller(call.principal, call.request_id)
    asked = RestartRequest(services=(call.path["service"],))
    await restart(call.context, caller, call.path["app"], asked, "service.restart")
    return await read_service(call)


def _missing(app: str, name: str) -> NotFoundError:
    return NotFoundError(f"there is no service {name[:80]!r} in {app[:80]!r}; 'pilothouse ps' lists them")


ROUTES = (
    Route(
        method="GET",
        path="/v1/apps/{app}/services/{service}",
        name="services.read",
        summary="One service with its tasks counted",
        permission=Permission.APP_READ,
        handler=read_service,
        answer=ServiceView,
        errors=(NotFoundError,),
    ),
    Route(
        method="POST",
        path="/v1/apps/{app}/services/{service}/restart",
        name="services.restart",
        summary="Have a service's tasks replaced as they are",
        permission=Permission.APP_WRITE,
        handler=post_restart,
        answer=ServiceView,
        errors=(NotFoundError, ConflictError),
    ),
)
