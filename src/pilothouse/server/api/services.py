"""Services of an app: see one, have its tasks replaced as they are."""

from msgspec.structs import replace

from pilothouse.errors import ConflictError, NotFoundError
from pilothouse.governance.audit.record import Entry, record
from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import ServiceView
from pilothouse.model.objects import Service
from pilothouse.model.states import Writer
from pilothouse.server import views
from pilothouse.server.api.route import Call, NoQuery, Route
from pilothouse.store.interface import WriteTx


async def read_service(call: Call[NoQuery, None]) -> ServiceView:
    """Return one service."""
    app, name = call.path["app"], call.path["service"]
    found = await call.context.store.view(lambda tx: views.service_view(tx, app, name))
    if found is None:
        raise _missing(app, name)
    return found


async def restart(call: Call[NoQuery, None]) -> ServiceView:
    """Ask for a service's tasks to be replaced, at its own pace; a parked slot is tried again.

    Raises:
        NotFoundError: There is no such service.
        ConflictError: It is being removed.
    """
    app, name, now = call.path["app"], call.path["service"], call.context.clock.now()

    def write(tx: WriteTx) -> None:
        service = tx.get(Service, f"{app}/{name}")
        if service is None:
            raise _missing(app, name)
        if service.removing:
            raise ConflictError(f"the service {app}/{name} is being removed; deploy the app to have it again")
        tx.put(replace(service, restarts_requested=service.restarts_requested + 1))
        entry = Entry(
            at=now,
            principal=str(call.principal),
            action="service.restart",
            object=f"service/{service.id}",
            summary="all its tasks will be replaced",
            request_id=call.request_id,
        )
        record(tx, entry)

    await call.context.store.update(Writer.API, write)
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
        handler=restart,
        answer=ServiceView,
        errors=(NotFoundError, ConflictError),
    ),
)
