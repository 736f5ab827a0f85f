"""What may be noticed or go wrong when a service is rolled out; each sentence says what would avoid it. Pure."""

from collections.abc import Callable, Iterator, Mapping

from pilothouse.control.orchestrators.endings import duration
from pilothouse.control.orchestrators.rollout import FailureAction
from pilothouse.model.counts import count, listed
from pilothouse.model.release_api import PlannedAction
from pilothouse.model.spec import ServiceSpec, Strategy
from pilothouse.model.volumes import local_volumes_of
from pilothouse.server.deploy.obstacles import in_each_others_way, obstacles
from pilothouse.server.deploy.pace import is_staged, rule_of
from pilothouse.server.deploy.prospect import Prospect
from pilothouse.server.deploy.room import Around, no_place, ports_of_others

_MADE_ANEW = frozenset({PlannedAction.CREATE, PlannedAction.REPLACE})


def risks(prospect: Prospect, here: Around, dependents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the risks of one service.

    Args:
        prospect: What becomes of it.
        here: What is on the nodes beside it.
        dependents: For each service, those that would name it in `depends_on`.
    """
    found = [sentence for look in _LOOKS for sentence in look(prospect, here)]
    if prospect.action is PlannedAction.REMOVE:
        found += [
            f"{name} still names {prospect.name} in `depends_on` (`required: false`) and starts without it from now "
            f"on; keep {prospect.name}, or take it out of `depends_on`"
            for name in dependents.get(prospect.name, ())
        ]
    return tuple(found)


def _gap(prospect: Prospect, here: Around) -> Iterator[str]:
    """Nobody answers between the stop of the old and the start of the new task."""
    spec, number = prospect.spec, len(prospect.wanted)
    staged = is_staged(prospect, here.base)
    if not _is_replaced(prospect) or staged or rule_of(prospect, here.base).parallelism < number:
        return
    reasons = obstacles(spec)
    if reasons:
        why = " and ".join(why for why, _ in reasons)
        cure = "; ".join(dict.fromkeys(cure for _, cure in reasons))
        which = "the old task is" if number == 1 else f"all {number} old tasks are"
        yield (
            f"a gap: {which} stopped before the new one is started (stop-first), and nobody answers in between, "
            f"because {why}; to avoid it {cure}"
        )


def _unchecked(prospect: Prospect, here: Around) -> Iterator[str]:
    """Nothing tells a broken version from one that works."""
    spec = prospect.spec
    if prospect.action not in _MADE_ANEW or spec.mode.job or _is_checked(spec) or not prospect.wanted:
        return
    if spec.task.container.ports or len(prospect.wanted) > 1:
        rule = rule_of(prospect, here.base)
        settle = max(rule.settle_seconds, rule.unchecked_seconds) if _is_replaced(prospect) else 0.0
        long = f"once it has run for {duration(settle)}" if settle else "as soon as it runs"
        yield (
            f"nothing checks {prospect.name} (unless its image brings a health check): a broken version counts as good "
            f"{long}; give it a `healthcheck` or `x-pilothouse.probes.ready`"
        )


def _no_way_back(prospect: Prospect, here: Around) -> Iterator[str]:
    if not _is_replaced(prospect) or here.base or prospect.spec.update.failure_action not in {"", "rollback"}:
        return
    yield (
        "there is no stable release to roll back to: if the new version fails the rollout stops half way; "
        "wait until the present release is stable (`pilothouse ps`), or keep the file it was made from"
    )


def _on_failure(prospect: Prospect, here: Around) -> Iterator[str]:
    if not _is_replaced(prospect):
        return
    action = rule_of(prospect, here.base).failure_action
    if action is FailureAction.CONTINUE:
        yield (
            "`failure_action: continue` is written: a broken version replaces every task; "
            "leave it out to have a failure rolled back"
        )
    elif action is FailureAction.PAUSE and here.base:
        yield (
            "`failure_action: pause` is written: after a failure old and new tasks stay side by side until a person "
            "decides; leave it out to have a failure rolled back"
        )


def _staged(prospect: Prospect, here: Around) -> Iterator[str]:
    """A canary or blue/green release that cannot show what it is for."""
    spec = prospect.spec
    if not _is_replaced(prospect) or spec.release.strategy is Strategy.ROLLING:
        return
    name = spec.release.strategy.value.replace("_", "/")
    if not here.base:
        yield (
            f"`strategy: {name}` compares with a stable release, and there is none: it is rolled out slot by slot; "
            "wait until the present release is stable"
        )
        return
    if reasons := in_each_others_way(spec):
        why = " and ".join(why for why, _ in reasons)
        cure = "; ".join(dict.fromkeys(cure for _, cure in reasons))
        yield (
            f"`strategy: {name}` runs new tasks beside the old ones, and they would be in each other's way, because "
            f"{why}; to avoid it write `strategy: rolling`, or {cure}"
        )
    if not any(port.ingress for port in spec.task.container.ports):
        yield (
            f"no port of it is published through the proxy, so there is no traffic to compare: `strategy: {name}` is "
            "judged only by tasks that fail; publish a TCP port without `mode: host`"
        )
    if spec.release.strategy is Strategy.CANARY and len(prospect.wanted) < 2:
        yield (
            "the canary compares one new task with one old one, so what is peculiar to a task looks like the version; "
            "run 2 replicas or more"
        )


def _moved_tag(prospect: Prospect, here: Around) -> Iterator[str]:
    del here
    if prospect.before is None or prospect.after is None:
        return
    was, becomes = prospect.before.image, prospect.after.image
    if was.ref == becomes.ref and was.id and becomes.id and was.id != becomes.id:
        yield (
            f"the reference {becomes.ref} has moved: it means another image ({_short(becomes.id)}) than when it was "
            f"deployed ({_short(was.id)}); name the image by its digest to decide yourself when it changes"
        )


def _none_left(prospect: Prospect, here: Around) -> Iterator[str]:
    del here
    if prospect.after is None or prospect.wanted or not (prospect.has or prospect.action is PlannedAction.CREATE):
        return
    if "global" in prospect.spec.mode.value:
        yield "no node meets its placement constraints, so it has no task; change them, or label a node"
    elif prospect.has:
        gone = count(prospect.has, "task")
        yield f"it has no task any more ({gone} stopped), so nobody answers; write `replicas: 1` or more to have it run"


def _data_on_one_node(prospect: Prospect, here: Around) -> Iterator[str]:
    """What a volume that is local means where there are several nodes."""
    spec = prospect.spec
    if len(here.nodes) < 2 or prospect.action not in _MADE_ANEW or "global" in spec.mode.value or not prospect.wanted:
        return
    app = prospect.after.app if prospect.after else ""
    volumes = [volume.spec for volume in here.volumes if volume.app == app and not volume.removing]
    local = local_volumes_of(spec.task.container, volumes)
    if not local:
        return
    which = f"the volume{'' if len(local) == 1 else 's'} {listed(local)}"
    cure = "use a volume that every node reaches (`driver_opts.type: nfs` and the like)"
    if len(prospect.wanted) > 1:
        yield f"all {count(len(prospect.wanted), 'task')} go to one node, as {which} has its data there; {cure}"
    yield f"if the node with {which} is lost it waits until that node is back; {cure}, or keep copies elsewhere"


def _is_replaced(prospect: Prospect) -> bool:
    """Whether tasks that are meant to run on get others in their place."""
    return prospect.action is PlannedAction.REPLACE and bool(prospect.outdated) and not prospect.spec.mode.job


def _is_checked(spec: ServiceSpec) -> bool:
    check = spec.task.container.healthcheck
    probes = spec.task.probes
    return bool(probes.startup or probes.ready or (check is not None and check.test not in {(), ("NONE",)}))


def _short(id: str) -> str:
    return id.removeprefix("sha256:")[:12]


_LOOKS: tuple[Callable[[Prospect, Around], Iterator[str]], ...] = (
    _gap,
    _none_left,
    no_place,
    ports_of_others,
    _unchecked,
    _no_way_back,
    _on_failure,
    _staged,
    _moved_tag,
    _data_on_one_node,
)
