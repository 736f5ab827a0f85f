"""The rules a node must keep to get a task: each as a mask over every node, and as a clause about one node.

Every rule is asked about every node, also after another has refused it: an explanation shows all that is missing. The
clause says what is missing, in numbers. A mask of None holds everywhere.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.columns import Mask
from pilothouse.control.scheduler.ground import Ground
from pilothouse.control.scheduler.partners import partner_mask, partner_words
from pilothouse.control.scheduler.shape import BASE, CPU, GENERIC, MEMORY, PIDS, Bond
from pilothouse.errors import InvalidManifestError
from pilothouse.model.constraints import actual, parse_constraint, satisfies
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.node import Node
from pilothouse.model.states import TaskState
from pilothouse.model.suits import has_image
from pilothouse.model.taints import taint_text, unbearable

MIB = 1024 * 1024
CORE = 1_000_000_000


class Rule(NamedTuple):
    """One rule.

    Attributes:
        amount: It is about an amount that tasks take, so a batch asks how often it holds.
        lasting: It is about the node and what is written alone, so its mask lasts until a node changes.
    """

    name: str
    mask: Callable[[Case], Mask | None]
    say: Callable[[Case, int], str]
    amount: bool = False
    lasting: bool = False


def _ready(case: Case) -> Mask:
    return case.fleet.columns.ready


def _say_ready(case: Case, at: int) -> str:
    return f"is not ready ({_node(case, at).message or 'its agent is not connected'})"


def _active(case: Case) -> Mask:
    return case.fleet.columns.active


def _say_active(case: Case, at: int) -> str:
    return f"was set to {_node(case, at).spec.availability.value!r}, so it takes no new tasks"


def _pinned(case: Case) -> Mask | None:
    if not case.pinned:
        return None
    at = case.fleet.columns.place.get(case.pinned)
    return case.only([] if at is None else [at])


def _say_pinned(case: Case, at: int) -> str:
    del at
    return f"the task is for {case.pinned}"


def _constraints(case: Case) -> Mask | None:
    texts = case.shape.placement.constraints
    if not texts:
        return None
    found = case.fleet.facts.meets(texts[0])
    for text in texts[1:]:
        found = found & case.fleet.facts.meets(text)
    return found


def _say_constraints(case: Case, at: int) -> str:
    node, missing = _node(case, at), list[str]()
    for text in case.shape.placement.constraints:
        try:
            constraint = parse_constraint(text)
        except InvalidManifestError:
            missing.append(f"constraint {text!r} cannot be read")
            continue
        if not satisfies(constraint, node):
            has = actual(constraint.key, node)
            missing.append(f"constraint {text!r} is not met (it has {has!r})" if has else f"has no {constraint.key}")
    return " and ".join(missing)


def _platform(case: Case) -> Mask | None:
    return case.fleet.facts.runs(case.shape.platform) if case.shape.platform else None


def _say_platform(case: Case, at: int) -> str:
    about = _node(case, at).description
    return f"is {about.os}/{about.arch}, and the service asks for {case.shape.platform}"


def _image(case: Case) -> Mask | None:
    image, columns = case.shape.image, case.fleet.columns
    found = case.fleet.facts.runs(image.platform) if image.platform else None
    if not image.nodes:
        return found
    there = case.only([at for node in image.nodes if (at := columns.place.get(node)) is not None])
    return there if found is None else found & there


def _say_image(case: Case, at: int) -> str:
    return has_image(case.shape.image, _node(case, at))


def _taints(case: Case) -> Mask:
    return case.fleet.facts.bears(case.shape.placement)


def _say_taints(case: Case, at: int) -> str:
    taints = unbearable(case.shape.placement, _node(case, at).spec.taints)
    return "has the taint " + " and ".join(repr(taint_text(taint)) for taint in taints)


def _volumes(case: Case) -> Mask | None:
    found: Mask | None = None
    for volume in case.shape.volumes if not case.pinned else ():
        nodes = case.fleet.nodes_of(volume)
        if nodes is not None:
            there = case.only([at for node in nodes if (at := case.fleet.columns.place.get(node)) is not None])
            found = there if found is None else found & there
    return found


def _say_volumes(case: Case, at: int) -> str:
    here, said = _node(case, at).id, list[str]()
    for volume in case.shape.volumes:
        nodes = case.fleet.nodes_of(volume)
        if nodes is not None and here not in nodes:
            said.append(f"the data of the volume {volume} is on {' and '.join(nodes)}")
    return " and ".join(said)


def _amount(kind: str) -> Callable[[Case], Mask | None]:
    def mask(case: Case) -> Mask | None:
        wanted = dict(case.need).get(kind, 0)
        if not wanted:
            return None
        columns = case.fleet.columns
        found: Mask = columns.free_of(kind) >= wanted
        for at, need in case.special.items():
            found[at] = columns.free_of(kind)[at] >= dict(need).get(kind, 0)
        return found

    return mask


def _say_amount(kind: str, what: str, unit: int) -> Callable[[Case, int], str]:
    def say(case: Case, at: int) -> str:
        columns = case.fleet.columns
        wanted, row = dict(case.need).get(kind, 0), columns.row(kind)
        returned = wanted - dict(case.need_at(at)).get(kind, 0)
        free = max(0, int(columns.free[row, at]) + returned)
        whole = int(columns.capacity[row, at])
        return (
            f"has {number(free / unit)} of {number(whole / unit)} {what} free, "
            f"and the task reserves {number(wanted / unit)}"
        )

    return say


def _generic(case: Case) -> Mask | None:
    kinds = [kind for kind, _ in case.need if kind not in BASE]
    found: Mask | None = None
    for kind in kinds:
        enough = _amount(kind)(case)
        if enough is not None:
            found = enough if found is None else found & enough
    columns = case.fleet.columns
    for kind in case.whole:
        row = columns.row(kind)
        untouched = (columns.free[row] == columns.capacity[row]) & (columns.capacity[row] > 0)
        found = untouched if found is None else found & untouched
    return found


def _say_generic(case: Case, at: int) -> str:
    columns, said = case.fleet.columns, list[str]()
    for kind, wanted in case.need:
        if kind not in BASE and int(columns.free_of(kind)[at]) < dict(case.need_at(at)).get(kind, wanted):
            said.append(_say_amount(kind, f"of {kind.removeprefix(GENERIC)}", 1)(case, at))
    for kind in case.whole:
        free, whole = int(columns.free_of(kind)[at]), int(columns.capacity_of(kind)[at])
        if free != whole or not whole:
            name = kind.removeprefix(GENERIC)
            said.append(f"has {max(0, free)} of {whole} of {name} free, and the task wants all of a node's")
    return " and ".join(said)


def _ports(case: Case) -> Mask | None:
    found: Mask | None = None
    for at in _port_holders(case):
        found = case.anywhere() if found is None else found
        found[at] = False
    return found


def _say_ports(case: Case, at: int) -> str:
    roster, said = case.fleet.roster, list[str]()
    for which, task_id in _port_holders(case).get(at, []):
        holder = roster.entries[task_id].task
        said.append(f"host port {which} is held by {display_name(holder)} of {holder.app}")
    return " and ".join(dict.fromkeys(said))


def _port_holders(case: Case) -> dict[int, list[tuple[str, str]]]:
    """Return by place the host ports the task cannot have there, and who holds them."""
    handed_over = {
        entry.task.id
        for entry in case.turn
        if case.task is not None and TaskState.READY in {case.task.desired_state, entry.task.desired_state}
    }
    found: dict[int, list[tuple[str, str]]] = {}
    for port in case.shape.ports:
        for at, holders in case.fleet.roster.holders(port, case.shape.service_id).items():
            left = [task_id for task_id in holders if task_id not in handed_over]
            if left:
                found.setdefault(at, []).extend((f"{port.host_port}/{port.protocol}", task_id) for task_id in left)
    return found


def _most_here(case: Case) -> Mask | None:
    most = case.shape.placement.max_replicas_per_node
    full = [at for at, here in case.counts.items() if here >= most] if most else []
    if not full:
        return None
    return ~case.only(full)


def _say_most_here(case: Case, at: int) -> str:
    here, most = case.counts.get(at, 0), case.shape.placement.max_replicas_per_node
    return f"has {count(here, 'task')} of {case.shape.service} and max_replicas_per_node is {most}"


def _affinity(case: Case) -> Mask | None:
    found: Mask | None = None
    for bond, service_id in hard_bonds(case):
        holds = _holds(case, bond, service_id)
        if holds is not None:
            found = holds if found is None else found & holds
    return found


def _holds(case: Case, bond: Bond, service_id: str) -> Mask | None:
    among_themselves = service_id == case.shape.service_id
    if not case.counts_of(service_id) and (bond.apart or among_themselves):
        return None
    near = case.near(bond, service_id)
    return ~near if bond.apart else near


def _say_affinity(case: Case, at: int) -> str:
    said: list[str] = []
    for bond, service_id in hard_bonds(case):
        holds = _holds(case, bond, service_id)
        if holds is None or holds[at]:
            continue
        where = "the same node" if bond.level == "node" else f"the same {bond.level}"
        if bond.apart:
            said.append(f"has a task of {service_id} on {where}, from which it is to be apart")
        elif case.counts_of(service_id):
            said.append(f"has no task of {service_id} on {where}, near which it is to be")
        else:
            said.append(f"no task of {service_id} is placed yet, near which it is to be")
    return " and ".join(dict.fromkeys(said))


def hard_bonds(case: Case) -> list[tuple[Bond, str]]:
    """Return the affinities that are rules for it, with the service each is about: its own, and others' with it."""
    own = [(bond, bond.service_id) for bond in case.shape.bonds if not bond.weight]
    others = [
        (bond, shape.service_id)
        for shape in case.fleet.roster.bound_to(case.shape.service_id)
        for bond in shape.bonds
        if bond.apart and not bond.weight and bond.service_id == case.shape.service_id
    ]
    return own + others


def _pool(case: Case) -> Mask | None:
    refused = case.fleet.pools.refusal(case.fleet.columns, case.shape.pool, case.need)
    return ~case.anywhere() if refused else None


def _say_pool(case: Case, at: int) -> str:
    del at
    return case.fleet.pools.refusal(case.fleet.columns, case.shape.pool, case.need)


RULES: tuple[Rule, ...] = (
    Rule("ready", _ready, _say_ready, lasting=True),
    Rule("availability", _active, _say_active, lasting=True),
    Rule("pinned", _pinned, _say_pinned),
    Rule("constraints", _constraints, _say_constraints, lasting=True),
    Rule("platform", _platform, _say_platform, lasting=True),
    Rule("image", _image, _say_image, lasting=True),
    Rule("taints", _taints, _say_taints, lasting=True),
    Rule("volumes", _volumes, _say_volumes),
    Rule("partners", partner_mask, partner_words),
    Rule("cpu", _amount(CPU), _say_amount(CPU, "cores", CORE), amount=True),
    Rule("memory", _amount(MEMORY), _say_amount(MEMORY, "MiB of memory", MIB), amount=True),
    Rule("pids", _amount(PIDS), _say_amount(PIDS, "processes", 1), amount=True),
    Rule("generic", _generic, _say_generic, amount=True),
    Rule("ports", _ports, _say_ports),
    Rule("max-per-node", _most_here, _say_most_here),
    Rule("affinity", _affinity, _say_affinity),
    Rule("pool", _pool, _say_pool, amount=True),
)
"""In the order in which an explanation names them."""


def allowed(case: Case) -> Mask:
    """Return which nodes keep every rule that is not about amounts."""
    found = case.fleet.columns.there.copy()
    for rule in RULES:
        if not rule.amount and (mask := rule.mask(case)) is not None:
            found &= mask
    return found


def open_ground(cases: list[Case]) -> Ground:
    """Return the places that keep every rule for all of *cases*, but those about amounts."""
    masks = [
        mask
        for case in cases
        for rule in RULES
        if not (rule.amount or rule.lasting) and (mask := rule.mask(case)) is not None
    ]
    lead = cases[0].fleet.facts.kept(cases[0].shape.terms, lambda: _lasting_ground(cases[0]))
    masks += [mask for case in cases[1:] for rule in RULES if rule.lasting and (mask := rule.mask(case)) is not None]
    if not masks:
        return lead
    return lead.only(np.flatnonzero(np.logical_and.reduce([mask[lead.places] for mask in masks])))


def _lasting_ground(case: Case) -> Ground:
    found = case.fleet.columns.there.copy()
    for rule in RULES:
        if rule.lasting and (mask := rule.mask(case)) is not None:
            found &= mask
    return Ground(np.flatnonzero(found))


def suitable(case: Case) -> Mask:
    """Return which nodes keep every rule."""
    found = allowed(case)
    for rule in RULES:
        if rule.amount and (mask := rule.mask(case)) is not None:
            found &= mask
    return found


def refusals(case: Case, at: int) -> tuple[str, ...]:
    """Return what every rule that the node at *at* breaks says of it."""
    broken = [rule for rule in RULES if (mask := rule.mask(case)) is not None and not mask[at]]
    return tuple(rule.say(case, at) for rule in broken)


def number(value: float) -> str:
    """Return an amount with at most two digits after the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _node(case: Case, at: int) -> Node:
    node = case.fleet.columns.nodes[at]
    assert node is not None
    return node
