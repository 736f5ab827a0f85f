"""Why one more task of a service could go to a node, or not: what every rule says. Pure."""

from pilothouse.control.orchestrators.scene import key_of
from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.rules import RULES
from pilothouse.control.scheduler.write import Shapes, read_fleet
from pilothouse.errors import InvalidRequestError, NotFoundError
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.node import Node
from pilothouse.model.objects import Service, Task
from pilothouse.model.placement_api import RuleAnswer, WhyNot
from pilothouse.model.states import TaskState
from pilothouse.server.placing.imagined import imagined
from pilothouse.server.placing.simulate import find_node, node_name
from pilothouse.store.interface import ReadTx


def why_not(tx: ReadTx, service_id: str, name: str) -> WhyNot:
    """Return what every rule says of the service "APP/NAME" and the node called *name*.

    It is asked about a task that waits for a place, if the service has one, else about one more.

    Raises:
        InvalidRequestError: *service_id* is not "APP/NAME".
        NotFoundError: There is no such service, or no such node.
    """
    app, slash, service_name = service_id.partition("/")
    if not (app and slash and service_name):
        raise InvalidRequestError(f"{service_id[:80]!r} is no service; write APP/SERVICE")
    service = tx.get(Service, service_id)
    if service is None:
        raise NotFoundError(f"there is no service {service_id[:80]!r}; 'pilothouse ps {app}' lists those of the app")
    nodes = tx.find(Node)
    node = find_node(nodes, name)
    every = tx.find(Task, service_id=service_id)
    mine = [task for task in every if task.step < 0 and not task.state.terminal]
    shapes = Shapes()
    fleet = read_fleet(tx, shapes)
    here = sum(task.node_id == node.id and task.state > TaskState.PENDING for task in mine)
    task, what = _asked(service, mine, node)
    case, at = Case(fleet, shapes.of(task), task), fleet.columns.place[node.id]
    answers = []
    for rule in RULES:
        mask = rule.mask(case)
        kept = mask is None or bool(mask[at])
        answers.append(RuleAnswer(rule=rule.name, kept=kept, sentence="" if kept else rule.say(case, at)))
    broken = [answer.sentence for answer in answers if not answer.kept]
    there = f"{node_name(node)} has {count(here, 'task')} of {service_id}"
    if broken:
        sentence = f"{there}, and {what} cannot go there: it {'; it '.join(broken)}"
    else:
        sentence = f"{there}, and {what} could go there: it keeps every rule"
    return WhyNot(
        service=service_id, node=node.id, suits=not broken, here=here, sentence=sentence, answers=tuple(answers)
    )


def _asked(service: Service, mine: list[Task], node: Node) -> tuple[Task, str]:
    waiting = [task for task in mine if task.state is TaskState.PENDING]
    if waiting:
        task = min(waiting, key=lambda task: (task.created_at, task.slot, task.id))
        return task, f"{display_name(task)}, which waits for a place,"
    if "global" in service.spec.mode.value:
        return imagined(service, (0, node.id)), "a task of it"
    last = max((key_of(task)[0] for task in mine), default=0)
    return imagined(service, (last + 1, "")), "one more"
