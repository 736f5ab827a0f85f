"""Takes out of an object what must not leave the server: contents of files, values of variables."""

import msgspec
from msgspec.structs import replace

from pilothouse.model.base import Object
from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import App, Config, Secret, Service, Task
from pilothouse.model.spec import Hook, ServiceSpec, TaskSpec

SHOWN = "(hidden)"


def hidden(obj: Object) -> Object:
    """Return *obj* as the API may show it."""
    if isinstance(obj, Secret):
        return replace(obj, sealed=b"")
    if isinstance(obj, Config):
        return replace(obj, content=b"")
    if isinstance(obj, App):
        return replace(obj, spec=replace(obj.spec, services=tuple(_service(s) for s in obj.spec.services)))
    if isinstance(obj, Service):
        return replace(obj, spec=_service(obj.spec))
    if isinstance(obj, Task):
        return replace(obj, spec=_task(obj.spec))
    return obj


def hidden_container(spec: ContainerSpec) -> ContainerSpec:
    """Return *spec* with the names of its variables and none of their values."""
    return replace(spec, environment=dict.fromkeys(spec.environment, SHOWN))


def _service(spec: ServiceSpec) -> ServiceSpec:
    return replace(spec, task=_task(spec.task))


def _task(spec: TaskSpec) -> TaskSpec:
    hooks = {name: tuple(_hook(h) for h in getattr(spec, name)) for name in ("pre_start", "post_start", "pre_stop")}
    return msgspec.structs.replace(spec, container=hidden_container(spec.container), **hooks)


def _hook(hook: Hook) -> Hook:
    return replace(hook, environment=dict.fromkeys(hook.environment, SHOWN))
