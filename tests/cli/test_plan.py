"""`plan`, and what `up` makes of a plan: done as it was looked at, or not at all."""

import json
import os
import pathlib

import pytest
from msgspec.structs import replace

from pilothouse import errors
from pilothouse.cli import foretold
from pilothouse.cli.plan_file import FORMAT
from pilothouse.model.api import DeployRequest, DeployResult, Refusal
from pilothouse.model.objects import FieldChange
from pilothouse.model.release_api import PlannedAction
from tests.cli.fake_api import events, ndjson, problem
from tests.cli.views import app, plan, planned, service

MANIFEST = "name: shop\nservices:\n  web: {image: 'web:1'}\n"
PLAN, PUT = ("POST", "/v1/apps/shop/plan"), ("PUT", "/v1/apps/shop")
OLD, NEW = "sha256:" + "a" * 64, "sha256:" + "b" * 64
REFUSAL = Refusal(
    service="web", key="services.web.privileged", value="true", grant="privileged", reason="it is root",
    command="pilothouse grant create shop privileged",
)  # fmt: skip
WHOLE = plan(
    planned("db", PlannedAction.KEEP, tasks=(1, 1)),
    planned("cache", PlannedAction.KEEP, tasks=(1, 1)),
    planned(
        "web",
        PlannedAction.REPLACE,
        tasks=(2, 2),
        changes=(
            FieldChange(path="task.container.environment.DEBUG", after="1"),
            FieldChange(path="image", before=OLD, after=NEW),
        ),
        rollout="rolling, 1 of 2 tasks at a time",
        waits_for=("db to be healthy",),
        steps=("migrate --all",),
        risks=("a gap: nobody answers; to avoid it write less",),
        image=NEW,
        stops=("t1", "t2"),
    ),
    planned("new", PlannedAction.CREATE, tasks=(0, 3), rollout="3 tasks are made at once"),
    planned("old", PlannedAction.REMOVE, tasks=(1, 0), stops=("t3",)),
    changes=(FieldChange(path="ownership.owner", before="ann", after="bob"),),
    warnings=("the image new:1 is not on the node and would have to be pulled",),
    supersedes="release 1 is being rolled out and would be superseded where it is",
)


@pytest.fixture
def shop(api, here):
    (here / "compose.yaml").write_text(MANIFEST)
    api.answers[PLAN] = WHOLE
    api.answers["POST", "/v1/images/ensure"] = ndjson({"ref": "web:1", "phase": "resolved"})
    api.answers[PUT] = DeployResult(app="shop", revision=2)
    api.answers["GET", "/v1/apps/shop/watch"] = events(("app", app(service("web"), revision=2)))
    return api


def asked(api):
    return [(method, path) for method, path, _, _ in api.asked if method != "GET"]


def test_a_plan_has_a_block_for_each_service_that_changes_and_one_line_for_the_others(shop, command):
    done = command("plan")
    assert done.code == 0
    assert done.out.splitlines() == [
        "shop: it would be release 2 after release 1",
        "! release 1 is being rolled out and would be superseded where it is",
        "! the image new:1 is not on the node and would have to be pulled",
        "  ownership.owner: ann → bob",
        "~ web: replace, 2 tasks",
        "    environment.DEBUG: 1",
        "    image: sha256:aaaaaaaaaaaa → sha256:bbbbbbbbbbbb",
        "    waits for db to be healthy",
        "    once, before it: migrate --all",
        "    how: rolling, 1 of 2 tasks at a time",
        "    ! risk: a gap: nobody answers; to avoid it write less",
        "+ new: create, 3 tasks",
        "    how: 3 tasks are made at once",
        "- old: remove, 1 → 0 tasks",
        "= kept: db, cache",
        "3 services would change, 3 running tasks would be stopped, 1 risk",
    ]
    assert asked(shop) == [PLAN], "nothing else was asked for"


def test_services_that_are_rolled_out_alike_are_told_so_once(shop, command):
    alike = [planned(name, tasks=(0, 1), rollout="1 task is made at once") for name in "ab"]
    shop.answers[PLAN] = plan(*alike, planned("c", tasks=(0, 2), rollout="2 tasks are made at once"))
    said = [line for line in command("plan").out.splitlines() if "how:" in line]
    assert said == ["    how: 1 task is made at once", "    how: as a", "    how: 2 tasks are made at once"]


def test_a_plan_that_changes_nothing_says_so(shop, command):
    shop.answers[PLAN] = plan(planned("web", PlannedAction.KEEP), release=1)
    done = command("plan")
    assert (done.code, done.out.splitlines()[0]) == (0, "shop: nothing would change (release 1)")


def test_a_plan_that_would_be_refused_ends_with_3_and_the_command_that_grants(shop, command, here):
    shop.answers[PLAN] = plan(refusals=(REFUSAL,), release=2)
    done = command("plan", "--out", "change.plan")
    assert done.code == 3
    assert done.out.splitlines()[0] == "shop: it would be refused, and nothing would be changed"
    assert "    allow it: pilothouse grant create shop privileged" in done.out.splitlines()
    assert not (here / "change.plan").exists()
    shop.answers[PLAN] = plan(errors=("services.web: no",), release=1)
    done = command("plan")
    assert (done.code, "refused: services.web: no" in done.out.splitlines()) == (3, True)


def test_a_missing_image_that_is_built_is_refused_with_the_command_that_builds_it(shop, command, here):
    (here / "compose.yaml").write_text("name: shop\nservices:\n  web: {image: 'web:1', build: .}\n")
    shop.answers[PLAN] = replace(WHOLE, errors=("services.web.image: the image web:1 is not on the node",))
    done = command("plan")
    assert done.code == 3
    assert any(line.startswith("    build it: docker build ") for line in done.out.splitlines()), done.out
    shop.answers["POST", "/v1/images/ensure"] = ndjson({"ref": "web:1", "phase": "failed", "message": "none"})
    done = command("up")
    assert done.code == 3
    assert "build it: docker build " in done.err
    assert PUT not in asked(shop)


def test_a_plan_as_json_is_the_servers_own(shop, command):
    done = command("plan", "--json")
    assert json.loads(done.out)["services"][2]["stops"] == ["t1", "t2"]
    assert done.err == ""


def test_up_says_in_one_line_what_it_is_going_to_do(shop, command):
    done = command("up", "--detach")
    assert done.err.splitlines() == [
        "shop release 2: create new; replace web; remove old; keep db, cache (1 risk: `pilothouse plan` tells it "
        "beforehand)",
        "release 1 is being rolled out and would be superseded where it is",
    ]


def test_a_plan_is_kept_for_its_owner_alone_and_up_does_it(shop, command, here):
    assert command("plan", "--out", "change.plan").code == 0
    kept = here / "change.plan"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [each for each in os.listdir(here) if each.startswith(".")] == []
    assert command("up", "--detach", "--plan", "change.plan").code == 0
    assert [each.expect for each in shop.bodies(*PUT, DeployRequest)] == [1]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"digest": "d2"}, "a value that is not shown"),
        ({"base": 3, "release": 4}, "the app's newest release is 3, and the plan is of release 1"),
        ({"digest": "d2", "services": WHOLE.services[:3]}, "new is in the plan and not in the file"),
        (
            {"services": (replace(WHOLE.services[2], image=OLD), *WHOLE.services[:2], *WHOLE.services[3:])},
            "web: its image means sha256:aaaaaaaaaaaa now and meant sha256:bbbbbbbbbbbb",
        ),
        (
            {"digest": "d2", "changes": (FieldChange(path="ownership.owner", before="ann", after="eve"),)},
            "the app: ownership.owner: ann → eve, but the plan says ownership.owner: ann → bob",
        ),
    ],
)
def test_a_kept_plan_that_is_not_what_would_be_done_is_refused_with_what_differs(shop, command, now, said):
    command("plan", "--out", "change.plan")
    shop.answers[PLAN] = replace(WHOLE, **now)
    done = command("up", "--plan", "change.plan")
    assert done.code == 3
    assert "error PH110: the plan of shop is stale, and nothing was changed" in done.err
    assert said in done.err
    assert PUT not in asked(shop)


def test_a_kept_plan_that_goes_stale_at_the_last_moment_is_not_made_again(shop, command):
    command("plan", "--out", "change.plan")
    shop.answers[PUT] = problem(errors.PlanStaleError("shop is at release 2 and the plan is of release 1"))
    assert command("up", "--plan", "change.plan").code == 3
    assert asked(shop).count(PUT) == 1


def _overtaken(shop, again, first=WHOLE):
    """Have the app be at another release once it is deployed; the plan made then is *again*."""
    plans, results = iter([first]), iter([problem(errors.PlanStaleError("shop is at release 2"))])
    shop.answers[PLAN] = lambda *_: next(plans, again)
    shop.answers[PUT] = lambda *_: next(results, DeployResult(app="shop", revision=3))


def test_a_plan_that_goes_stale_during_up_is_made_again_once_if_it_means_the_same(shop, command):
    _overtaken(shop, replace(WHOLE, base=2, release=3))
    assert command("up", "--detach").code == 0
    assert [each.expect for each in shop.bodies(*PUT, DeployRequest)] == [1, 2]


def test_an_image_that_was_pulled_meanwhile_does_not_make_a_plan_stale(shop, command):
    web = WHOLE.services[2]
    unknown = (*web.changes[:1], FieldChange(path="image", before=OLD, after="web:2 (not on the node)"))
    missing = replace(
        WHOLE, services=(*WHOLE.services[:2], replace(web, image="", changes=unknown), *WHOLE.services[3:])
    )
    _overtaken(shop, replace(WHOLE, base=2, release=3), first=missing)
    assert command("up", "--detach").code == 0


def test_up_is_refused_if_it_would_do_something_else_by_now(shop, command):
    _overtaken(shop, replace(WHOLE, base=2, release=3, services=WHOLE.services[:4]))
    done = command("up", "--detach")
    assert done.code == 3
    assert "error PH110: shop is at release 2" in done.err
    assert "old is in the plan and not in the file" in done.err
    assert asked(shop).count(PUT) == 1


def test_up_is_done_if_somebody_else_has_done_the_same(shop, command):
    kept = tuple(replace(each, action=PlannedAction.KEEP, changes=()) for each in WHOLE.services)
    _overtaken(shop, replace(WHOLE, base=2, release=2, services=kept, changes=()))
    assert command("up", "--detach").code == 0


def test_a_file_that_is_no_plan_is_refused_before_anything_is_asked(shop, command, here):
    cases = {"none": None, "text": "{}", "other": '{"plan": 1}', "newer": json.dumps(
        {"format": FORMAT + 1, "plan": {"app": "shop", "base": 1, "release": 2}}
    )}  # fmt: skip
    for name, content in cases.items():
        if content is not None:
            (here / name).write_text(content)
        done = command("up", "--plan", name)
        assert done.code == 3, name
        assert "PH105" in done.err
        assert name in done.err
    assert asked(shop) == []


def test_a_plan_that_cannot_be_kept_says_why(shop, command):
    done = command("plan", "--out", str(pathlib.Path("nowhere") / "change.plan"))
    assert done.code == 3
    assert "cannot be written to nowhere/change.plan: No such file or directory" in done.err


def test_differences_are_none_between_equal_plans_and_name_other_apps():
    assert foretold.differences(WHOLE, WHOLE) == ()
    assert foretold.differences(WHOLE, replace(WHOLE, app="blog")) == (
        "the plan is of shop, and the file of blog",
    )  # fmt: skip
