"""A release as people watch it: what is new, what is old, and what is being waited for, until when."""

import pytest
from msgspec.structs import replace

from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import App, ResolvedImage
from pilothouse.model.release import Release, ReleaseKind, ReleaseState, Traffic, release_id
from pilothouse.model.rollout import Evidence, Golden, Rollout, RolloutState, Stage
from pilothouse.model.spec import Probe, ProbeKind, Probes, ReleasePolicy, ReleaseStep, Strategy, TaskSpec
from pilothouse.model.states import TaskState
from pilothouse.server.rollouts import release_view
from pilothouse.server.views import app_view
from tests.control.world import World, spec


def checked(image, **fields):
    """A service whose tasks say themselves when they are ready."""
    probes = Probes(ready=Probe(kind=ProbeKind.TCP, port=80))
    return spec(task=TaskSpec(container=ContainerSpec(image=image), probes=probes), **fields)


def released(world, **fields):
    """Record the newest release of the shop and return it."""
    app = world.get(App, "shop")
    whole = {"spec": app.spec, "created_at": world.now, "created_by": "alice", **fields}
    release = Release(id=release_id("shop", app.revision), app="shop", number=app.revision, **whole)
    before = world.get(Release, release.id)
    return world.force(replace(release, version=before.version if before else 0))


def rolling(world, state=RolloutState.ROLLING, service="web", **fields):
    """Have the orchestrator say where the rollout of a service stands."""
    number = world.get(App, "shop").revision
    world.force(replace(world.service(service), rollout=Rollout(release=number, state=state, **fields)))


def web(world):
    return next(each for each in app_view(world, "shop", world.now).release.services if each.service == "web")


def counts(view):
    return view.wanted, view.updated, view.starting, view.old


def updated(**fields):
    """Four tasks of web:1 run, and web:2 was deployed; nothing has been replaced."""
    world = World(checked("web:1", replicas=4, **fields)).rest()
    world.deploy(checked("web:2", replicas=4, **fields))
    released(world, base=1)
    return world


def test_an_app_without_releases_has_none_to_show():
    assert app_view(World(spec()), "shop", 0.0).release is None


def test_before_the_orchestrator_has_looked_nothing_is_being_replaced():
    world = updated()
    assert web(world).state is RolloutState.WAITING
    assert counts(web(world)) == (4, 0, 0, 4)
    assert web(world).since == world.now


def test_a_new_task_that_is_not_ready_is_what_the_rollout_waits_for():
    world = updated()
    world.orchestrate()
    world.prepare()
    rolling(world)
    new = next(task for task in world.live() if task.image.ref == "web:2")
    world.now += 3
    world.run(new, ready=False)
    world.now += 12
    view = web(world)
    assert counts(view) == (4, 0, 1, 4), "the next one is only prepared"
    assert view.waits_for == "web.1 to become ready"
    assert (view.since, view.until) == (new.created_at, new.created_at + 3 + 600)


def test_an_updated_service_has_no_old_tasks_and_waits_for_nothing():
    world = updated()
    world.pass_time(120)
    rolling(world, RolloutState.DONE)
    assert counts(web(world)) == (4, 4, 0, 0)
    assert web(world).waits_for == ""


def test_a_new_task_that_is_ready_but_not_long_enough_is_starting():
    world = World(checked("web:1")).rest()
    world.deploy(checked("web:2", release=ReleasePolicy(settle_seconds=20.0)))
    released(world, base=1)
    rolling(world)
    world.rest()
    view = web(world)
    assert counts(view) == (1, 0, 1, 1)
    assert view.waits_for == "web.1 to settle"
    assert view.until == world.now + 20


def test_the_monitor_window_ends_for_the_last_new_task():
    world = updated()
    world.orchestrate()
    world.pass_time(120)
    rolling(world, RolloutState.MONITORING, since=world.now)
    last = max(task.status.ready_since or task.status.started_at for task in world.running())
    world.now = last + 3
    assert (web(world).waits_for, web(world).until) == ("the monitor window", last + 10)
    world.run(world.running()[0], ready=False)
    assert web(world).until is None


def test_after_the_monitor_window_old_tasks_may_have_yet_to_stop():
    world = updated()
    world.pass_time(120)
    rolling(world, RolloutState.MONITORING, sentence="every task is new; waits until the old ones have stopped")
    world.now += 60
    assert (web(world).waits_for, web(world).until) == ("the old tasks to stop", None)


@pytest.mark.parametrize(
    ("sentence", "what"),
    [
        ("waits for db to be healthy", "db to be healthy"),
        ("no node meets its placement constraints", "a change: no node meets its placement constraints"),
        ("", ""),
    ],
)
def test_a_rollout_that_has_yet_to_begin_says_what_for(sentence, what):
    world = updated()
    rolling(world, RolloutState.WAITING, sentence=sentence)
    assert web(world).waits_for == what


def test_what_is_prepared_ahead_is_not_waited_for_while_another_settles():
    world = updated()
    world.rest()
    ahead = [task for task in world.live() if task.image.ref == "web:2" and task.desired_state is TaskState.READY]
    assert ahead, "the next slot's task is prepared"
    assert web(world).waits_for == "web.1 to settle"
    world.now += 3600
    assert web(world).waits_for.startswith("web.2, which is prepared ahead"), "until somebody looks again"


def test_a_paused_rollout_waits_for_a_person_and_says_who_paused_it():
    world = updated()
    rolling(world)
    world.force(replace(world.get(App, "shop"), paused=True, paused_by="bob"))
    assert app_view(world, "shop", world.now).release.paused
    assert web(world).state is RolloutState.PAUSED
    assert web(world).waits_for == "`pilothouse resume shop` (bob paused it)"


def test_a_pause_says_nothing_of_a_release_that_is_over():
    world = updated()
    released(world, base=1, state=ReleaseState.STABLE)
    world.force(replace(world.get(App, "shop"), paused=True))
    assert not app_view(world, "shop", world.now).release.paused
    assert web(world).state is RolloutState.DONE


def test_a_canary_is_held_for_the_judge_until_its_step_is_over_and_its_requests_are_counted():
    steps = (ReleaseStep(weight=10, hold_seconds=30.0), ReleaseStep(weight=50, hold_seconds=60.0))
    world = updated(release=ReleasePolicy(strategy=Strategy.CANARY, steps=steps))
    released(world, base=1, stages={"web": Stage(step=1, tasks=2, weight=50, since=world.now)})
    rolling(world, RolloutState.HELD, sentence="is being judged")
    view = web(world)
    assert (view.strategy, view.step, view.steps, view.weight) == (Strategy.CANARY, 2, 2, 50)
    assert (view.waits_for, view.until) == ("the judge", world.now + 60)
    assert (view.requests, view.errors) == (None, None)
    world.orchestrate()
    (new, *_) = (task for task in world.live() if task.image.ref == "web:2")
    for node, fingerprint in (("n1", new.fingerprint), ("n2", new.fingerprint), ("n3", "of another release")):
        key = f"shop/web/{node}"
        seen = Golden(requests=206, errors=1)
        world.force(Traffic(id=key, app="shop", service="web", node_id=node, fingerprint=fingerprint, new=seen))
    assert (web(world).requests, web(world).errors) == (412, 2)


def test_steps_nobody_wrote_are_the_platforms():
    world = updated(release=ReleasePolicy(strategy=Strategy.CANARY))
    released(world, base=1, stages={"web": Stage(step=0, tasks=1, weight=5, since=world.now)})
    rolling(world, RolloutState.HELD)
    assert (web(world).step, web(world).steps, web(world).until) == (1, 3, world.now + 30)


def test_a_stage_that_was_promoted_is_no_step_any_more():
    world = updated(release=ReleasePolicy(strategy=Strategy.CANARY))
    released(world, base=1, stages={"web": Stage(step=1, tasks=2, weight=50, promoted=True)})
    assert (web(world).step, web(world).weight) == (0, None)


def test_a_first_release_is_rolled_out_without_a_strategy():
    world = World(checked("web:1", release=ReleasePolicy(strategy=Strategy.CANARY)))
    released(world)
    assert web(world).strategy is Strategy.ROLLING


def test_a_failed_rollout_says_why():
    world = updated()
    rolling(world, RolloutState.FAILED, sentence="web.1 keeps failing", since=1.0)
    assert (web(world).waits_for, web(world).since) == ("web.1 keeps failing", 1.0)


def test_a_release_shows_what_it_is_made_from_and_what_became_of_it():
    world = World(spec())
    evidence = Evidence(service="web", task="web.1", cause="it exited with code 3", log_tail=("no config",))
    images = {
        "web": ResolvedImage(ref="web:2", id="sha256:0123456789abcdef"),
        "db": ResolvedImage(ref="db:1", id="sha256:1", digest="db@sha256:2"),
    }
    release = released(
        world,
        kind=ReleaseKind.ROLLBACK,
        copies=1,
        undoes=2,
        images=images,
        state=ReleaseState.FAILED,
        evidence=evidence,
    )
    view = release_view(release, rolled_back_by=4)
    assert view.images == {"web": "web:2 (sha256:0123456789ab)", "db": "db@sha256:2"}
    assert (view.kind, view.copies, view.undoes, view.rolled_back_by) == (ReleaseKind.ROLLBACK, 1, 2, 4)
    assert view.evidence == evidence
    assert view.since == release.created_at
