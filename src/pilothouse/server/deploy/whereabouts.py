"""Which of the connected nodes have an image: they are asked at once, and nothing is pulled.

A node that does not answer in time counts as one that has it not; the next deployment asks again.
"""

import asyncio
from collections.abc import Collection, Sequence

import msgspec

from pilothouse import log
from pilothouse.errors import DriverError, NodeUnavailableError, UnavailableError
from pilothouse.model.node import Node
from pilothouse.model.objects import Service
from pilothouse.model.spec import AppSpec
from pilothouse.model.suits import could_run
from pilothouse.model.wire import ImageProgress
from pilothouse.server.sessions.interface import NodeServices
from pilothouse.server.sessions.registry import Nodes

ANSWER_SECONDS = 10.0
ASKED_AT_ONCE = 32
_FINAL = frozenset({"resolved", "failed"})


class Answers(msgspec.Struct, frozen=True):
    """Who has an image, by node; the answer of one that has it not, or None; why another did not answer, or None."""

    have: dict[str, ImageProgress]
    absent: ImageProgress | None = None
    error: UnavailableError | DriverError | None = None

    def believed(self, *, sure: bool = False) -> "Answers":
        """Return these answers if anybody gave one; to be *sure* that nobody has it, all must have answered.

        Raises:
            UnavailableError, DriverError: Why somebody did not.
        """
        if self.error is not None and not self.have and (sure or self.absent is None):
            raise self.error
        return self


class Site(msgspec.Struct, frozen=True):
    """The nodes of the platform, and what an app has there.

    Attributes:
        nodes: Those that are connected, to be asked.
        known: All that have joined.
        services: The app's as they are stored, by name.
    """

    nodes: Nodes
    known: Sequence[Node] = ()
    services: dict[str, Service] = {}

    def candidates(self, spec: AppSpec, names: Collection[str]) -> tuple[str, ...]:
        """Return the connected nodes that could run one of the services called *names*; all of them if none could.

        Raises:
            NodeUnavailableError: No node is connected.
        """
        connected = self.nodes.connected
        if not connected:
            self.nodes.any()
        asked = [service for service in spec.services if service.name in names]
        suit = {node.id for node in self.known if any(could_run(service, node) for service in asked)}
        return tuple(node_id for node_id in connected if node_id in suit) or connected

    async def ask(self, node_ids: Sequence[str], ref: str, platform: str) -> Answers:
        """Return what *ref* is on each of these nodes that has it."""
        asked: dict[str, ImageProgress | UnavailableError | DriverError] = {}
        room = asyncio.Semaphore(ASKED_AT_ONCE)

        async def one(node_id: str) -> None:
            async with room:
                asked[node_id] = await self._answer(node_id, ref, platform)

        async with asyncio.TaskGroup() as group:
            for node_id in node_ids:
                group.create_task(one(node_id))
        # In the order in which they were asked, whoever was the quickest.
        answers = {node_id: asked[node_id] for node_id in node_ids}
        have, absent, error = dict[str, ImageProgress](), None, None
        for node_id, each in answers.items():
            if isinstance(each, UnavailableError | DriverError):
                error = error or each
            elif each.phase == "resolved":
                have[node_id] = each
            else:
                absent = absent or each
        return Answers(have, absent, error)

    async def _answer(self, node_id: str, ref: str, platform: str) -> ImageProgress | UnavailableError | DriverError:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await last_of(self.nodes.of(node_id), ref, "never", platform)
        except TimeoutError:
            error: UnavailableError | DriverError = NodeUnavailableError(
                f"the node {node_id} did not say in {ANSWER_SECONDS:g} s whether it has the image {ref}; try again"
            )
        except (UnavailableError, DriverError) as raised:
            error = raised
        log.event("warning", "image.unasked", node=node_id, image=ref, error=str(error))
        return error


async def last_of(node: NodeServices, ref: str, policy: str, platform: str) -> ImageProgress:
    """Return how *node* ended making an image present.

    Raises:
        NodeUnavailableError: It went away before it came to an end, so nobody knows.
    """
    last = None
    async for progress in node.ensure_image(ref, policy, platform):
        last = progress
    if last is None or last.phase not in _FINAL:
        raise NodeUnavailableError(f"the node that was asked for the image {ref} stopped answering; try again")
    return last
