"""Where images are, when there are several nodes: looked for where the service could run, and noted where they are."""

import msgspec
import pytest

from pilothouse.errors import NodeUnavailableError
from pilothouse.model.api import DeployRequest
from pilothouse.model.node import Node, NodeDescription, NodeSpec, NodeState
from pilothouse.model.objects import ResolvedImage, Service, Task
from pilothouse.model.placement import Placement
from pilothouse.model.release_api import PlanView
from pilothouse.model.spec import AppSpec, TaskSpec
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.suits import has_image
from pilothouse.model.wire import ImageProgress
from pilothouse.server.deploy.noting import AGAIN_SECONDS, Noting
from pilothouse.server.deploy.whereabouts import Site
from tests.server.harness import SimulatedNode, World, service, shop

APP = "/v1/apps/shop"


def wanting(image="web:1", constraint="", **container):
    made = service("web", image, **container)
    asked = Placement(constraints=(constraint,) if constraint else ())
    return shop(msgspec.structs.replace(made, task=msgspec.structs.replace(made.task, placement=asked)))


class Cluster(World):
    """Nodes n1, n2 … that have joined and are connected."""

    @classmethod
    async def of(cls, *nodes, **labels):
        world = cls(node=nodes[0])
        for number, node in enumerate(nodes, 1):
            world.context.nodes.connect(f"n{number}", node)
            told = Node(
                id=f"n{number}",
                description=NodeDescription(os="linux", arch="x86_64"),
                spec=NodeSpec(labels=labels.get(f"n{number}", {})),
            )
            await world.store.update(
                Writer.AGENT, lambda tx, told=told: tx.put(msgspec.structs.replace(told, spec=NodeSpec()))
            )
            if told.spec != NodeSpec():
                await world.store.update(
                    Writer.API,
                    lambda tx, told=told: tx.put(msgspec.structs.replace(tx.get(Node, told.id), spec=told.spec)),
                )
        return world

    async def deploy(self, spec):
        return await self.call("PUT", APP, msgspec.to_builtins(DeployRequest(spec=spec)))

    async def plan(self, spec):
        answer = await self.call("POST", f"{APP}/plan", msgspec.to_builtins(DeployRequest(spec=spec)))
        return msgspec.json.decode(answer.body, type=PlanView)

    async def image(self):
        return (await self.store.view(lambda tx: tx.get(Service, "shop/web"))).image


def with_digest():
    node = SimulatedNode()
    node.digests = {"web:1": "web@sha256:web:1"}
    return node


async def test_an_image_of_a_registry_can_be_had_by_every_node_and_nobody_else_is_asked():
    first, other = with_digest(), SimulatedNode(())
    world = await Cluster.of(first, other)
    assert (await world.deploy(wanting())).status == 200
    assert await world.image() == ResolvedImage(ref="web:1", id="sha256:web:1", digest="web@sha256:web:1")
    assert other.asked == []


async def test_an_image_of_no_registry_is_noted_with_the_nodes_that_have_it():
    world = await Cluster.of(SimulatedNode(), SimulatedNode(()), SimulatedNode())
    assert (await world.deploy(wanting())).status == 200
    assert (await world.image()).nodes == ("n1", "n3")


async def test_an_image_that_is_on_another_node_only_is_found_there():
    world = await Cluster.of(SimulatedNode(()), SimulatedNode())
    assert (await world.plan(wanting())).warnings == ()
    assert (await world.deploy(wanting())).status == 200
    assert (await world.image()).nodes == ("n2",)


async def test_an_image_that_must_not_be_pulled_stays_where_it_is_although_it_has_a_digest():
    world = await Cluster.of(with_digest(), SimulatedNode(()))
    assert (await world.deploy(wanting(pull_policy="never"))).status == 200
    assert (await world.image()).nodes == ("n1",)


async def test_an_image_is_looked_for_where_the_service_could_run():
    first, second = SimulatedNode(), SimulatedNode()
    world = await Cluster.of(first, second, n2={"disk": "ssd"})
    assert (await world.deploy(wanting(constraint="node.labels.disk == ssd"))).status == 200
    assert first.asked == []
    assert (await world.image()).nodes == ("n2",)


async def test_an_image_that_no_node_has_is_refused_as_on_one_host():
    world = await Cluster.of(SimulatedNode(()), SimulatedNode(()))
    refused = await world.deploy(wanting())
    assert (refused.status, refused.json["code"]) == (422, "PH107")
    (warning,) = (await world.plan(wanting())).warnings
    assert (
        warning
        == "services.web.image: the image web:1 is not on any node that could run it and would have to be pulled"
    )


async def test_nodes_that_mean_different_images_by_one_name_are_told_and_most_of_them_win():
    odd = SimulatedNode(())
    odd.images = {"web:1": "sha256:other"}
    world = await Cluster.of(odd, SimulatedNode(), SimulatedNode())
    done = await world.deploy(wanting())
    assert done.json["warnings"] == [
        "services.web.image: the nodes mean different images by web:1 (other on n1, web:1 on n2, web:1 on n3); the one "
        "that most have is taken: build it once and load it on each, or push it to a registry"
    ]
    assert (await world.image()).nodes == ("n2", "n3")


async def test_deploying_again_notes_new_nodes_and_keeps_those_that_are_away():
    late = SimulatedNode(())
    world = await Cluster.of(SimulatedNode(), late, SimulatedNode())
    await world.deploy(wanting())
    world.context.nodes.disconnect("n3")
    again = await world.deploy(wanting())
    assert again.json["revision"] == 1
    late.images = {"web:1": "sha256:web:1"}
    noted = (await world.deploy(wanting())).json
    assert (noted.get("changed", []), noted["unchanged"], noted["revision"]) == ([], ["web"], 1)
    assert (await world.image()).nodes == ("n1", "n2", "n3")


async def test_making_an_image_present_begins_where_it_is():
    far = SimulatedNode()
    world = await Cluster.of(SimulatedNode(()), far)
    answer = await world.call("POST", "/v1/images/ensure", {"ref": "web:1", "policy": "missing"})
    assert b'"resolved"' in answer.body


async def test_a_rollback_finds_the_old_image_on_any_node():
    other = SimulatedNode()
    world = await Cluster.of(SimulatedNode(()), other)
    await world.deploy(wanting())
    await world.deploy(wanting("img"))
    back = await world.call("POST", f"{APP}/rollback", {"release": 1})
    assert back.status == 200, back
    assert (await world.image()).nodes == ("n2",)


class Silent(SimulatedNode):
    async def ensure_image(self, ref, policy, platform=""):
        self.asked.append((ref, policy, platform))
        raise NodeUnavailableError("gone")
        yield


async def test_a_node_that_does_not_answer_counts_as_one_that_has_not_the_image():
    world = await Cluster.of(SimulatedNode(), Silent())
    assert (await world.deploy(wanting())).status == 200
    assert (await world.image()).nodes == ("n1",)


class Dying(SimulatedNode):
    """Says that it is at it, and nothing more."""

    async def ensure_image(self, ref, policy, platform=""):
        yield ImageProgress(ref=ref, phase="pulling")


@pytest.mark.parametrize(
    "nodes", [[Dying(())], [Silent(())], [SimulatedNode(()), Dying(())], [Dying(()), SimulatedNode(())]]
)
async def test_a_node_that_dies_while_it_is_asked_for_an_image_is_no_fault_of_the_manifest(nodes):
    world = await Cluster.of(*nodes)
    refused = await world.deploy(wanting())
    assert (refused.status, refused.json["code"], refused.json["retryable"]) == (503, "PH204", True)


async def turn(world, noting):
    """Have the loop look once at everything that was committed since it looked last."""
    if not hasattr(noting, "since"):
        noting.since = await world.store.view(lambda tx: (noting.survey(tx), tx.revision)[1])
    for commit in await world.store.history(noting.since, 1000):
        noting.note(commit)
        noting.since = commit.revision
    return await noting.act()


async def be(world, node_id, state):
    def write(tx):
        tx.put(msgspec.structs.replace(tx.get(Node, node_id), state=state))

    await world.store.update(Writer.NODES, write)


@pytest.fixture
async def away():
    """Three nodes that have an image, of which the second was away when it was deployed; and the loop that notes."""
    world = await Cluster.of(SimulatedNode(), SimulatedNode(), SimulatedNode(()))
    for node_id in ("n1", "n2", "n3"):
        await be(world, node_id, NodeState.READY)
    await be(world, "n2", NodeState.DOWN)
    second = world.context.nodes.of("n2")
    world.context.nodes.disconnect("n2")
    await world.deploy(wanting())
    assert (await world.image()).nodes == ("n1",)
    noting = Noting(world.context)
    await turn(world, noting)
    return world, noting, second


async def test_a_node_that_was_away_at_the_deployment_is_asked_when_it_is_back_and_used_from_then_on(away):
    world, noting, second = away
    waiting = await place_of_a_task(world, TaskState.PENDING)
    placed = await place_of_a_task(world, TaskState.ASSIGNED)
    await be(world, "n2", NodeState.READY)
    assert await turn(world, noting) == world.clock.now() + AGAIN_SECONDS, "it has no session yet"
    world.context.nodes.connect("n2", second)
    assert await turn(world, noting) is None
    assert (await world.image()).nodes == ("n1", "n2")
    images = await world.store.view(lambda tx: {task.id: task.image.nodes for task in tx.find(Task)})
    assert images == {waiting: ("n1", "n2"), placed: ("n1",)}, "what waits for a node hears of it, what has one stays"
    asked = len(second.asked)
    await turn(world, noting)
    assert len(second.asked) == asked, "it is asked once"


@pytest.mark.parametrize("asked_before", [False, True])
async def test_what_is_known_of_an_image_for_one_service_is_asked_for_another(away, asked_before):
    world, noting, second = away
    world.context.nodes.connect("n2", second)
    await be(world, "n2", NodeState.READY)
    if asked_before:
        await turn(world, noting)
    else:
        await world.deploy(wanting())
    assert (await world.image()).nodes == ("n1", "n2")
    world.context.nodes.disconnect("n2")
    blog = msgspec.structs.replace(wanting(), name="blog")
    assert (await world.call("PUT", "/v1/apps/blog", msgspec.to_builtins(DeployRequest(spec=blog)))).status == 200
    world.context.nodes.connect("n2", second)
    await turn(world, noting)
    assert (await world.store.view(lambda tx: tx.get(Service, "blog/web"))).image.nodes == ("n1", "n2")


async def test_a_node_that_has_another_image_by_the_name_or_none_is_not_noted_and_asked_again_when_it_comes_again(away):
    world, noting, second = away
    second.images = {"web:1": "sha256:other"}
    world.context.nodes.connect("n2", second)
    await be(world, "n2", NodeState.READY)
    await turn(world, noting)
    assert (await world.image()).nodes == ("n1",)
    second.images = {"web:1": "sha256:web:1"}
    await turn(world, noting)
    assert (await world.image()).nodes == ("n1",)
    for state in (NodeState.DOWN, NodeState.READY):
        await be(world, "n2", state)
    await turn(world, noting)
    assert (await world.image()).nodes == ("n1", "n2")


async def test_a_node_on_which_the_service_could_not_run_is_not_asked(away):
    world, noting, second = away
    await world.store.update(
        Writer.API, lambda tx: tx.put(msgspec.structs.replace(tx.get(Service, "shop/web"), spec=only_on_ssd()))
    )
    world.context.nodes.connect("n2", second)
    await be(world, "n2", NodeState.READY)
    await turn(world, noting)
    assert second.asked == []


async def test_a_waiting_task_hears_of_an_image_that_a_deployment_found_on_another_node(away):
    world, noting, _ = away
    waiting = await place_of_a_task(world, TaskState.PENDING)
    world.context.nodes.of("n3").images = {"web:1": "sha256:web:1"}
    await world.deploy(wanting())
    await turn(world, noting)
    assert (await world.store.view(lambda tx: tx.get(Task, waiting))).image.nodes == ("n1", "n3")


def only_on_ssd():
    return wanting(constraint="node.labels.disk == ssd").services[0]


async def place_of_a_task(world, state):
    """Make a task of the service that came as far as *state* with what is known of its image, and return its id."""

    def make(tx):
        service = tx.get(Service, "shop/web")
        return tx.put(
            Task(
                id=world.context.ids.new(),
                app="shop",
                service="web",
                slot=1,
                spec=service.spec.task,
                image=service.image,
                fingerprint="0123456789abcdef",
            )
        )

    made = await world.store.update(Writer.ORCHESTRATOR, make)
    for writer, reached, node in (
        (Writer.RESOURCES, TaskState.PENDING, ""),
        (Writer.SCHEDULER, TaskState.ASSIGNED, "n1"),
    ):
        if reached <= state:
            await world.store.update(
                writer,
                lambda tx, reached=reached, node=node: tx.put(
                    msgspec.structs.replace(tx.get(Task, made.id), state=reached, node_id=node)
                ),
            )
    return made.id


async def test_that_nobody_has_an_image_is_believed_only_if_somebody_answered():
    nodes = (await Cluster.of(Silent(), SimulatedNode(()))).context.nodes
    both = await Site(nodes).ask(["n1", "n2"], "web:1", "")
    assert both.believed().have == {}
    with pytest.raises(NodeUnavailableError):
        both.believed(sure=True)
    alone = await Site(nodes).ask(["n1"], "web:1", "")
    with pytest.raises(NodeUnavailableError):
        alone.believed()


def test_a_node_says_why_it_cannot_run_an_image():
    node = Node(id="n1", description=NodeDescription(os="linux", arch="aarch64"))
    assert has_image(ResolvedImage(ref="web:1"), node) == ""
    assert has_image(ResolvedImage(ref="web:1", platform="linux/arm64", nodes=("n1", "n2")), node) == ""
    assert has_image(ResolvedImage(ref="web:1", nodes=("n2",)), node) == (
        "has no image web:1, which came from no registry"
    )
    assert has_image(ResolvedImage(ref="web:1", platform="linux/amd64"), node) == (
        "is linux/arm64, and the image web:1 is for linux/amd64"
    )


def test_a_site_without_a_suiting_node_asks_all():
    class Connected:
        connected = ("n1", "n2")

    spec = wanting(constraint="node.id == n9")
    assert Site(Connected(), [Node(id="n1")]).candidates(spec, {"web"}) == ("n1", "n2")
    assert Site(Connected(), [Node(id="n2")]).candidates(AppSpec(name="shop", services=(service("web"),)), {"web"}) == (
        "n2",
    )
    assert TaskSpec(container=spec.services[0].task.container).placement == Placement()
