"""Whatever happened since, a kept release can be restored exactly: the same fingerprints, every content it needs."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.orchestrators import retention
from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.errors import ConflictError, NotFoundError
from pilothouse.model.container import FileGrant
from pilothouse.model.objects import App, ResolvedImage, Task
from pilothouse.model.release import Release, ReleaseState
from pilothouse.model.spec import AppSpec, Dependency, FileSpec
from pilothouse.model.states import Writer
from pilothouse.server.deploy.overlay import Overlay
from pilothouse.server.deploy.pipeline import load
from pilothouse.server.deploy.plan import Asked, Content, plan
from pilothouse.server.deploy.restart import restarted
from pilothouse.server.deploy.rollback import restored
from tests.control.world import World
from tests.examples import examples
from tests.server.harness import service

NAMES = ("a", "b", "c")
BYTES = st.sampled_from([b"1", b"2", b"3"])


@st.composite
def deployments(draw):
    secrets, configs = (draw(st.dictionaries(st.sampled_from(["x", "y"]), BYTES)) for _ in range(2))
    made = []
    for name in sorted(draw(st.sets(st.sampled_from(NAMES), min_size=1))):
        grants = {
            "secrets": tuple(FileGrant(source=k, target=f"/{k}") for k in sorted(secrets) if draw(st.booleans())),
            "configs": tuple(FileGrant(source=k, target=f"/{k}") for k in sorted(configs) if draw(st.booleans())),
        }
        needs = tuple(Dependency(service=other.name, restart=True) for other in made if draw(st.booleans()))
        made.append(service(name, draw(st.sampled_from(["i:1", "i:2"])), depends_on=needs, **grants))
    spec = AppSpec(
        name="shop",
        services=tuple(made),
        secrets=tuple(FileSpec(key=k, name=k) for k in secrets),
        configs=tuple(FileSpec(key=k, name=k) for k in configs),
    )
    return Asked(
        spec=spec,
        images={s.name: ResolvedImage(ref=s.task.container.image, id=draw(st.sampled_from(["p", "q"]))) for s in made},
        secrets={k: Content(k + c.hex(), b"sealed" + c) for k, c in secrets.items()},
        configs={k: Content(k + c.hex(), c) for k, c in configs.items()},
        keep_orphans=draw(st.booleans()),
        principal="uid:0",
        now=1.0,
    )


STEPS = st.one_of(
    st.tuples(st.just("deploy"), deployments()),
    st.tuples(st.just("restart"), st.sampled_from(NAMES)),
    st.tuples(st.just("roll back"), st.integers(0, 5)),
    st.tuples(st.just("undo"), st.integers(0, 5)),
    st.tuples(st.just("end"), st.sampled_from([ReleaseState.STABLE, ReleaseState.FAILED, ReleaseState.SUPERSEDED])),
    st.tuples(st.just("work"), st.booleans()),
    st.tuples(st.just("take down"), st.booleans()),
)


def asked_of(world, what, how):
    """Return the change a step asks for, or None if it asks for none."""
    stored = load(world, "shop")
    if what == "deploy":
        return how
    if stored.app is None or stored.app.removing:
        return None
    if what == "restart":
        return restarted(stored, stored.app, (how,), principal="", now=1.0, message="")
    if what in {"roll back", "undo"} and stored.releases:
        to = stored.releases[how % len(stored.releases)]
        return restored(stored, to, principal="", now=1.0, undoes=stored.app.revision if what == "undo" else 0)
    return None


def prints(tx, names):
    scenes = Scenes(tx)
    return {name: scenes.fingerprint(scenes.service(f"shop/{name}")) for name in names}


def write(world, made):
    world.writer = Writer.API
    for obj in made.writes:
        world.put(obj)


def end(world, state):
    app = world.get(App, "shop")
    newest = world.get(Release, f"shop/{app.revision:06d}") if app else None
    if newest is not None:
        world.writer = Writer.RELEASER
        world.put(replace(newest, state=state))


def check_every_kept_release(world, known):
    stored = load(world, "shop")
    if stored.app is None or stored.app.removing:
        return
    for release in stored.releases:
        made = plan(stored, restored(stored, release, principal="", now=2.0, undoes=1))
        names = [s.name for s in release.spec.services]
        assert prints(Overlay(world, made.writes), names) == known[release.number]
        assert made.result.revision == stored.app.revision + 1


@pytest.fixture(autouse=True, scope="module")
def few_are_kept():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "KEPT_RELEASES", 4)
        yield


@examples(60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(STEPS, max_size=14))
def test_every_kept_release_is_restored_exactly_after_any_history(history):
    world, known, last = World(), {}, 0
    for what, how in history:
        if what == "end":
            end(world, how)
        elif what == "work":
            world.rest()
            if how:
                world.reap()
        elif what == "take down" and how and world.get(App, "shop") is not None:
            world.down()
        elif (asked := tried(world, what, how)) is not None:
            made = plan(load(world, "shop"), asked)
            write(world, made)
            if not made.writes:
                continue
            fresh = world.get(App, "shop").revision
            assert fresh == (last + 1 if last else 1), "numbers grow by one"
            last = fresh
            known[fresh] = prints(world, [s.name for s in asked.spec.services])
            assert world.get(Release, f"shop/{fresh:06d}").number == fresh
        if world.get(App, "shop") is None:
            known, last = {}, 0
        check_every_kept_release(world, known)


def tried(world, what, how):
    try:
        return asked_of(world, what, how)
    except (NotFoundError, ConflictError):
        assert what == "restart", "a kept release can be restored"
        return None


def test_a_rollback_makes_the_tasks_that_still_run_current_again():
    world = World()
    spec = AppSpec(name="shop", services=(service("web", "i:1", replicas=3),))

    def ask(image):
        return Asked(
            spec=replace(spec, services=(service("web", image, replicas=3),)),
            images={"web": ResolvedImage(ref=image, id=image)},
            secrets={}, configs={}, keep_orphans=False, principal="", now=1.0,
        )  # fmt: skip

    write(world, plan(load(world, "shop"), ask("i:1")))
    world.rest()
    running = {task.id for task in world.running()}
    write(world, plan(load(world, "shop"), ask("i:2")))
    world.orchestrate()
    stored = load(world, "shop")
    back = restored(stored, stored.releases[0], principal="", now=2.0)
    write(world, plan(stored, back))
    world.pass_time(120)
    assert {task.id for task in world.find(Task) if not task.state.terminal} == running
