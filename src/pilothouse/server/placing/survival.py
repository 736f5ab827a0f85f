"""Whether an app survives the loss of any one node: the standing check, cheap enough for every look at an app. Pure.

It asks the rules that stay as they are (constraints, platform, image, taints, data on the node), and whether there is
room for one task of a service that would have none left. `pilothouse simulate --lose NODE` places all of them.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

from pilothouse.model.counts import listed
from pilothouse.model.node import Availability, Node
from pilothouse.model.objects import Service, Task, Volume
from pilothouse.model.placement_api import Survival
from pilothouse.model.states import TaskState
from pilothouse.model.suits import could_run, has_image
from pilothouse.model.taints import unbearable
from pilothouse.model.volumes import is_local, volumes_of

MOST_ASKED = 32
"""Of so many nodes that could take a task, room is asked for; where there are more, one of them is taken to have it."""

Fits = Callable[[Node, Task], bool]


def survival(
    services: Iterable[Service],
    tasks: Iterable[Task],
    nodes: Sequence[Node],
    volumes: Mapping[str, Volume],
    fits: Fits = lambda _node, _task: True,
) -> Survival | None:
    """Return whether an app survives the loss of any one node; None on a platform of one node, or if nothing runs.

    Args:
        services: Those of the app.
        tasks: The app's.
        nodes: All that have joined.
        volumes: The app's, by key.
        fits: Whether a node has room for another one like a task.
    """
    if len(nodes) < 2:
        return None
    places: dict[str, set[str]] = {}
    last: dict[str, Task] = {}
    for task in tasks:
        if task.node_id and task.step < 0 and not task.state.terminal and task.desired_state is TaskState.RUNNING:
            places.setdefault(task.service, set()).add(task.node_id)
            last[task.service] = task
    gone: dict[str, list[str]] = {}
    interrupted: dict[str, list[str]] = {}
    for service in sorted(services, key=lambda service: service.name):
        where = places.get(service.name, set())
        if len(where) != 1 or service.removing:
            continue
        (only,) = where
        could = (node for node in nodes if node.id != only and _could_take(service, node, volumes))
        # Whoever looks at an app asks this, so no more nodes are looked at than the answer takes.
        others = list(itertools.islice(could, MOST_ASKED + 1))
        room = len(others) > MOST_ASKED or any(fits(node, last[service.name]) for node in others)
        (interrupted if room else gone).setdefault(only, []).append(service.name)
    if not places:
        return None
    return _told(nodes, gone, interrupted)


def _could_take(service: Service, node: Node, volumes: Mapping[str, Volume]) -> bool:
    spec = service.spec
    if not node.ready or node.spec.availability is not Availability.ACTIVE:
        return False
    if "global" in spec.mode.value or not could_run(spec, node) or has_image(service.image, node):
        return False
    if unbearable(spec.task.placement, node.spec.taints):
        return False
    return all(
        volume is None or not is_local(volume.spec) or not volume.nodes or node.id in volume.nodes
        for volume in (volumes.get(key) for key in volumes_of(spec.task.container))
    )


def _told(nodes: Sequence[Node], gone: Mapping[str, list[str]], interrupted: Mapping[str, list[str]]) -> Survival:
    names = {node.id: node.description.hostname or node.id for node in nodes}
    losses = {}
    for node_id in sorted({*gone, *interrupted}, key=lambda each: (-len(gone.get(each, ())), each)):
        said = []
        if lost := gone.get(node_id):
            said.append(f"{listed(lost)} would be gone, as no other node can take {_them(lost)}")
        if back := interrupted.get(node_id):
            said.append(f"nobody would answer for {listed(back)} until {_they_are(back)} made again elsewhere")
        losses[names[node_id]] = "; ".join(said)
    if not losses:
        return Survival(survives=True, sentence="survives the loss of any one node: every service has tasks on several")
    worst, what = next(iter(losses.items()))
    if gone:
        return Survival(survives=False, sentence=f"does not survive the loss of {worst}: {what}", losses=losses)
    also = f" (and {len(losses) - 1} more)" if len(losses) > 1 else ""
    sentence = f"survives the loss of any one node, with a gap: without {worst} {what}{also}"
    return Survival(survives=True, sentence=sentence, losses=losses)


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _they_are(names: list[str]) -> str:
    return "it is" if len(names) == 1 else "they are"
