"""Why a release is as it is, and that the explanation of its app and its services says so too."""

import pytest
from msgspec.structs import replace

from pilothouse.errors import NotFoundError
from pilothouse.model.objects import App, FieldChange
from pilothouse.model.release import ReleaseKind, ReleaseState, Verdict
from pilothouse.model.rollout import Evidence, RolloutState
from pilothouse.server.explain import explain
from tests.control.world import World, spec
from tests.server.test_rollouts import released, rolling, updated

CHANGES = (
    FieldChange(path="services.web.image", before="web:1", after="web:2"),
    FieldChange(path="services.db.image", before="db:1", after="db:2"),
)


def test_a_release_that_failed_is_explained_with_its_cause_its_last_lines_and_what_it_changed():
    world = updated()
    evidence = Evidence(service="web", task="web.1", cause="web.1 exited with code 3", log_tail=("no config",))
    released(
        world, base=1, state=ReleaseState.FAILED, sentence="web.1 exited with code 3; nothing more is replaced",
        evidence=evidence, changes=CHANGES, message="new look", created_at=world.now - 300,
    )  # fmt: skip
    told = explain(world, "release/shop/2", world.now)
    assert told.object == "release/shop/2"
    assert told.sentence == (
        "Release 2 of shop has failed; web.1 exited with code 3; nothing more is replaced; alice made it 5 min ago "
        "(deploy): new look; correct the cause and deploy again, or `pilothouse resume shop` has it go on."
    )
    assert told.log_tail == ("no config",)
    assert told.changes == ("services.web.image: web:1 → web:2", "services.db.image: db:1 → db:2")
    assert ("falls back to", "release 1") in told.facts


def test_an_app_that_was_rolled_back_says_why_although_all_is_well():
    world = World(spec()).rest()
    released(
        world, kind=ReleaseKind.ROLLBACK, copies=1, undoes=2, created_by="system", state=ReleaseState.STABLE,
        message="release 2 failed: web.1 exited with code 3",
    )  # fmt: skip
    told = explain(world, "shop", world.now)
    assert told.sentence.startswith("shop is as its manifest says")
    assert told.causes == (
        "Release 1 of shop is stable; system made it 0.0 s ago (rollback to release 1): release 2 failed: web.1 exited "
        "with code 3.",
    )


def test_a_service_in_the_middle_of_a_release_says_how_far_it_is_and_what_changed():
    world = updated()
    released(world, base=1, changes=CHANGES)
    rolling(world)
    told = explain(world, "shop/web", world.now)
    assert any(cause.startswith("Rollout of web: rolling: 0 of 4 new, 0 starting, 4 old") for cause in told.causes)
    assert any(cause.startswith("Release 2 of shop is being rolled out; alice made it") for cause in told.causes)
    assert told.changes == ("services.web.image: web:1 → web:2",)


def test_a_paused_release_says_who_paused_it_and_how_it_goes_on():
    world = updated()
    rolling(world, RolloutState.PAUSED)
    world.force(replace(world.get(App, "shop"), paused=True, paused_by="bob"))
    told = explain(world, "release/shop/2", world.now)
    assert told.sentence.startswith("Release 2 of shop is paused by bob; ")
    assert told.sentence.endswith("`pilothouse resume shop` has it go on.")


def test_what_the_judge_said_is_a_cause():
    world = updated()
    verdict = Verdict(service="web", step=0, at=1.0, outcome="promote", sentence="0 of 400 requests failed")
    released(world, base=1, verdicts=(verdict,))
    said = "The judge of web, step 1: promote: 0 of 400 requests failed."
    assert said in explain(world, "release/shop/2", world.now).causes
    assert said in explain(world, "shop", world.now).causes


def test_an_older_release_says_how_it_is_gone_back_to():
    world = updated()
    old = released(world, state=ReleaseState.STABLE)
    world.force(replace(old, id="shop/000001", number=1, version=0))
    assert explain(world, "release/shop/1", world.now).sentence.endswith(
        "`pilothouse rollback shop 1` makes it what runs again."
    )


@pytest.mark.parametrize("name", ["release/shop/9", "release/shop/x", "release/shop", "release/shop/" + "9" * 40])
def test_a_release_there_is_not_has_no_explanation(name):
    with pytest.raises(NotFoundError, match="nothing is called"):
        explain(updated(), name, 0.0)
