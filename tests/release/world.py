"""Apps as the releaser sees them, a store that holds them, and an API door that makes the release before anew."""

from msgspec.structs import replace

from pilothouse.model.container import ContainerSpec, Port
from pilothouse.model.objects import App, ResolvedImage, Service
from pilothouse.model.release import Release, ReleaseKind, ReleaseState, Traffic, release_id
from pilothouse.model.rollout import Evidence, Golden, Rollout, RolloutState
from pilothouse.model.spec import AppSpec, ReleasePolicy, ServiceSpec, TaskSpec, UpdatePolicy
from pilothouse.model.states import Writer
from pilothouse.release.decide import Decision, decide
from pilothouse.release.scene import Scene

IMAGE = ResolvedImage(ref="web:1", id="sha256:1")
PORT = Port(target=80, published=(8080, 8080))


def spec(name="web", action="", replicas=4, policy=None, ports=(PORT,)):
    return ServiceSpec(
        name=name,
        replicas=replicas,
        task=TaskSpec(container=ContainerSpec(image="web:1", ports=ports)),
        update=UpdatePolicy(failure_action=action),
        release=policy or ReleasePolicy(),
    )


def service(spec, rollout=None, **fields):
    return Service(
        id=f"shop/{spec.name}", app="shop", name=spec.name, spec=spec, image=IMAGE,
        rollout=rollout or Rollout(), **fields
    )  # fmt: skip


def release(number, *specs, state=ReleaseState.ROLLING, **fields):
    return Release(
        id=release_id("shop", number), app="shop", number=number, spec=AppSpec(name="shop", services=specs),
        state=state, created_at=fields.pop("created_at", 100.0), **fields
    )  # fmt: skip


def app(revision, **fields):
    return App(id="shop", spec=AppSpec(name="shop"), revision=revision, **fields)


def at(number, state=RolloutState.DONE, since=150.0, sentence="", evidence=None, held=0):
    return Rollout(release=number, state=state, since=since, sentence=sentence, evidence=evidence, held=held)


def failed(number, since=150.0, sentence="the new web.1 keeps failing"):
    shown = Evidence(service="web", task_id="t1", task="web.1", cause=sentence, log_tail=("boom",))
    return at(number, RolloutState.FAILED, since=since, sentence=sentence, evidence=shown)


def traffic(service="web", old=None, new=None, measured_from=100.0, measured_at=200.0):
    return Traffic(
        id=f"shop/{service}/node1", app="shop", service=service, node_id="node1", fingerprint="f",
        measured_from=measured_from, measured_at=measured_at, old=old or Golden(), new=new or Golden(),
    )  # fmt: skip


def after(seen, decision: Decision):
    """The scene once *decision* was written."""
    changed = {each.id: each for each in decision.changes}
    return replace(seen, releases=tuple(changed.get(each.id, each) for each in seen.releases))


def settled(seen, now=200.0):
    """The newest release after a look, having checked that a second look changes nothing."""
    seen = after(seen, decide(seen, now))
    assert decide(seen, now).changes == ()
    return seen.releases[-1]


async def fill(store, seen: Scene):
    """Write a scene into a store, each part by its owner."""

    def api(tx):
        tx.put(seen.app)
        for each in seen.services:
            tx.put(replace(each, rollout=Rollout()))
        for each in seen.releases:
            tx.put(each)

    def orchestrator(tx):
        for each in seen.services:
            tx.put(replace(tx.get(Service, each.id), rollout=each.rollout))

    await store.update(Writer.API, api)
    await store.update(Writer.ORCHESTRATOR, orchestrator)


def door(store, clock):
    """The API's door: a release that repeats another, unless the app has moved on."""

    async def restore(app, failed, to, reason):
        def write(tx):
            stored = tx.get(App, app)
            if stored is None or stored.revision != failed:
                return None
            copied = tx.get(Release, release_id(app, to))
            made = release(
                failed + 1, *copied.spec.services, kind=ReleaseKind.ROLLBACK, copies=to, undoes=failed,
                base=to, message=reason, created_at=clock.now(),
            )  # fmt: skip
            tx.put(made)
            tx.put(replace(stored, revision=made.number))
            return made.number

        return await store.update(Writer.API, write)

    return restore
