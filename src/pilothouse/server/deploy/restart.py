"""Has tasks replaced as they are, as a release: so that a restart is watched, judged and undone like any change."""

from pilothouse.errors import ConflictError, NotFoundError
from pilothouse.governance.audit.record import Entry, record, short
from pilothouse.model.api import DeployResult
from pilothouse.model.objects import App
from pilothouse.model.release import ReleaseKind
from pilothouse.model.release_api import RestartRequest
from pilothouse.model.states import Writer
from pilothouse.server.api.context import Context
from pilothouse.server.deploy.pipeline import Caller, load
from pilothouse.server.deploy.plan import Asked, Stored, plan
from pilothouse.store.interface import WriteTx


def restarted(stored: Stored, app: App, names: tuple[str, ...], *, principal: str, now: float, message: str) -> Asked:
    """Return the change that has the tasks of the named services replaced; () is every service.

    Raises:
        NotFoundError: There is no such service.
        ConflictError: It is being removed.
    """
    for name in names:
        if name not in stored.services:
            raise NotFoundError(f"there is no service {name[:80]!r} in {app.id!r}; 'pilothouse ps' lists them")
        if stored.services[name].removing:
            raise ConflictError(f"the service {app.id}/{name} is being removed; deploy the app to have it again")
    number = app.revision + 1
    staying = {name: service for name, service in stored.services.items() if not service.removing}
    return Asked(
        spec=app.spec,
        images={service.name: stored.services[service.name].image for service in app.spec.services},
        secrets={},
        configs={},
        keep_orphans=True,
        principal=principal,
        now=now,
        # Before there were releases this was a count, which may be ahead; it must change in any case.
        restarts={name: max(number, staying[name].restarts_requested + 1) for name in names or staying},
        kind=ReleaseKind.RESTART,
        message=message,
    )


async def restart(
    context: Context, caller: Caller, app: str, request: RestartRequest, action: str = "app.restart"
) -> DeployResult:
    """Ask for tasks to be replaced, at their services' own pace; a parked slot is tried again.

    Raises:
        NotFoundError: There is no such app or service.
        ConflictError: It is being removed.
    """
    now = context.clock.now()

    def write(tx: WriteTx) -> DeployResult:
        stored = load(tx, app)
        if stored.app is None:
            raise NotFoundError(f"there is no app called {app[:80]!r}; 'pilothouse ps' lists them")
        if stored.app.removing:
            raise ConflictError(f"{app} is being taken down; deploy it to have it again")
        principal = str(caller.principal)
        asked = restarted(
            stored, stored.app, request.services, principal=principal, now=now, message=short(request.message)
        )
        made = plan(stored, asked)
        for obj in made.writes:
            tx.put(obj)
        if made.writes:
            names = sorted(asked.restarts)
            single = f"service/{app}/{names[0]}" if action == "service.restart" else f"app/{app}"
            entry = Entry(
                at=now,
                principal=principal,
                action=action,
                object=single,
                summary=f"release {made.result.revision}; all tasks will be replaced of: {', '.join(names)}",
                request_id=caller.request_id,
            )
            record(tx, entry)
        return made.result

    return await context.store.update(Writer.API, write)
