"""What the commands about places ask, and how they say the answer."""

import json

import pytest

from pilothouse.cli.commands.cluster_settings import pool_of
from pilothouse.errors import InvalidRequestError, NotFoundError
from pilothouse.model.cluster import ClusterSpec, PoolPolicy
from pilothouse.model.placement import Pool
from pilothouse.model.placement_api import (
    AppLoss,
    Moved,
    Planned,
    RebalanceView,
    RuleAnswer,
    Simulation,
    Survival,
    WhyNot,
)
from pilothouse.model.release_api import PlannedAction
from tests.cli.fake_api import page, problem
from tests.cli.views import app, plan, planned, service

WHY = WhyNot(
    service="shop/web",
    node="b",
    suits=False,
    here=1,
    sentence="b has 1 task of shop/web, and one more cannot go there: it has no node.labels.disk",
    answers=(
        RuleAnswer(rule="ready", kept=True),
        RuleAnswer(rule="constraints", kept=False, sentence="has no node.labels.disk"),
    ),
)
LOST = Simulation(
    lost=("b",),
    sentence="without b 1 of 2 tasks would be made again on other nodes; shop would not survive it",
    moves=(
        Moved(app="shop", task="web.1", source="b", target="c", sentence="placed on c"),
        Moved(app="shop", task="db.1", source="b", sentence="no place: the data is on b"),
    ),
    apps=(
        AppLoss(app="blog", survives=True, sentence="blog goes on"),
        AppLoss(app="shop", survives=False, gone=("db",), sentence="shop loses db"),
    ),
)


def test_why_not_shows_every_rule(api, command):
    api.answers["GET", "/v1/apps/shop/services/web/why-not"] = WHY
    lines = command("why-not", "shop/web", "b").out.splitlines()
    assert lines[0] == WHY.sentence
    assert [line.split()[:2] for line in lines[2:]] == [["RULE", "KEPT"], ["ready", "yes"], ["constraints", "no"]]
    assert lines[-1].endswith("has no node.labels.disk")
    assert api.asked[-1][2] == {"node": "b"}
    assert json.loads(command("why-not", "--json", "shop/web", "b").out)["node"] == "b"


def test_why_not_takes_a_service_of_the_app_in_the_directory(api, command, here):
    (here / "compose.yaml").write_text("name: shop\nservices: {web: {image: x}}\n")
    api.answers["GET", "/v1/apps/shop/services/web/why-not"] = WHY
    assert command("why-not", "web", "b").code == 0
    refused = command("why-not", "shop/", "b")
    assert (refused.code, "write APP/SERVICE" in refused.err) == (3, True)


def test_simulate_names_apps_and_tasks_the_worst_first(api, command):
    api.answers["GET", "/v1/simulate"] = LOST
    lines = command("simulate", "--lose", "b", "--lose", "c").out.splitlines()
    assert lines[:3] == [LOST.sentence, "  shop loses db", "  blog goes on"]
    assert lines[5].split()[:3] == ["shop/web.1", "b", "c"]
    assert lines[6].split()[:3] == ["shop/db.1", "b", "-"]
    assert api.asked[-1][2] == {"lose": "b,c"}
    assert command("simulate").code == 3


def test_a_node_that_is_not_there_is_refused(api, command):
    api.answers["GET", "/v1/simulate"] = problem(NotFoundError("there is no node called 'x'"))
    assert command("simulate", "--lose", "x").code == 3


def test_cluster_set_sends_what_is_named(api, command):
    policy = PoolPolicy(most=50, reserved=10)
    api.answers["POST", "/v1/cluster/settings"] = ClusterSpec(pools={Pool.BATCH: policy}, rebalance_budget=4)
    done = command("cluster", "set", "--rebalance-budget", "4", "--pool", "batch=most:50,reserved:10")
    assert json.loads(api.asked[-1][3]) == {"rebalance_budget": 4, "pools": {"batch": {"most": 50, "reserved": 10}}}
    assert done.out.splitlines()[0] == "rebalance budget: 4 tasks an hour"
    assert [line.split() for line in done.out.splitlines()[2:]] == [
        ["services", "100", "%", "0", "%"],
        ["batch", "50", "%", "10", "%"],
        ["datastores", "100", "%", "0", "%"],
    ]
    assert command("cluster", "set").code == 3


@pytest.mark.parametrize(
    "text", ["jobs=most:5", "batch", "batch=5", "batch=most:x", "batch=most:1,most:2", "batch=least:1"]
)
def test_a_pool_that_cannot_be_read_says_how_it_is_written(text):
    with pytest.raises(InvalidRequestError, match="POOL=most:PERCENT,reserved:PERCENT"):
        pool_of(text)
    assert pool_of("services=reserved:20") == (Pool.SERVICES, PoolPolicy(reserved=20))


def test_a_plan_says_on_which_nodes_new_tasks_would_be(api, command, here):
    (here / "compose.yaml").write_text("name: shop\nservices: {web: {image: x}}\n")
    places = tuple(
        Planned(task=f"web.{number}", node="a", sentence="placed on a: 2 of 2 nodes suit") for number in range(1, 8)
    )
    waits = Planned(task="web.9", sentence="no node suits")
    web = planned("web", PlannedAction.CREATE, tasks=(0, 8), nodes={"a": 7, "b": 1}, places=(waits, *places))
    api.answers["POST", "/v1/apps/shop/plan"] = plan(web)
    lines = command("plan").out.splitlines()
    at = lines.index("    where: a (7), b")
    assert lines[at + 1] == "      web.1, web.2, web.3, web.4, web.5 …: placed on a: 2 of 2 nodes suit"
    assert not any("web.9" in line for line in lines)


def test_ps_says_what_the_loss_of_one_node_would_mean(api, command):
    weak = Survival(
        survives=False, sentence="does not survive the loss of b: db would be gone", losses={"b": "db gone"}
    )
    api.answers["GET", "/v1/apps/shop"] = app(service(), survival=weak)
    api.answers["GET", "/v1/tasks"] = page()
    assert command("ps", "shop").out.splitlines()[0] == "shop does not survive the loss of b: db would be gone"
    api.answers["GET", "/v1/apps/shop"] = app(service(), survival=Survival(survives=True, sentence="survives"))
    assert "survives" not in command("ps", "shop").out


def test_rebalance_says_what_is_moved_or_would_be(api, command):
    move = Moved(app="shop", task="web.1", source="a", target="b", sentence="b has 0 tasks of web")
    api.answers["POST", "/v1/rebalance"] = RebalanceView(sentence="1 task would be better", moves=(move,))
    lines = command("rebalance", "--plan").out.splitlines()
    assert json.loads(api.asked[-1][3]) == {"plan": True}
    assert (lines[0], lines[2].split()[:3]) == ("1 task would be better", ["shop/web.1", "a", "b"])
    assert json.loads(command("rebalance", "--json", "--most", "3").out)["sentence"] == "1 task would be better"
    assert json.loads(api.asked[-1][3]) == {"most": 3}
