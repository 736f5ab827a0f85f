"""`up` and `down`: from a file to an end that says why."""

import json
import time

import pytest

from pilothouse import errors
from pilothouse.model.api import DeployRequest, DeployResult, Explanation, ImageRequest, Refusal
from pilothouse.model.release import ReleaseState
from pilothouse.model.rollout import Evidence
from pilothouse.model.wire import ImageProgress
from tests.cli.fake_api import events, ndjson, problem
from tests.cli.views import app, plan, release, service

MANIFEST = "name: shop\nservices:\n  web: {image: 'web:1'}\n  db: {image: 'db:1'}\n"
PUT = ("PUT", "/v1/apps/shop")
PLAN = ("POST", "/v1/apps/shop/plan")
WATCH = ("GET", "/v1/apps/shop/watch")
ENSURE = ("POST", "/v1/images/ensure")


@pytest.fixture
def shop(api, here):
    (here / "compose.yaml").write_text(MANIFEST)
    api.answers[PUT] = DeployResult(app="shop", revision=2, created=("web",), unchanged=("db",))
    api.answers[PLAN] = plan()
    api.answers[ENSURE] = ndjson(
        ImageProgress(ref="web:1", phase="present"), ImageProgress(ref="web:1", phase="resolved")
    )
    api.answers[WATCH] = events(("app", app(service("web"), service("db"), revision=2)))
    return api


def test_up_ends_well_once_every_service_is_as_the_manifest_says(shop, command):
    waiting = service("web", converged=False, healthy=0, running=0, sentence="waits for db to be healthy")
    shop.answers[WATCH] = events(
        ("app", app(waiting, service("db"), revision=2)), ("app", app(service("web"), service("db"), revision=2))
    )
    done = command("up")
    assert done.code == 0
    assert done.out.startswith("shop: 2 services as the manifest says (release 2, ")
    assert done.err.splitlines() == [
        "shop release 2: create web; keep db",
        "shop/db: done: 1/1 healthy",
        "shop/web: done: 1/1 healthy",
    ]


def test_up_plans_first_then_makes_images_present_then_deploys_what_was_planned(shop, command):
    command("up")
    assert [(m, p) for m, p, _, _ in shop.asked if m != "GET"] == [PLAN, ENSURE, ENSURE, PUT]
    assert [(each.dry_run, each.expect) for each in shop.bodies(*PUT, DeployRequest)] == [(False, 1)]
    assert [each.ref for each in shop.bodies(*ENSURE, ImageRequest)] == ["db:1", "web:1"]


def test_a_view_of_the_revision_before_is_not_the_end(shop, command):
    shop.answers[WATCH] = events(
        ("app", app(service("web"), revision=1)), ("app", app(service("web", failed=True, converged=False), revision=2))
    )
    assert command("up").code == 2


def test_a_failed_service_is_told_with_its_cause_and_last_lines(shop, command):
    broken = service("web", failed=True, converged=False, running=0, healthy=0, sentence="exits with 3 each time")
    shop.answers[WATCH] = events(("app", app(broken, service("db"), revision=2)))
    shop.answers["GET", "/v1/explain"] = Explanation(
        object="service/shop/web", sentence="…", log_tail=("no\x1b[2J config",)
    )
    done = command("up")
    assert done.code == 2
    said = done.err.splitlines()
    assert "error PH108: shop is not what the manifest says" in said
    assert "  web: exits with 3 each time" in said
    assert "    | no config" in said
    assert said[-1] == "  `pilothouse explain shop/web` says more"
    assert done.out == ""


def test_a_deployment_that_takes_too_long_ends_with_what_is_missing(shop, command):
    slow = service("web", converged=False, healthy=0, sentence="its startup probe has not passed yet")
    shop.answers[WATCH] = events(("app", app(slow, revision=2)))
    done = command("up", "--timeout", "300ms")
    assert done.code == 2
    assert "is not what the manifest says after 0.3 s (release 2 is rolling); the platform goes on trying" in done.err
    assert "its startup probe has not passed yet" in done.err


def test_refusals_name_key_value_reason_and_grant_and_leave_a_record(shop, command):
    refusals = (
        Refusal(service="web", key="services.web.privileged", value="true", grant="privileged", reason="it is root",
                command="pilothouse grant create shop privileged --service web --reason \"WHY\""),
        Refusal(service="web", key="services.web.use_api_socket", value="true", grant="", reason="it is the engine"),
    )  # fmt: skip
    shop.answers[PLAN] = plan(refusals=refusals)
    shop.answers[PUT] = problem(errors.PolicyDeniedError("no"), refusals=refusals)
    done = command("up")
    assert done.code == 3
    assert done.err.splitlines() == [
        "error PH103: Refused by policy: 2 things in the manifest need a grant",
        "  services.web.privileged = true: it is root",
        '    allow it: pilothouse grant create shop privileged --service web --reason "WHY"',
        "  services.web.use_api_socket = true: it is the engine",
        "    no grant can allow it",
    ]
    assert [each.dry_run for each in shop.bodies(*PUT, DeployRequest)] == [False]
    assert ENSURE not in [(m, p) for m, p, _, _ in shop.asked]


def test_an_image_that_cannot_be_had_refuses_before_anything_changes(shop, command):
    shop.answers[ENSURE] = ndjson(ImageProgress(ref="db:1", phase="failed", message="db:1 is not there; build it"))
    done = command("up")
    assert done.code == 3
    assert done.err.splitlines()[-1] == "error PH107: db:1 is not there; build it"
    assert shop.bodies(*PUT, DeployRequest) == []


def test_a_missing_image_with_a_build_section_says_how_it_is_built(shop, command, here):
    (here / "compose.yaml").write_text("name: shop\nservices: {web: {build: ./web}}\n")
    shop.answers[ENSURE] = ndjson(ImageProgress(ref="shop-web", phase="failed", message="there is no image shop-web"))
    done = command("up")
    assert done.code == 3
    assert done.err.splitlines()[-1] == f"  build it: docker build -t shop-web {here}/web"


def test_what_a_release_is_for_is_sent_with_it(shop, command):
    assert command("up", "-m", "new prices").code == 0
    assert [each.message for each in shop.bodies(*PUT, DeployRequest)] == ["new prices"]


def test_a_release_that_is_rolled_back_ends_with_1_and_says_what_runs(shop, command):
    evidence = Evidence(service="web", task="web.1", cause="it exited with code 3", log_tail=("no config",))
    shop.answers["GET", "/v1/apps/shop/releases/2"] = release(
        2, base=1, state=ReleaseState.ROLLED_BACK, evidence=evidence
    )
    undo = release(3, base=1, undoes=2, copies=1, state=ReleaseState.STABLE)
    shop.answers[WATCH] = events(("app", app(service("web"), service("db"), revision=3, release=undo)))
    done = command("up")
    assert done.code == 1
    assert done.out == ""
    assert "release 3 runs, which repeats release 1" in done.err
    assert "    | no config" in done.err.splitlines()


def test_json_writes_one_document_and_nothing_else(shop, command):
    done = command("up", "--json")
    assert json.loads(done.out)["converged"] is True
    assert done.err == ""


def test_detached_up_returns_once_it_is_recorded(shop, command):
    done = command("up", "--detach", "--json")
    assert json.loads(done.out)["revision"] == 2
    assert WATCH not in [(m, p) for m, p, _, _ in shop.asked]


def test_interrupting_up_says_that_the_release_goes_on(shop, command, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pilothouse.cli.client.Client.watch_app", interrupted)
    done = command("up")
    assert done.code == 130
    assert "interrupted; release 2 of shop goes on: `pilothouse watch shop`" in done.err


def test_a_broken_watch_is_taken_up_again(shop, command):
    answers = iter([[*events(("app", app(service(converged=False), revision=2))), None]])
    whole = events(("app", app(service(), revision=2)))
    shop.answers[WATCH] = lambda *_: next(answers, whole)
    assert command("up").code == 0


def test_a_broken_manifest_is_refused_with_every_finding(shop, command, here):
    (here / "compose.yaml").write_text("name: shop\nservices:\n  web: {image: 1, portz: 2}\n  db: {imag: x}\n")
    done = command("up")
    assert done.code == 3
    assert "error PH101" in done.err
    assert "portz" in done.err
    assert "imag" in done.err
    assert shop.asked == []


def test_a_wrong_duration_is_refused_before_anything_is_read(shop, command):
    done = command("up", "--timeout", "10")
    assert done.code == 3
    assert "'10' is not a duration" in done.err
    assert shop.asked == []


def test_down_waits_until_nothing_is_left(shop, command):
    shop.answers["DELETE", "/v1/apps/shop"] = app(service(), removing=True)
    shop.answers[WATCH] = events(("app", app(service(removing=True), removing=True)), ("gone", {}))
    done = command("down", "--volumes")
    assert (done.code, done.out) == (0, "shop is gone, its volumes too\n")
    assert ("DELETE", "/v1/apps/shop", {"volumes": "true"}, b"") in shop.asked


def test_down_of_an_app_that_is_gone_before_it_is_watched_is_done(shop, command):
    shop.answers["DELETE", "/v1/apps/shop"] = app(removing=True)
    del shop.answers[WATCH]
    assert command("down", "shop").code == 0


def test_down_that_takes_too_long_says_what_is_left(shop, command):
    shop.answers["DELETE", "/v1/apps/shop"] = app(service(), removing=True)
    shop.answers[WATCH] = events(("app", app(service(removing=True), removing=True)))
    done = command("down", "--timeout", "300ms", "shop")
    assert done.code == 2
    assert "shop is not gone after 0.3 s (left: web)" in done.err


def test_a_program_that_ends_at_once_was_not_up_although_it_ran_for_a_moment(shop, command):
    runs = service("web", settles_at=time.time() + 5)
    broken = service("web", failed=True, converged=False, running=0, healthy=0, sentence="exits with 3 each time")
    answers = [
        events(("app", app(runs, revision=2))),
        events(("app", app(runs, revision=2)), ("app", app(broken, revision=2))),
        events(("app", app(broken, revision=2))),
    ]
    shop.answers[WATCH] = lambda query, body: answers.pop(0) if len(answers) > 1 else answers[0]
    shop.answers["GET", "/v1/explain"] = Explanation(object="service/shop/web", sentence="…")
    done = command("up")
    assert done.code == 2
    assert "  web: exits with 3 each time" in done.err.splitlines()
