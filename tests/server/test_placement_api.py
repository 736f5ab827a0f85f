"""The API about places: questions that change nothing, and what people decide about the cluster."""

import msgspec

from pilothouse.model.cluster import CLUSTER_ID, Cluster, ClusterSpec, PoolPolicy
from pilothouse.model.node import Node
from pilothouse.model.objects import AuditRecord, Service
from pilothouse.model.placement import Pool
from pilothouse.model.placement_api import Simulation, WhyNot
from pilothouse.model.states import Writer
from tests.server.harness import World, service, shop

SETTINGS = "/v1/cluster/settings"


async def cluster():
    world = World()
    for name in ("n1", "n2"):
        await world.store.update(Writer.AGENT, lambda tx, name=name: tx.put(Node(id=name)))
    made = Cluster(id=CLUSTER_ID, cluster="c", created_at=1.0)
    await world.store.update(Writer.API, lambda tx: tx.put(made))
    await world.call("PUT", "/v1/apps/shop", msgspec.to_builtins({"spec": shop(service("web", "web:1"))}))
    return world


async def test_why_not_and_simulate_answer_from_what_is_stored():
    world = await cluster()
    answer = await world.get("/v1/apps/shop/services/web/why-not?node=n2")
    found = msgspec.json.decode(answer.body, type=WhyNot)
    assert (found.node, found.suits, found.answers[0].rule) == ("n2", False, "ready")
    answer = await world.get("/v1/simulate?lose=n1,n2")
    assert msgspec.json.decode(answer.body, type=Simulation).lost == ("n1", "n2")


async def test_questions_about_what_is_not_there_are_refused():
    world = await cluster()
    assert (await world.get("/v1/apps/shop/services/db/why-not?node=n1")).status == 404
    assert (await world.get("/v1/apps/shop/services/web/why-not?node=n9")).status == 404
    assert (await world.get("/v1/simulate?lose=n9")).status == 404
    assert (await world.get("/v1/simulate?lose=,")).status == 400
    assert (await world.get("/v1/simulate")).status == 400


async def settings(world):
    return (await world.store.view(lambda tx: tx.get(Cluster, CLUSTER_ID))).spec


async def test_what_is_decided_about_the_cluster_is_kept_with_a_record_and_the_rest_stays():
    world = await cluster()
    first = {"rebalance_budget": 5, "pools": {"batch": {"most": 50, "reserved": 10}}}
    assert (await world.call("POST", SETTINGS, first)).status == 200
    again = await world.call("POST", SETTINGS, {"pools": {"services": {"reserved": 20}}})
    pools = {Pool.BATCH: PoolPolicy(most=50, reserved=10), Pool.SERVICES: PoolPolicy(reserved=20)}
    assert await settings(world) == ClusterSpec(rebalance_budget=5, pools=pools)
    assert msgspec.json.decode(again.body, type=ClusterSpec) == await settings(world)
    records = await world.store.view(lambda tx: [r for r in tx.find(AuditRecord) if r.action == "cluster.set"])
    assert [record.summary for record in records] == [
        "rebalance budget 5; batch 10 % reserved, 50 % at most",
        "rebalance budget 5; services 20 % reserved, 100 % at most; batch 10 % reserved, 50 % at most",
    ]
    await world.call("POST", SETTINGS, {})
    assert len(await world.store.view(lambda tx: [r for r in tx.find(AuditRecord) if r.action == "cluster.set"])) == 2


async def test_what_makes_no_sense_is_refused_and_nothing_is_changed():
    world = await cluster()
    for asked in (
        {"rebalance_budget": -1},
        {"pools": {"batch": {"most": 101}}},
        {"pools": {"batch": {"most": 10, "reserved": 20}}},
        {"pools": {"batch": {"reserved": 60}, "services": {"reserved": 60}}},
        {"pools": {"jobs": {}}},
    ):
        assert (await world.call("POST", SETTINGS, asked)).status == 400, asked
    assert await settings(world) == ClusterSpec()


async def test_one_host_has_no_cluster_to_decide_about():
    answer = await World().call("POST", SETTINGS, {"rebalance_budget": 1})
    assert answer.json["code"] == "PH114"
    assert await World().store.view(lambda tx: tx.find(Service)) == []


async def test_rebalancing_is_planned_without_a_trace_and_refused_beyond_reason():
    world = await cluster()
    planned = await world.call("POST", "/v1/rebalance", {"plan": True})
    assert planned.json == {"sentence": planned.json["sentence"]}
    assert (await world.call("POST", "/v1/rebalance", {})).status == 200
    assert (await world.call("POST", "/v1/rebalance", {"most": 0})).status == 400
    records = await world.store.view(lambda tx: [r for r in tx.find(AuditRecord) if r.action == "cluster.rebalance"])
    assert records == []
