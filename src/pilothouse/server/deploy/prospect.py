"""What becomes of each service of an app: its state now beside its state after a deployment. Pure.

Both are read with the orchestrator's own eyes (`Scenes`): the same fingerprints and the same wanted slots, so that a
plan and what is done cannot disagree.
"""

import heapq
from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from pilothouse.control.orchestrators.dependencies import unmet
from pilothouse.control.orchestrators.scene import Key, Scene, Slot, key_of, slots
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.control.orchestrators.steps import next_step
from pilothouse.model.diff import diff, shown
from pilothouse.model.objects import FieldChange, Service, Task
from pilothouse.model.release_api import PlannedAction
from pilothouse.model.spec import ServiceSpec
from pilothouse.model.states import TaskState
from pilothouse.model.steps import record_of, step_indexes
from pilothouse.store.interface import ReadTx

_FIRST = {
    PlannedAction.CREATE: ", which is made first",
    PlannedAction.REPLACE: ", which is replaced first",
    PlannedAction.SCALE: ", whose number of tasks changes first",
}


class Prospect(msgspec.Struct, frozen=True, kw_only=True):
    """One service, now and after the deployment.

    Attributes:
        before, after: As it is stored and as it would be; None where the app does not have it.
        changes: Field by field, what differs.
        has: How many of its slots have a task, or had one that ended well.
        wanted: The slots it would have.
        missing: Those of them that get a task although none lives there.
        stops: Its live tasks that would be stopped.
        scene: What the orchestrator would see of it right after; None if it goes.
    """

    name: str
    action: PlannedAction
    before: Service | None
    after: Service | None
    changes: tuple[FieldChange, ...] = ()
    has: int = 0
    wanted: tuple[Key, ...] = ()
    missing: tuple[Key, ...] = ()
    stops: tuple[Task, ...] = ()
    scene: Scene | None = None

    @property
    def spec(self) -> ServiceSpec:
        """The service as it would be; of one that goes, as it is."""
        found = self.after or self.before
        assert found is not None, "a prospect is of a service that is there before or after"
        return found.spec

    @property
    def outdated(self) -> int:
        """How many of the slots it would have get a new task in the place of one that lives."""
        return len({key_of(task) for task in self.stops} & set(self.wanted))


def prospects(now: ReadTx, then: ReadTx, app: str) -> tuple[Prospect, ...]:
    """Return what becomes of each service, in the order in which they are rolled out; those that go come last.

    Args:
        now: What is stored.
        then: The same right after the deployment.
        app: The app's name.
    """
    before, after = Scenes(now), Scenes(then)
    old = {s.name: s for s in before.services(app) if not s.removing}
    new = {s.name: s for s in after.services(app) if not s.removing}
    going = {name: service.spec for name, service in old.items() if name not in new}
    order = [*rollout_order({n: s.spec for n, s in new.items()}), *reversed(list(rollout_order(going)))]
    return tuple(_prospect(before, after, old.get(name), new.get(name)) for name in order)


def rollout_order(specs: Mapping[str, ServiceSpec]) -> Iterator[str]:
    """Yield the names, each after those it depends on; where that leaves a choice, in alphabetical order."""
    needs = {name: {edge.service for edge in spec.depends_on} & specs.keys() for name, spec in specs.items()}
    free = sorted(name for name, those in needs.items() if not those)
    while free:
        done = heapq.heappop(free)
        yield done
        for name, those in needs.items():
            if done in those:
                those.discard(done)
                if not those:
                    heapq.heappush(free, name)


def waits_for(prospect: Prospect, actions: Mapping[str, PlannedAction]) -> tuple[str, ...]:
    """Return what must be before the first new task of a service starts; *actions* are of all services by name."""
    scene = prospect.scene
    if scene is None or not (prospect.action is PlannedAction.REPLACE or prospect.missing):
        return ()
    found = []
    for edge in prospect.spec.depends_on:
        one = replace(scene, service=replace(scene.service, spec=replace(prospect.spec, depends_on=(edge,))))
        if what := unmet(one):
            found.append(what + _FIRST.get(actions.get(edge.service, PlannedAction.KEEP), ""))
    return tuple(found)


def once_steps(prospect: Prospect) -> tuple[str, ...]:
    """Return the once-per-release steps that would be run before the new tasks, each as its command line."""
    scene = prospect.scene
    done = prospect.action in {PlannedAction.KEEP, PlannedAction.REMOVE}
    if scene is None or done or not prospect.wanted or next_step(scene) is None:
        return ()
    found = []
    for index in step_indexes(prospect.spec.task):
        record = record_of(scene.service.steps, scene.fingerprint, index)
        if record is None or not record.done:
            hook = prospect.spec.task.pre_start[index]
            line = shown(hook.command) if hook.command else "the image's own command"
            found.append(f"{line} (in {hook.image})" if hook.image else line)
    return tuple(found)


def _prospect(before: Scenes, after: Scenes, old: Service | None, new: Service | None) -> Prospect:
    service = new or old
    assert service is not None
    tasks = tuple(task for task in before.tasks(service) if task.step < 0)
    had = before.wanted(old) if old else ()
    wanted = after.wanted(new) if new else ()
    places = frozenset(wanted)
    fingerprint = after.fingerprint(new) if new else ""
    by_key = slots(tasks, fingerprint)
    return Prospect(
        name=service.name,
        action=_action(before, after, old, new),
        before=old,
        after=new,
        changes=tuple(_changes(before, after, old, new)) if old and new else (),
        has=sum(_has_task(slot) for key, slot in slots(tasks, before.fingerprint(old)).items() if key in had)
        if old
        else 0,
        wanted=wanted,
        missing=tuple(key for key in wanted if not _has_task(by_key.get(key))),
        stops=tuple(
            task
            for task in tasks
            if task.state <= TaskState.RUNNING
            and task.desired_state is not TaskState.SHUTDOWN
            and (task.fingerprint != fingerprint or key_of(task) not in places)
        ),
        scene=after.scene(new.id) if new else None,
    )


def _action(before: Scenes, after: Scenes, old: Service | None, new: Service | None) -> PlannedAction:
    if new is None:
        return PlannedAction.REMOVE
    if old is None:
        return PlannedAction.CREATE
    if before.fingerprint(old) != after.fingerprint(new):
        return PlannedAction.REPLACE
    if before.wanted(old) != after.wanted(new):
        return PlannedAction.SCALE
    return PlannedAction.KEEP if (old.spec, old.image) == (new.spec, new.image) else PlannedAction.ADJUST


def _has_task(slot: Slot | None) -> bool:
    """Whether a slot has a task that is meant to live, or one of the present spec that ended well."""
    return slot is not None and (slot.current is not None or bool(slot.outdated) or slot.completed)


def _changes(before: Scenes, after: Scenes, old: Service, new: Service) -> Iterator[FieldChange]:
    yield from diff(old.spec, new.spec)
    was, becomes = (s.image.digest or s.image.id or f"{s.image.ref} (not on the node)" for s in (old, new))
    if was != becomes:
        yield FieldChange(path="image", before=was, after=becomes)
    if old.restarts_requested != new.restarts_requested:
        yield FieldChange(path="restarts_requested", after="its tasks are replaced as they are")
    for kind, had, gets in zip(
        ("secrets", "configs"), before.file_versions(old), after.file_versions(new), strict=True
    ):
        for key in sorted(had.keys() & gets.keys()):
            if had[key] != gets[key]:
                yield FieldChange(path=f"{kind}.{key}", after="content changed")
    for edge in sorted(new.spec.depends_on, key=lambda edge: edge.service):
        was_, is_ = before.service(f"{old.app}/{edge.service}"), after.service(f"{new.app}/{edge.service}")
        if edge.restart and was_ and is_ and before.fingerprint(was_) != after.fingerprint(is_):
            said = f"{edge.service} is replaced, and `restart: true` has this service replaced with it"
            yield FieldChange(path=f"depends_on.{edge.service}", after=said)
