"""A task without a place is explained by what every node lacks, and by the smallest change that would place it."""

from pilothouse.model.container import ContainerSpec
from pilothouse.model.matrix import RemedyKind
from pilothouse.model.spec import Resources, TaskSpec
from pilothouse.server.explain import explain
from tests.control.world import World, node, spec

CORE = 1_000_000_000


def world(cores, **container):
    task = TaskSpec(container=ContainerSpec(image="web:1", **container), reservations=Resources(cpu_nano=cores * CORE))
    nodes = [node("a"), node("b", ready=False, message="away")]
    return World(spec(task=task), nodes=nodes).rest()


def test_the_sentence_ends_with_the_smallest_change_and_the_nodes_follow():
    found = explain(world(6), "shop/web.1", 1000.0)
    assert found.sentence.endswith(
        "the smallest change that would place it: reserve 4 instead of 6 cores: then it fits on a."
    )
    assert found.causes[0] == "a: has 4 of 4 cores free, and the task reserves 6."
    assert found.causes[1].startswith("b: is not ready (away) and has 4 of 4 cores free")
    assert found.matrix is not None
    assert found.matrix.remedies[0].kind is RemedyKind.RESERVATION
    assert {row.rule: row.broken for row in found.matrix.rules}["cpu"] == 2


def test_other_changes_that_would_do_are_named_too():
    found = explain(world(1, platform="plan9"), "shop/web.1", 1000.0)
    assert found.matrix is not None
    assert found.matrix.remedies == ()
    assert "add room or relax what it asks for" in found.sentence


def test_a_task_that_has_a_place_has_no_matrix():
    assert explain(world(1), "shop/web.1", 1000.0).matrix is None
