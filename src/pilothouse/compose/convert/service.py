"""One service of the loaded model → a ServiceSpec: how many tasks, where, when they start, end and change."""

import re
from collections.abc import Iterator
from typing import TypeVar

from pilothouse.compose import x_pilothouse, x_placement, x_release
from pilothouse.compose.convert.container import container
from pilothouse.compose.convert.limits import reservations
from pilothouse.compose.reader import Reader
from pilothouse.model.placement import Placement, Spread
from pilothouse.model.spec import (
    Condition,
    Dependency,
    Hook,
    Mode,
    RestartCondition,
    RestartPolicy,
    ServiceSpec,
    TaskSpec,
    UpdateOrder,
    UpdatePolicy,
)

T = TypeVar("T")
_MODES = {mode.value: mode for mode in Mode}
_CONDITIONS = {condition.value: condition for condition in Condition}
_RESTARTS = {condition.value: condition for condition in RestartCondition}
_ORDERS = {order.value: order for order in UpdateOrder}
_SHORT_CONSTRAINT = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=\s*([^\s=](?:.*\S)?)\s*\Z")
_SHARED = ("network_mode", "ipc", "pid", "uts", "cgroup")


def convert_service(app: str, name: str, service: Reader, run_to_completion: bool) -> ServiceSpec:
    """Return the spec of service *name*.

    Args:
        app: The app's name.
        name: The service's key.
        service: Its mapping in the loaded model.
        run_to_completion: Another service waits for this one to complete.
    """
    deploy = service.child("deploy")
    mode = _one_of(deploy, "mode", _MODES, Mode.REPLICATED)
    return ServiceSpec(
        name=name,
        task=TaskSpec(
            container=container(service, app, name),
            reservations=reservations(service),
            placement=x_placement.placement(service, _placement(deploy.child("placement"))),
            probes=x_pilothouse.probes(service),
            pre_start=tuple(_hook(hook, True) for hook in service.children("pre_start")),
            post_start=tuple(_hook(hook, False) for hook in service.children("post_start")),
            pre_stop=tuple(_hook(hook, False) for hook in service.children("pre_stop")),
        ),
        mode=mode,
        replicas=_replicas(service, deploy, mode),
        depends_on=_depends_on(service),
        restart=_restart(service, deploy, mode, run_to_completion),
        update=_update(deploy.child("update_config"), ("", "continue", "pause", "rollback")),
        rollback=_update(deploy.child("rollback_config"), ("", "continue", "pause")),
        release=x_release.release(service),
        labels=deploy.pairs("labels"),
        endpoint_mode=deploy.text("endpoint_mode", "vip"),
        cut_off=x_placement.cut_off(service),
    )


def completed_dependencies(service: Reader) -> set[str]:
    """Return the services *service* waits for until they have completed."""
    edges = service.entries("depends_on")
    return {name for name, edge in edges if edge.text("condition") == Condition.COMPLETED.value}


def _replicas(service: Reader, deploy: Reader, mode: Mode) -> int:
    deployed, scaled = deploy.integer("replicas"), service.integer("scale")
    if deployed is not None and scaled is not None and deployed != scaled:
        service.error("scale", f"is {scaled} but deploy.replicas is {deployed}; keep one of the two")
    wanted = scaled if deployed is None else deployed
    if mode in {Mode.GLOBAL, Mode.GLOBAL_JOB}:
        if wanted is not None:
            service.warn("deploy.replicas", f"is ignored: mode {mode.value} has one task on each node")
        return 1
    return 1 if wanted is None else wanted


def _placement(placement: Reader) -> Placement:
    return Placement(
        constraints=tuple(_constraint(text) for text in placement.texts("constraints")),
        spread=tuple(Spread(level=preference.text("spread")) for preference in placement.children("preferences")),
        max_replicas_per_node=placement.integer("max_replicas_per_node") or 0,
    )


def _constraint(text: str) -> str:
    """Return *text* with the short form of the Compose specification, `disk=ssd`, written out."""
    short = _SHORT_CONSTRAINT.match(text)
    return f"node.labels.{short[1]}=={short[2]}" if short else text


def _hook(hook: Reader, before: bool) -> Hook:
    command = hook.texts("command")
    image, per_replica = (hook.text("image"), hook.flag("per_replica")) if before else ("", False)
    if not command and not image:
        hook.error("command", 'is needed; write the program and its arguments, such as ["./migrate", "up"]')
    return Hook(
        command=command,
        user=hook.text("user"),
        privileged=hook.flag("privileged"),
        working_dir=hook.text("working_dir"),
        environment=hook.pairs("environment"),
        image=image,
        per_replica=per_replica,
    )


def _depends_on(service: Reader) -> tuple[Dependency, ...]:
    """Return the written edges and those other keys imply, sorted by name; a written edge wins."""
    found = dict(_implied(service))
    for name, edge in service.entries("depends_on"):
        found[name] = Dependency(
            service=name,
            condition=_one_of(edge, "condition", _CONDITIONS, Condition.STARTED),
            restart=edge.flag("restart"),
            required=edge.flag("required", True),
        )
    return tuple(found[name] for name in sorted(found))


def _implied(service: Reader) -> Iterator[tuple[str, Dependency]]:
    """Yield what `links`, `volumes_from` and shared namespaces imply, as the Compose specification says."""
    for source in service.texts("volumes_from"):
        if not source.startswith("container:"):
            name = source.partition(":")[0]
            yield name, Dependency(service=name)
    for link in service.texts("links"):
        name = link.partition(":")[0]
        yield name, Dependency(service=name, restart=True)
    for key in _SHARED:
        kind, _, name = service.text(key).partition(":")
        if kind == "service":
            yield name, Dependency(service=name, restart=True)


def _restart(service: Reader, deploy: Reader, mode: Mode, run_to_completion: bool) -> RestartPolicy:
    """Return the restart policy: `deploy.restart_policy`, else `restart`, else what the service is for."""
    meant_to_end = mode.job or run_to_completion
    default = RestartCondition.ON_FAILURE if meant_to_end else RestartCondition.ANY
    short = _short_restart(service, default)
    if not deploy.has("restart_policy"):
        policy = short
    else:
        written = deploy.child("restart_policy")
        policy = RestartPolicy(
            condition=_one_of(written, "condition", _RESTARTS, default),
            delay_seconds=written.seconds("delay"),
            max_attempts=written.integer("max_attempts"),
            window_seconds=written.seconds("window"),
        )
    if mode.job and policy.condition is RestartCondition.ANY:
        service.warn("restart", "of a job means on-failure: a task of a job that exits with 0 is done")
        return RestartPolicy(
            condition=RestartCondition.ON_FAILURE,
            delay_seconds=policy.delay_seconds,
            max_attempts=policy.max_attempts,
            window_seconds=policy.window_seconds,
        )
    return policy


def _short_restart(service: Reader, default: RestartCondition) -> RestartPolicy:
    written = service.text("restart")
    condition, _, attempts = written.partition(":")
    known = {
        "": default,
        "no": RestartCondition.NONE,
        "always": RestartCondition.ANY,
        "unless-stopped": RestartCondition.ANY,
        "on-failure": RestartCondition.ON_FAILURE,
    }
    counted = attempts == "" or (condition == "on-failure" and attempts.isascii() and attempts.isdigit())
    if condition not in known or not counted or len(attempts) > 9:
        service.error("restart", f'{written[:40]!r} is not known; write "no", always, unless-stopped or on-failure:3')
        return RestartPolicy(condition=default)
    # The engine reads on-failure:0 as no limit.
    return RestartPolicy(condition=known[condition], max_attempts=int(attempts or 0) or None)


def _update(config: Reader, actions: tuple[str, ...]) -> UpdatePolicy:
    action = config.text("failure_action")
    if action not in actions:
        config.error("failure_action", f"{action[:40]!r} is not known; write {' or '.join(actions[1:])}")
    order = config.text("order")
    return UpdatePolicy(
        parallelism=config.integer("parallelism"),
        delay_seconds=config.seconds("delay"),
        order=_one_of(config, "order", _ORDERS, UpdateOrder.STOP_FIRST) if order else None,
        failure_action=action,
        monitor_seconds=config.seconds("monitor"),
        max_failure_ratio=config.number("max_failure_ratio"),
    )


def _one_of(reader: Reader, key: str, known: dict[str, T], default: T) -> T:
    written = reader.text(key)
    if not written:
        return default
    if written not in known:
        reader.error(key, f"{written[:40]!r} is not known; write {', '.join(known)}")
    return known.get(written, default)
