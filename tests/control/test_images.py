"""A node keeps the images that a rollback may go back to, and those that nobody could fetch again."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.control.images import needed_images
from pilothouse.model.objects import ResolvedImage, Task
from pilothouse.model.release import ReleaseState
from tests.control.test_retention import release, world_with
from tests.examples import examples

STABLE, FAILED, ROLLING = ReleaseState.STABLE, ReleaseState.FAILED, ReleaseState.ROLLING


def image(number, *, registry=True):
    digest = f"web@sha256:d{number}" if registry else ""
    return ResolvedImage(ref=f"web:{number}", id=f"sha256:i{number}", digest=digest)


def made(number, state, base=0, *, registry=True, **fields):
    return release(number, state, base, images={"web": image(number, registry=registry)}, **fields)


def needed(world, node_id):
    return set(needed_images(world, node_id))


def placed(world, node_id="n1"):
    for task in world.find(Task):
        world.force(replace(task, node_id=node_id))
    return world


def kept(found):
    return sorted(int(name.removeprefix("sha256:i")) for name in found if name.startswith("sha256:i"))


def test_what_a_release_can_go_back_to_stays_where_the_app_is_and_only_there():
    every = [made(1, STABLE), made(2, STABLE, 1), made(3, FAILED, 2), made(4, STABLE, 2), made(5, ROLLING, 4)]
    world = placed(world_with(*every, revision=5))
    assert kept(needed(world, "n1")) == [2, 4, 5]
    assert "web@sha256:d4" in needed(world, "n1")
    assert kept(needed(world, "n2")) == []


def test_an_image_of_no_registry_stays_wherever_it_is_as_long_as_a_release_names_it():
    every = [made(1, STABLE, registry=False), made(2, STABLE, 1), made(3, STABLE, 2), made(4, STABLE, 3)]
    world = placed(world_with(*every, revision=4))
    assert kept(needed(world, "n1")) == [1, 3, 4]
    assert kept(needed(world, "n2")) == [1]


@given(
    st.lists(st.tuples(st.sampled_from(list(ReleaseState)), st.integers(0, 9), st.booleans()), min_size=1, max_size=9)
)
@examples(25)
def test_the_newest_its_base_and_the_newest_stable_ones_are_always_among_them(history):
    every = [
        made(n, state, min(base, n - 1), registry=registry) for n, (state, base, registry) in enumerate(history, 1)
    ]
    found = kept(needed(placed(world_with(*every, revision=len(every))), "n1"))
    stable = [each.number for each in every if each.state is STABLE]
    assert {every[-1].number, *stable[-2:], *([every[-1].base] if every[-1].base else [])} <= set(found)
    assert {each.number for each in every if not each.images["web"].digest} <= set(found)
