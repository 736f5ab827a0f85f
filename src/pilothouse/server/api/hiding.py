"""Takes out of an object what must not leave the server: contents of files, values of variables."""

import msgspec
from msgspec.structs import replace

from pilothouse.model.base import Object
from pilothouse.model.cluster import Authority, JoinToken
from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import App, Config, Secret, Service, Task
from pilothouse.model.release import FileVersion, Release
from pilothouse.model.spec import AppSpec, Hook, ServiceSpec, TaskSpec

SHOWN = "(hidden)"


def hidden(obj: Object) -> Object:
    """Return *obj* as the API may show it."""
    match obj:
        case Secret():
            shown: Object = replace(obj, sealed=b"")
        case Authority():
            shown = replace(obj, sealed_key=b"")
        case JoinToken():
            shown = replace(obj, secret_hash="")
        case Config():
            shown = replace(obj, content=b"")
        case FileVersion():
            shown = replace(obj, stored=b"")
        case App() | Release():
            shown = replace(obj, spec=_app(obj.spec))
        case Service():
            shown = replace(obj, spec=_service(obj.spec))
        case Task():
            shown = replace(obj, spec=_task(obj.spec))
        case _:
            shown = obj
    return shown


def hidden_container(spec: ContainerSpec) -> ContainerSpec:
    """Return *spec* with the names of its variables and none of their values."""
    return replace(spec, environment=dict.fromkeys(spec.environment, SHOWN))


def _app(spec: AppSpec) -> AppSpec:
    return replace(spec, services=tuple(_service(s) for s in spec.services))


def _service(spec: ServiceSpec) -> ServiceSpec:
    return replace(spec, task=_task(spec.task))


def _task(spec: TaskSpec) -> TaskSpec:
    hooks = {name: tuple(_hook(h) for h in getattr(spec, name)) for name in ("pre_start", "post_start", "pre_stop")}
    return msgspec.structs.replace(spec, container=hidden_container(spec.container), **hooks)


def _hook(hook: Hook) -> Hook:
    return replace(hook, environment=dict.fromkeys(hook.environment, SHOWN))
