"""Views to answer with."""

from pilothouse.model.api import AppView, ServiceView, TaskView
from pilothouse.model.objects import Health
from pilothouse.model.release import ReleaseKind, ReleaseState
from pilothouse.model.release_api import PlannedAction, PlannedService, PlanView, ReleaseView
from pilothouse.model.states import TaskState


def service(name="web", **fields):
    whole = {
        "app": "shop",
        "mode": "replicated",
        "image": f"{name}:1",
        "wanted": 1,
        "running": 1,
        "healthy": 1,
        "completed": 0,
        "outdated": 0,
        "converged": True,
        "failed": False,
    }
    return ServiceView(name=name, **{**whole, **fields})


def app(*services, **fields):
    """An app whose newest release is its first stable one, or the first that is being rolled out."""
    converged = all(each.converged for each in services)
    whole = {
        "name": "shop",
        "revision": 1,
        "deployed_at": 1.0,
        "deployed_by": "uid:0(root)",
        "removing": False,
        "converged": converged,
        "failed": any(each.failed for each in services),
        "sentence": "",
        **fields,
    }
    state = ReleaseState.STABLE if converged else ReleaseState.ROLLING
    return AppView(services=services, **{"release": release(whole["revision"], state=state), **whole})


def release(number=1, **fields):
    whole = {"app": "shop", "kind": ReleaseKind.DEPLOY, "state": ReleaseState.ROLLING, "created_by": "alice"}
    return ReleaseView(number=number, **{**whole, **fields})


def planned(name="web", action=PlannedAction.CREATE, **fields):
    return PlannedService(name=name, action=action, **fields)


def plan(*services, **fields):
    whole = {"app": "shop", "base": 1, "release": 2, "digest": "d1"}
    return PlanView(services=services or (planned("web"), planned("db", PlannedAction.KEEP)), **{**whole, **fields})


def task(name="web.1", **fields):
    service_name, _, slot = name.rpartition(".")
    whole = {
        "id": "t00000000001",
        "app": "shop",
        "service": service_name,
        "slot": int(slot),
        "state": TaskState.RUNNING,
        "desired_state": TaskState.RUNNING,
        "health": Health.HEALTHY,
        "ready": True,
        "since": 1.0,
        "created_at": 1.0,
        "image": "web:1",
    }
    return TaskView(name=name, **{**whole, **fields})
