"""How people see a once-per-release step: in lists, in explanations, in what a deployment writes of it."""

import pytest
from msgspec.structs import replace

from pilothouse.errors import NotFoundError
from pilothouse.model.container import ContainerSpec
from pilothouse.model.objects import ResolvedImage
from pilothouse.model.spec import AppSpec, Hook, TaskSpec
from pilothouse.model.states import TaskState
from pilothouse.server.deploy.images import needs, of_steps
from pilothouse.server.deploy.plan import Asked, Stored, plan
from pilothouse.server.explain import explain
from pilothouse.server.views import app_view, task_views
from tests.control.world import World, spec

HOOKS = (Hook(command=("python", "manage.py", "migrate")), Hook(image="seed:1"))


def web(image="web:1", **fields):
    return spec(task=TaskSpec(container=ContainerSpec(image=image), pre_start=HOOKS), **fields)


def running():
    world = World(web()).rest()
    world.now += 12
    return world


def failed():
    world = running()
    world.fail(step(world), 3, log_tail=("table exists",))
    return world.rest()


def step(world):
    return next(task for task in world.tasks() if task.step >= 0)


def view(world):
    return app_view(world, "shop", world.now).services[0]


def test_a_running_step_is_listed_by_name_with_what_it_runs_and_counts_as_no_task():
    world = running()
    shown = {each.name: each.sentence for each in task_views(world)}
    assert shown == {
        "web:pre_start.0": "runs step 1 of 2 (python manage.py migrate)",
        "web.1": "waits for its step 1 of 2 (python manage.py migrate)",
    }
    counted = view(world)
    assert (counted.wanted, counted.running, counted.outdated, counted.converged) == (1, 0, 0, False)


def test_a_failed_step_is_listed_although_it_is_dead_until_what_it_stopped_is_over():
    world = failed()
    world.pass_time(60)
    assert [(each.name, each.exit_code) for each in task_views(world)] == [("web:pre_start.0", 3), ("web.1", None)]
    assert view(world).failed
    world.deploy(spec())
    world.pass_time(60)
    assert [each.name for each in task_views(world)] == ["web.1"]


def test_a_settled_service_is_as_its_manifest_says_although_it_had_steps():
    world = running()
    for _ in HOOKS:
        world.complete(next(task for task in world.running() if task.step >= 0))
        world.rest()
    world.pass_time(60)
    assert view(world).converged
    assert [each.name for each in task_views(world)] == ["web.1"]


@pytest.mark.parametrize("name", ["shop", "shop/web", "shop/web.1"])
def test_what_waits_says_for_which_step_and_since_when_that_runs(name):
    told = explain(running(), name, 1012.0)
    assert "waits for its step 1 of 2 (python manage.py migrate), running for 12 s" in told.sentence


def test_a_step_that_does_not_run_yet_says_why():
    world = World(web())
    world.orchestrate()
    told = explain(world, "shop/web.1", world.now)
    assert "step 1 of 2 (python manage.py migrate), which was just made" in told.sentence


@pytest.mark.parametrize("name", ["shop/web", "shop/web.1"])
def test_the_last_words_of_a_step_that_failed_are_shown_with_what_waits_for_it(name):
    world = failed()
    told = explain(world, name, world.now)
    assert told.log_tail == ("table exists",)
    assert "step 1 of 2 (python manage.py migrate)" in told.sentence
    assert f"The step is web:pre_start.0 ({step(world).id}): it exited with code 3 after 12 s." in told.causes


def test_a_step_is_explained_by_its_name():
    world = running()
    told = explain(world, "shop/web:pre_start.0", world.now)
    assert told.object == f"task/{step(world).id}"
    assert told.sentence.startswith("web:pre_start.0 of shop runs step 1 of 2 (python manage.py migrate) (for 12 s)")
    with pytest.raises(NotFoundError):
        explain(world, "shop/web:pre_start.7", world.now)


def test_a_step_of_an_older_version_that_still_runs_is_told_as_one():
    world = running()
    world.deploy(spec())
    world.rest()
    shown = {each.name: each.sentence for each in task_views(world)}
    assert shown["web:pre_start.0"] == "runs a step that is gone"


def _asked(images, spec_, **fields):
    return Asked(
        spec=AppSpec(name="shop", services=(spec_,)),
        images={"web": images["web:1"]},
        step_images={"web": {"seed:1": images["seed:1"]}},
        secrets={}, configs={}, keep_orphans=False, principal="alice", now=5.0, **fields,
    )  # fmt: skip


def test_a_deployment_settles_which_content_a_steps_image_meant():
    wanted = web()
    app = AppSpec(name="shop", services=(wanted,))
    found = {need: ResolvedImage(ref=need.ref, id=f"sha256:{need.ref}") for need in needs(app)}
    images = {need.ref: image for need, image in found.items()}
    assert of_steps(wanted.task, found) == {"seed:1": images["seed:1"]}
    first = plan(Stored(), _asked(images, wanted))
    (service,) = [obj for obj in first.writes if getattr(obj, "name", "") == "web"]
    assert service.step_images == {"seed:1": images["seed:1"]}
    changed = {**images, "seed:1": ResolvedImage(ref="seed:1", id="sha256:another")}
    stored = Stored(app=first.writes[0], services={"web": service})
    assert plan(stored, _asked(changed, wanted)).writes == (), "another content alone is no change"
    more = replace(wanted, replicas=2)
    (service,) = [obj for obj in plan(stored, _asked(changed, more)).writes if getattr(obj, "name", "") == "web"]
    assert service.step_images == {"seed:1": changed["seed:1"]}


def test_a_step_that_waits_for_a_node_says_so_in_the_words_of_any_task():
    world = World(web(), nodes=())
    world.orchestrate()
    world.prepare()
    assert step(world).state is TaskState.PENDING
    told = explain(world, "shop/web.1", world.now)
    assert "which waits for a node: no node has joined yet" in told.sentence
