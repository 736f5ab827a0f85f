"""Releases are kept as long as somebody may go back to them, and contents as long as a release or a task needs them."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.orchestrators.retention import KEPT_RELEASES, kept_releases
from pilothouse.model.container import ContainerSpec, FileGrant
from pilothouse.model.objects import App, Config, Secret, Task
from pilothouse.model.release import FileVersion, Release, ReleaseState, Traffic, file_version_id, release_id
from pilothouse.model.spec import AppSpec, FileSpec
from tests.control.world import World, spec
from tests.examples import examples

STATES = st.sampled_from(list(ReleaseState))


def release(number, state=ReleaseState.SUPERSEDED, base=0, **fields):
    spec = AppSpec(name="shop")
    return Release(
        id=release_id("shop", number), app="shop", number=number, spec=spec, state=state, base=base, **fields
    )


def content(version, kind="secret", key="key"):
    id_ = file_version_id(kind, "shop", key, version)
    return FileVersion(id=id_, app="shop", kind=kind, key=key, content_version=version, stored=b"x")


def world_with(*objects, revision=1):
    world = World(spec()).rest()
    world.force(replace(world.get(App, "shop"), revision=revision))
    for obj in objects:
        world.force(obj)
    return world


def left(world, kind):
    return [obj.id for obj in world.find(kind)]


@given(st.lists(st.tuples(STATES, st.integers(0, 60)), max_size=60))
@examples(60)
def test_the_newest_releases_and_those_they_go_back_to_are_kept(history):
    every = [release(n, state, min(base, n - 1)) for n, (state, base) in enumerate(history, 1)]
    kept = {each.number for each in kept_releases(every)}
    newest = every[-KEPT_RELEASES:]
    assert {each.number for each in newest} <= kept
    assert {each.base for each in newest if each.base} <= kept
    stable = [each.number for each in every if each.state is ReleaseState.STABLE]
    assert set(stable[-1:]) <= kept
    assert len(kept) <= 2 * KEPT_RELEASES + 1
    assert kept_releases(kept_releases(every)) == kept_releases(every)


def test_old_releases_go_and_their_contents_with_them():
    every = [release(n, secret_versions={"key": f"v{n}"}) for n in range(1, 31)]
    world = world_with(*every, *(content(f"v{n}") for n in range(1, 31)), content("nobody"), revision=30)
    world.reap()
    assert [each.number for each in world.find(Release)] == list(range(11, 31))
    assert sorted(v.content_version for v in world.find(FileVersion)) == sorted(f"v{n}" for n in range(11, 31))


def test_an_old_stable_release_is_kept_as_long_as_it_may_be_gone_back_to():
    every = [release(1, ReleaseState.STABLE, secret_versions={"key": "v1"})]
    every += [release(n, ReleaseState.FAILED, 1) for n in range(2, 41)]
    world = world_with(*every, content("v1"), revision=40)
    world.reap()
    assert [each.number for each in world.find(Release)] == [1, *range(21, 41)]
    assert left(world, FileVersion) == ["secret/shop/key/v1"]
    world.force(replace(world.get(Release, "shop/000030"), state=ReleaseState.STABLE))
    world.reap()
    assert left(world, FileVersion) == ["secret/shop/key/v1"], "release 31 still goes back to release 1"


def test_the_content_that_a_live_task_was_made_for_is_kept():
    container = ContainerSpec(image="web:1", secrets=(FileGrant(source="key", target="/k"),))
    world = World()
    world.force(Secret(id="shop/key", app="shop", spec=FileSpec(key="key", name="k"), content_version="v1"))
    world.deploy(spec(container=container))
    world.rest()
    world.force(replace(world.get(Secret, "shop/key"), content_version="v2"))
    world.force(content("v1"))
    world.reap()
    assert left(world, FileVersion) == ["secret/shop/key/v1"]
    world.pass_time(120)
    world.reap()
    assert {task.secret_versions["key"] for task in world.find(Task) if not task.state.terminal} == {"v2"}
    assert left(world, FileVersion) == []


def test_a_content_that_is_the_newest_again_is_not_kept_twice():
    named = release(1, secret_versions={"key": "v1"}, config_versions={"conf": "c1"})
    secret = Secret(id="shop/key", app="shop", spec=FileSpec(key="key", name="k"), content_version="v1")
    config = Config(id="shop/conf", app="shop", spec=FileSpec(key="conf", name="c"), content_version="c2")
    world = world_with(named, content("v1"), content("c1", "config", "conf"), secret, config)
    world.reap()
    assert left(world, FileVersion) == ["config/shop/conf/c1"]


def test_a_removed_file_stays_while_it_is_the_only_copy_of_a_content_that_a_release_needs():
    named = release(1, secret_versions={"key": "v1"})
    secret = Secret(id="shop/key", app="shop", spec=FileSpec(key="key", name="k"), content_version="v1", removing=True)
    world = world_with(named, secret)
    world.reap()
    assert left(world, Secret) == ["shop/key"]
    world.force(content("v1"))
    world.reap()
    assert (left(world, Secret), left(world, FileVersion)) == ([], ["secret/shop/key/v1"])


def test_measurements_go_when_the_release_is_over():
    measured = Traffic(id="shop/web/node1", app="shop", service="web", node_id="node1", fingerprint="f")
    world = world_with(release(1, ReleaseState.ROLLING), measured)
    world.reap()
    assert left(world, Traffic) == [measured.id]
    world.force(replace(world.get(Release, "shop/000001"), state=ReleaseState.STABLE))
    world.reap()
    assert left(world, Traffic) == []
    world.force(replace(measured, version=0))
    world.force(replace(world.get(App, "shop"), revision=2))
    world.reap()
    assert left(world, Traffic) == [], "a release nobody knows measures nothing"


def test_everything_goes_with_the_app():
    measured = Traffic(id="shop/web/node1", app="shop", service="web", node_id="node1", fingerprint="f")
    world = world_with(release(1, ReleaseState.ROLLING, secret_versions={"key": "v1"}), content("v1"), measured)
    world.down()
    world.reap()
    assert (left(world, Release), left(world, FileVersion), left(world, Traffic)) == ([], [], [])
    world.rest()
    world.reap()
    assert left(world, App) == []
