"""Notes where images of no registry are that their nodes could not tell when they were deployed.

Such an image runs only on nodes that are known to have it. A node that was away at the deployment, did not answer, or
joined later is asked when it is there; tasks that wait for a node hear of it at once. Nothing is pulled.
"""

from collections.abc import Iterable
from functools import partial

from msgspec.structs import replace

from pilothouse.log import event
from pilothouse.model.node import Node, NodeState
from pilothouse.model.objects import ResolvedImage, Service, Task
from pilothouse.model.states import TaskState, Writer
from pilothouse.model.suits import could_run
from pilothouse.server.api.context import Context
from pilothouse.server.deploy.whereabouts import Site
from pilothouse.store.interface import Commit, ReadTx, WriteTx

AGAIN_SECONDS = 10.0
"""A node that did not answer is asked again after this long."""


class Noting:
    """Who has which image, as far as it had to be asked in this term; keeps `pulse.Reconciler`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._nodes: dict[str, Node] = {}
        self._services: dict[str, Service] = {}
        self._asked: set[tuple[str, str]] = set()
        self._changed: set[str] = set()

    def survey(self, tx: ReadTx) -> None:
        self._nodes = {node.id: node for node in tx.find(Node) if _there(node)}
        self._services = {service.id: service for service in tx.find(Service) if _pinned(service)}
        self._changed = set(self._services)

    def note(self, commit: Commit) -> bool:
        matters = False
        for change in commit.changes:
            before, after = change.before, change.after
            if isinstance(change.object, Node):
                matters = self._note_node(change.object.id, after if isinstance(after, Node) else None) or matters
            elif isinstance(change.object, Service):
                kept = isinstance(before, Service) and isinstance(after, Service) and before.image == after.image
                self._services.pop(change.object.id, None)
                if isinstance(after, Service) and _pinned(after):
                    self._services[after.id] = after
                    if not kept:
                        self._changed.add(after.id)
                        # What a node answered was noted with the services that there were.
                        self._asked = {each for each in self._asked if each[1] != after.image.id}
                        matters = True
        return matters

    def _note_node(self, node_id: str, node: Node | None) -> bool:
        """Take a node over as it is now; return whether it came."""
        came = node is not None and _there(node) and node_id not in self._nodes
        if node is None or not _there(node):
            self._nodes.pop(node_id, None)
            # What it has may be another when it comes back.
            self._asked = {each for each in self._asked if each[0] != node_id}
        else:
            self._nodes[node_id] = node
        return came

    async def act(self) -> float | None:
        """Ask who has not been asked, and write what came of it."""
        connected = self._context.nodes.connected
        again = False
        for image in {_key(service.image): service.image for service in self._services.values()}.values():
            silent = {node_id for node_id in self._to_ask(image) if node_id not in connected}
            asked = sorted(self._to_ask(image) - silent)
            answers = await Site(self._context.nodes).ask(asked, image.id, image.platform)
            found = {node_id for node_id, each in answers.have.items() if each.id == image.id}
            if answers.error is None:
                self._asked |= {(node_id, image.id) for node_id in asked}
            again = again or bool(silent) or answers.error is not None
            if found:
                await self._context.store.update(Writer.API, partial(_note, image=image, nodes=found))
                event("info", "image.found", image=image.ref, nodes=sorted(found))
                self._changed |= {each.id for each in self._services.values() if _key(each.image) == _key(image)}
        changed, self._changed = self._changed, set()
        if await self._context.store.view(lambda tx: _stale(tx, changed)):
            await self._context.store.update(Writer.API, lambda tx: _refresh(tx, changed))
        return self._context.clock.now() + AGAIN_SECONDS if again else None

    def _to_ask(self, image: ResolvedImage) -> set[str]:
        """Return the nodes that may have *image*, could run what needs it, and have not said."""
        services = [each for each in self._services.values() if _key(each.image) == _key(image)]
        known = frozenset.intersection(*(frozenset(service.image.nodes) for service in services))
        return {
            node.id
            for node in self._nodes.values()
            if node.id not in known
            and (node.id, image.id) not in self._asked
            and any(could_run(service.spec, node) for service in services)
        }


def _there(node: Node) -> bool:
    return node.state is NodeState.READY


def _pinned(service: Service) -> bool:
    return bool(service.image.nodes and service.image.id) and not service.removing


def _key(image: ResolvedImage) -> tuple[str, str, str]:
    return image.ref, image.id, image.platform


def _note(tx: WriteTx, image: ResolvedImage, nodes: set[str]) -> None:
    for service in tx.find(Service):
        if _pinned(service) and _key(service.image) == _key(image):
            known = tuple(sorted({*service.image.nodes, *nodes}))
            tx.put(replace(service, image=replace(service.image, nodes=known)))


def _stale(tx: ReadTx, service_ids: Iterable[str]) -> list[Task]:
    """Return the tasks that wait for a node with what was known of their image before."""
    found = []
    for service_id in service_ids:
        service = tx.get(Service, service_id)
        if service is not None:
            found += [
                task
                for task in tx.find(Task, service_id=service_id)
                if task.state < TaskState.ASSIGNED
                and task.step < 0
                and _key(task.image) == _key(service.image)
                and task.image != service.image
            ]
    return found


def _refresh(tx: WriteTx, service_ids: Iterable[str]) -> None:
    for task in _stale(tx, service_ids):
        service = tx.get(Service, task.service_id)
        if service is not None:
            tx.put(replace(task, image=service.image))
