"""Releases on the command line: seen, compared, gone back to, held, restarted and waited for."""

import json

import pytest

from pilothouse.model.api import DeployResult
from pilothouse.model.objects import FieldChange
from pilothouse.model.release import ReleaseKind, ReleaseState, Verdict
from pilothouse.model.release_api import ReleaseDiff, RestartRequest, RollbackRequest, RolloutView
from pilothouse.model.rollout import Evidence, Golden, RolloutState
from tests.cli.fake_api import events, page
from tests.cli.views import app, release, service, task

WATCH = ("GET", "/v1/apps/shop/watch")
APP = ("GET", "/v1/apps/shop")
RELEASES = ("GET", "/v1/apps/shop/releases")
ROLLBACK = ("POST", "/v1/apps/shop/rollback")
RESTART = ("POST", "/v1/apps/shop/restart")
CHANGES = (FieldChange(path="services.web.image", before="web:1", after="web:2"), FieldChange(path="b", before="1"))
STABLE = ReleaseState.STABLE


@pytest.fixture
def shop(api):
    """Release 3 runs and is stable; 2 failed and was undone by it; 1 is what it repeats."""
    kept = (
        release(3, kind=ReleaseKind.ROLLBACK, state=STABLE, copies=1, undoes=2, base=1, created_by="system"),
        release(2, state=ReleaseState.ROLLED_BACK, rolled_back_by=3, base=1, changes=CHANGES, message="new look"),
        release(1, state=STABLE),
    )
    api.answers[RELEASES] = page(*kept)
    for each in kept:
        api.answers["GET", f"/v1/apps/shop/releases/{each.number}"] = each
    seen(api, app(service(), revision=3, release=kept[0]))
    return api


def seen(api, *views):
    api.answers[WATCH] = events(*(("app", view) for view in views))
    api.answers[APP] = views[0]


def test_releases_are_listed_newest_first_with_what_became_of_them(shop, command):
    done = command("releases", "ls", "shop")
    heads, newest, failed, first = done.out.splitlines()
    assert heads.split() == ["RELEASE", "STATE", "KIND", "SINCE", "BY", "CHANGED", "MESSAGE"]
    assert "rollback to 1, undoing 2" in newest
    assert "rolled-back" in failed
    assert "services.web.image: web:2 and 1 more" in failed
    assert failed.endswith("new look")
    assert first.split()[:3] == ["1", "stable", "deploy"]
    assert len(json.loads(command("releases", "ls", "--json", "shop").out)) == 3


def test_a_release_is_shown_with_everything_that_is_known_of_it(shop, command):
    evidence = Evidence(service="web", task="web.2", cause="it exited with code 3", log_tail=("no\x1b[2J config",))
    verdict = Verdict(
        service="web", step=0, at=1.0, outcome="roll-back", sentence="too many errors", error_p=0.00012,
        old=Golden(requests=900, errors=1), new=Golden(requests=100, errors=5), new_p95_ms=12.5,
    )  # fmt: skip
    shop.answers["GET", "/v1/apps/shop/releases/2"] = release(
        2, state=ReleaseState.ROLLED_BACK, rolled_back_by=3, base=1, changes=CHANGES, message="new look",
        evidence=evidence, verdicts=(verdict,), images={"web": "web:2 (sha256:1)"}, sentence="web.2 keeps failing",
        created_at=1.0,
    )  # fmt: skip
    lines = command("releases", "show", "shop", "2").out.splitlines()
    assert lines[0] == "shop release 2 rolled back: web.2 keeps failing"
    assert lines[1].startswith("made 1970-01-01T00:00:01Z (")
    assert lines[1].endswith(" by alice")
    assert lines[2:] == [
        "kind: deploy",
        "message: new look",
        "falls back to: release 1",
        "rolled back by: release 3",
        "cause:",
        "  web.2: it exited with code 3",
        "  the last lines of web.2:",
        "    | no config",
        "verdicts:",
        "  web step 1: roll-back: too many errors",
        "    old 900 requests, 1 error; new 100 requests, 5 errors, 95 % within 12.5 ms; errors p = 0.00012",
        "changes:",
        "  services.web.image: web:1 → web:2",
        "  b: 1 → nothing",
        "images:",
        "  web: web:2 (sha256:1)",
    ]


def test_without_a_number_the_newest_release_is_shown(shop, command):
    assert command("releases", "show", "shop").out.startswith("shop release 3 stable\n")
    assert json.loads(command("releases", "show", "--json", "shop").out)["number"] == 3


def test_two_releases_are_compared_in_the_order_they_are_named(shop, command):
    path = ("GET", "/v1/apps/shop/releases/2/diff")
    shop.answers[path] = lambda query, _: ReleaseDiff(
        app="shop", before=int(query.get("with", 1)), after=2, changes=CHANGES
    )
    assert command("releases", "diff", "shop", "2").out.splitlines() == [
        "shop: from release 1 to release 2: 2 fields",
        "  services.web.image: web:1 → web:2",
        "  b: 1 → nothing",
    ]
    assert command("releases", "diff", "shop", "3", "2").out.startswith("shop: from release 3 to release 2")
    assert json.loads(command("releases", "diff", "--json", "shop", "2").out)["after"] == 2


def test_rollback_says_what_will_change_names_what_it_saw_and_waits(shop, command):
    shop.answers["GET", "/v1/apps/shop/releases/1/diff"] = lambda query, _: ReleaseDiff(
        app="shop", before=int(query["with"]), after=1, changes=CHANGES[:1]
    )
    shop.answers[ROLLBACK] = DeployResult(app="shop", revision=4)
    rolled = release(4, kind=ReleaseKind.ROLLBACK, copies=1, base=3)
    seen(
        shop,
        app(service(converged=False), revision=4, release=rolled),
        app(service(), revision=4, release=release(4, kind=ReleaseKind.ROLLBACK, copies=1, base=3, state=STABLE)),
    )
    done = command("rollback", "shop", "1", "-m", "prices were wrong")
    assert done.code == 0
    assert done.err.splitlines()[:2] == ["services.web.image: web:1 → web:2", "shop release 4: repeats release 1"]
    assert done.out.startswith("shop: 1 service as the manifest says (release 4, ")
    assert shop.bodies(*ROLLBACK, RollbackRequest) == [
        RollbackRequest(release=1, expect=3, message="prices were wrong")
    ]


def test_rollback_without_a_number_goes_to_the_newest_stable_release_with_another_content(shop, command):
    shop.answers[RELEASES] = page(
        release(6, state=STABLE, copies=4, undoes=5), release(5, state=ReleaseState.ROLLED_BACK),
        release(4, state=STABLE), release(3, state=ReleaseState.FAILED), release(2, state=STABLE),
    )  # fmt: skip
    shop.answers["GET", "/v1/apps/shop/releases/4/diff"] = ReleaseDiff(app="shop", before=6, after=4)
    shop.answers["GET", "/v1/apps/shop/releases/2/diff"] = ReleaseDiff(app="shop", before=6, after=2, changes=CHANGES)
    shop.answers[ROLLBACK] = DeployResult(app="shop", revision=7)
    done = command("rollback", "shop", "--detach", "--json")
    assert done.code == 0
    assert json.loads(done.out)["revision"] == 7
    assert [each.release for each in shop.bodies(*ROLLBACK, RollbackRequest)] == [2]


def test_where_nothing_was_stable_before_there_is_nothing_to_go_back_to(shop, command):
    shop.answers["GET", "/v1/apps/shop/releases/1/diff"] = ReleaseDiff(app="shop", before=3, after=1)
    done = command("rollback", "shop")
    assert done.code == 3
    assert "no release of shop before release 3 was stable and differs from it" in done.err
    shop.answers[RELEASES] = page()
    assert "shop has no release yet" in command("rollback", "shop").err


def test_a_rolled_back_release_ends_with_1_once_what_was_before_runs(shop, command):
    bad = release(4, base=3, state=ReleaseState.ROLLING_BACK, sentence="web.1 keeps failing")
    shop.answers["GET", "/v1/apps/shop/releases/4"] = release(4, base=3, state=ReleaseState.ROLLED_BACK)
    shop.answers[RESTART] = DeployResult(app="shop", revision=4)
    undo = {"kind": ReleaseKind.ROLLBACK, "copies": 3, "undoes": 4, "base": 3}
    seen(
        shop,
        app(service(converged=False, failed=True), revision=4, release=bad),
        app(service(converged=False), revision=5, release=release(5, **undo)),
        app(service(), revision=5, release=release(5, state=STABLE, **undo)),
    )
    done = command("restart", "shop", "web", "--rolling")
    assert done.code == 1
    said = [line for line in done.err.splitlines() if line.startswith("shop release")]
    assert said == [
        "shop release 4: restarts web",
        "shop release 4 rolling back: web.1 keeps failing",
        "shop release 5 rolling",
    ]
    assert "error PH111: shop release 4 failed and was rolled back: release 5 runs, which repeats release 3" in done.err
    assert shop.bodies(*RESTART, RestartRequest) == [RestartRequest(services=("web",))]


def test_a_superseded_release_ends_with_2_and_says_by_whom(shop, command):
    shop.answers["GET", "/v1/apps/shop/releases/4"] = release(4, state=ReleaseState.SUPERSEDED)
    shop.answers[RESTART] = DeployResult(app="shop", revision=4)
    seen(shop, app(service(), revision=5, release=release(5, created_by="bob")))
    done = command("restart", "shop")
    assert done.code == 2
    assert "error PH112: shop release 4 was superseded before it was stable: release 5 was made by bob" in done.err


def test_restart_detached_returns_once_it_is_recorded(shop, command):
    shop.answers[RESTART] = DeployResult(app="shop", revision=4)
    assert json.loads(command("restart", "shop", "--detach", "--json", "-m", "leak").out)["revision"] == 4
    assert shop.bodies(*RESTART, RestartRequest) == [RestartRequest(message="leak")]
    assert WATCH not in [(m, p) for m, p, _, _ in shop.asked]


def test_watch_ends_as_the_release_does(shop, command):
    assert command("watch", "shop").code == 0
    rolling = release(4, base=3, services=(RolloutView(service="web", state=RolloutState.PAUSED),), paused=True)
    seen(shop, app(service(converged=False), revision=4, release=rolling))
    done = command("watch", "shop", "--timeout", "300ms")
    assert done.code == 2
    assert "(release 4 is paused)" in done.err


def test_what_was_stable_before_anybody_looked_is_waited_for_until_the_app_is_as_it_should_be(shop, command):
    stable = release(3, state=STABLE)
    seen(
        shop,
        app(service(converged=False), revision=3, release=stable),
        app(service(converged=False), revision=3, release=stable),
        app(service(), revision=3, release=stable),
    )
    assert command("watch", "shop").code == 0
    seen(shop, app(service(converged=False), revision=3, release=stable))
    assert command("watch", "shop", "--timeout", "300ms").code == 2


def test_a_first_release_that_keeps_failing_ends_with_2_while_the_platform_tries_on(shop, command):
    broken = service("web", failed=True, converged=False, sentence="exits with 3 each time")
    seen(shop, app(broken, revision=1, release=release(1)))
    done = command("watch", "shop")
    assert done.code == 2
    assert "  web: exits with 3 each time" in done.err.splitlines()


def test_a_service_that_failed_during_an_update_is_left_to_the_releaser(shop, command):
    broken = service("web", failed=True, converged=False, sentence="keeps failing")
    seen(
        shop,
        app(broken, revision=4, release=release(4, base=3)),
        app(service(), revision=4, release=release(4, base=3, state=STABLE)),
    )
    assert command("watch", "shop").code == 0


def test_pausing_says_how_far_it_is_and_how_to_go_on(shop, command):
    going = (RolloutView(service="web", state=RolloutState.PAUSED, wanted=4, updated=1, old=3),)
    shop.answers["POST", "/v1/apps/shop/pause"] = app(
        service(converged=False), release=release(4, base=3, paused=True, services=going)
    )
    assert command("pause", "shop").out == (
        "shop release 4 is paused with 1 new task and 3 old tasks; `pilothouse resume shop` has it go on\n"
    )
    shop.answers["POST", "/v1/apps/shop/pause"] = app(service(), release=release(3, state=STABLE))
    assert command("pause", "shop").out == "shop is paused; no rollout is going on\n"
    assert json.loads(command("pause", "--json", "shop").out)["name"] == "shop"


def test_resuming_says_what_goes_on(shop, command):
    path = ("POST", "/v1/apps/shop/resume")
    shop.answers[path] = app(service(converged=False), release=release(4, base=3))
    assert command("resume", "shop").out == "shop release 4 goes on; `pilothouse watch shop` shows how it gets on\n"
    shop.answers[path] = app(service(), release=release(3, state=STABLE))
    assert command("resume", "shop").out == "shop is not paused; no rollout is going on\n"
    assert json.loads(command("resume", "--json", "shop").out)["name"] == "shop"


def test_interrupting_a_wait_leaves_the_release_going(shop, command, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pilothouse.cli.client.Client.watch_app", interrupted)
    done = command("watch", "shop")
    assert done.code == 130
    assert "interrupted; release 3 of shop goes on: `pilothouse watch shop`" in done.err


def test_ps_tells_new_tasks_from_old_ones_while_a_release_is_rolled_out(shop, command):
    shop.answers["GET", "/v1/tasks"] = page(task("web.1"), task("web.2", current=False), task("db.1"))
    going = (RolloutView(service="web", state=RolloutState.PAUSED, wanted=2, updated=1, old=1, waits_for="bob"),)
    shop.answers[APP] = app(
        service(converged=False, sentence="web.2 runs on an older spec"),
        service("db", converged=False, failed=True, sentence="db.1 keeps failing"),
        release=release(4, base=3, paused=True, services=going),
    )
    lines = command("ps", "shop").out.splitlines()
    assert lines[:3] == [
        "shop/db: db.1 keeps failing",
        "shop release 4 is paused",
        "shop/web: paused 1/2 new, 1 old; waits for bob",
    ]
    assert ["running, new" in line for line in lines[4:]] == [True, False, False]
    assert ["running, old" in line for line in lines[4:]] == [False, True, False]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"state": STABLE}, ""),
        ({"base": 0}, ""),
        ({"base": 3, "state": ReleaseState.FAILED, "sentence": "too slow"}, "shop release 4 failed: too slow"),
        ({"base": 3, "state": ReleaseState.ROLLING_BACK}, "shop release 4 rolling back"),
    ],
)
def test_ps_names_a_release_that_is_not_as_it_should_be(shop, command, fields, line):
    shop.answers["GET", "/v1/tasks"] = page(task())
    shop.answers[APP] = app(service(), release=release(4, **fields))
    lines = command("ps", "shop").out.splitlines()
    assert lines[:-2] == ([line] if line else [])
