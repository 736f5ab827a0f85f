"""What a task would like of a node, as a sum of weights for each node: preferences, and affinities that are wishes.

An affinity works in both directions: a service that wants to be near or apart from another's tasks draws those near,
or keeps them away, with the same weight. One that has to be near them draws them with the greatest weight there is.
"""

import numpy as np

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.columns import Ints
from pilothouse.control.scheduler.shape import Bond

_STRONGEST = 100


def wishes(case: Case) -> Ints | None:
    """Return the sum of the weights for every place; None if nothing is wished."""
    found: Ints | None = None
    for preference in case.shape.placement.preferences:
        met = case.fleet.facts.meets(preference.constraint)
        found = _add(found, np.where(met, preference.weight, 0))
    for bond, service_id, weight in soft_bonds(case):
        if case.counts_of(service_id):
            near = case.near(bond, service_id)
            found = _add(found, np.where(near, -weight if bond.apart else weight, 0))
    return found


def soft_bonds(case: Case) -> list[tuple[Bond, str, int]]:
    """Return the affinities that are wishes for it, with the service each is about and the weight."""
    own = [(bond, bond.service_id, bond.weight) for bond in case.shape.bonds if bond.weight]
    others = [
        (bond, shape.service_id, bond.weight or _STRONGEST)
        for shape in case.fleet.roster.bound_to(case.shape.service_id)
        for bond in shape.bonds
        if bond.service_id == case.shape.service_id and (bond.weight or not bond.apart)
    ]
    return own + others


def _add(found: Ints | None, more: Ints) -> Ints:
    return more.astype(np.int64) if found is None else found + more
