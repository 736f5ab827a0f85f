"""What a cluster promises, as short stories; `interface.Cluster` says on which clusters they can be told."""

from pilothouse.model.states import TaskState
from tests.scenarios.cluster import apps

PATIENCE_SECONDS = 120.0
STEP_SECONDS = 0.5


async def until(cluster, holds, limit_seconds=PATIENCE_SECONDS, always=lambda seen: None):
    """Return what is seen once it *holds*; *always* looks at everything that is seen before."""
    waited = 0.0
    while True:
        seen = await cluster.look()
        always(seen)
        if holds(seen):
            return seen
        assert waited <= limit_seconds, f"not so after {limit_seconds:g} s: {seen.copies}"
        await cluster.passes(STEP_SECONDS)
        waited += STEP_SECONDS


def of(seen, service):
    """The nodes on which copies of a service live, by its slot."""
    return {key: nodes for key, nodes in seen.copies.items() if key.split(".")[0] == service}


def on(seen, node_id):
    """What lives on a node."""
    return sorted(key for key, nodes in seen.copies.items() if node_id in nodes)


def runs(name, replicas):
    """Whether each slot of a service has one live copy."""
    return lambda seen: (
        sorted(of(seen, name)) == [f"{name}.{slot}" for slot in range(1, replicas + 1)]
        and all(len(nodes) == 1 for nodes in of(seen, name).values())
    )


def web(replicas, image="web:1"):
    return apps.app("shop", apps.service("web", image, replicas=replicas))


async def a_node_is_drained_with_nothing_missing_meanwhile(cluster):
    replicas = len(cluster.nodes) * 2
    await cluster.up(web(replicas))
    seen = await until(cluster, runs("shop/web", replicas))
    leaving = max(cluster.nodes, key=lambda node: len(on(seen, node)))
    assert on(seen, leaving)
    most = 0

    def nothing_is_missing(seen):
        nonlocal most
        assert len(of(seen, "shop/web")) == replicas
        most = max(most, sum(len(nodes) for nodes in of(seen, "shop/web").values()))

    await cluster.drain(leaving)
    await until(cluster, lambda seen: not on(seen, leaving), 60 * replicas, nothing_is_missing)
    await until(cluster, runs("shop/web", replicas))
    assert most <= replicas + 1, "one task of a service moves at a time"
    await until(cluster, lambda seen: not seen.requests)
    await cluster.activate(leaving)


async def a_maintenance_ends_by_itself(cluster):
    await cluster.up(web(2))
    await until(cluster, runs("shop/web", 2))
    node = cluster.nodes[0]
    await cluster.drain(node, until=20.0)
    await until(cluster, lambda seen: not on(seen, node))
    await until(cluster, lambda seen: seen.nodes[node].spec.availability.value == "active", 180)
    assert (await cluster.look()).nodes[node].spec.maintenance is None


async def a_drain_is_taken_back_half_way(cluster):
    replicas = len(cluster.nodes) * 2
    await cluster.up(web(replicas))
    before = await until(cluster, runs("shop/web", replicas))
    leaving = max(cluster.nodes, key=lambda node: len(on(before, node)))
    await cluster.drain(leaving)
    await until(cluster, lambda seen: len(on(seen, leaving)) < len(on(before, leaving)))
    await cluster.activate(leaving)
    seen = await until(cluster, lambda seen: runs("shop/web", replicas)(seen) and not seen.requests)
    assert on(seen, leaving), "what had not moved yet stays"


async def the_leader_dies_in_the_middle_of_a_drain(cluster):
    replicas = len(cluster.nodes)
    await cluster.up(web(replicas))
    seen = await until(cluster, runs("shop/web", replicas))
    leaving = max(cluster.nodes, key=lambda node: len(on(seen, node)))
    await cluster.drain(leaving)
    await until(cluster, lambda seen: len(seen.copies) == replicas and any(len(n) > 1 for n in seen.copies.values()))
    await cluster.kill_leader()
    await until(cluster, lambda seen: not on(seen, leaving) and runs("shop/web", replicas)(seen), 60 * replicas)


async def a_job_on_a_drained_node_runs_to_its_end(cluster):
    await cluster.up(apps.batch(1))
    seen = await until(cluster, lambda seen: bool(seen.copies))
    (node,) = seen.copies["batch/job.1"]
    await cluster.drain(node)
    seen = await until(cluster, lambda seen: not seen.copies)
    (task,) = seen.tasks
    assert task.state is TaskState.COMPLETE


async def a_machine_that_lost_power_is_made_up_for_within_14_seconds(cluster):
    replicas = len(cluster.nodes) * 2
    await cluster.up(web(replicas))
    seen = await until(cluster, runs("shop/web", replicas))
    lost = cluster.nodes[-1]
    missing = len(on(seen, lost))
    assert missing
    await cluster.kill_host(lost)
    await until(cluster, runs("shop/web", replicas), 14.0)
    await cluster.start_host(lost)
    await until(cluster, lambda seen: seen.nodes[lost].state.value == "ready")
    await until(cluster, runs("shop/web", replicas))


async def what_must_not_run_twice_never_does_while_its_node_is_cut_off(cluster, *, up=True, down=True):
    await cluster.up(apps.single())
    seen = await until(cluster, runs("one/main", 1))
    (node,) = seen.copies["one/main.1"]

    def never_two(seen):
        assert len(seen.copies.get("one/main.1", ())) <= 1, "two live copies"

    await cluster.cut(node, up=up, down=down)
    seen = await until(cluster, lambda seen: seen.copies.get("one/main.1", (node,)) != (node,), 25.0, never_two)
    await cluster.heal(node)
    await until(cluster, lambda seen: seen.nodes[node].state.value == "ready", always=never_two)
    for _ in range(10):
        never_two(await cluster.look())
        await cluster.passes(STEP_SECONDS)
    await until(cluster, runs("one/main", 1), always=never_two)


async def what_must_not_run_twice_never_does_if_only_what_it_sends_is_lost(cluster):
    await what_must_not_run_twice_never_does_while_its_node_is_cut_off(cluster, down=False)


async def what_must_not_run_twice_never_does_if_only_what_it_is_sent_is_lost(cluster):
    await what_must_not_run_twice_never_does_while_its_node_is_cut_off(cluster, up=False)


async def a_cut_off_node_keeps_what_may_run_twice_and_gives_it_up_once_it_is_back(cluster):
    replicas = len(cluster.nodes)
    await cluster.up(web(replicas))
    seen = await until(cluster, runs("shop/web", replicas))
    lost = max(cluster.nodes, key=lambda node: len(on(seen, node)))
    kept = on(seen, lost)
    await cluster.cut(lost)
    twice = lambda seen: all(len(seen.copies.get(key, ())) == 2 for key in kept)  # noqa: E731
    seen = await until(cluster, twice, 20.0)
    assert on(seen, lost) == kept
    await cluster.heal(lost)
    await until(cluster, runs("shop/web", replicas), 20.0)


STORIES = (
    a_machine_that_lost_power_is_made_up_for_within_14_seconds,
    what_must_not_run_twice_never_does_while_its_node_is_cut_off,
    what_must_not_run_twice_never_does_if_only_what_it_sends_is_lost,
    what_must_not_run_twice_never_does_if_only_what_it_is_sent_is_lost,
    a_cut_off_node_keeps_what_may_run_twice_and_gives_it_up_once_it_is_back,
    a_node_is_drained_with_nothing_missing_meanwhile,
    a_maintenance_ends_by_itself,
    a_drain_is_taken_back_half_way,
    the_leader_dies_in_the_middle_of_a_drain,
    a_job_on_a_drained_node_runs_to_its_end,
)
