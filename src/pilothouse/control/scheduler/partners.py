"""Services that share a container's network, processes or volumes: their tasks of one slot are on one node. Pure.

A task whose partner is placed goes to it. A partner that is replaced goes to where those are that share its container,
as long as that node takes tasks.
"""

from pilothouse.control.scheduler.case import Case
from pilothouse.control.scheduler.columns import Mask
from pilothouse.control.scheduler.roster import Entry


def partner_mask(case: Case) -> Mask | None:
    """Return which nodes have what it has to be beside."""
    if not case.shape.counted or len(case.fleet.columns.place) == 1:
        return None
    found: Mask | None = None
    for _, entry in _ties(case):
        here = case.only([entry.at] if entry is not None else [])
        found = here if found is None else found & here
    return found


def partner_words(case: Case, at: int) -> str:
    """Return what it has to be beside, and where that is."""
    said: list[str] = []
    for name, entry in _ties(case):
        if entry is None:
            said.append(f"it shares the container of {name}, which has no place yet")
        elif entry.at != at:
            said.append(f"it shares a container with {name}, which is on {case.node_name(entry.at)}")
    return " and ".join(said)


def _ties(case: Case) -> list[tuple[str, Entry | None]]:
    found = [(name, _partner(case, name)) for name in case.shape.partners if name not in case.beside]
    return found + _sharers(case)


def _partner(case: Case, name: str) -> Entry | None:
    """Return the placed task of a partner: that of its own slot, else of the lowest, as nodes choose them."""
    same = _of_slot(case, name)
    entries = same or _staying(case, name)
    if case.pinned:
        entries = [entry for entry in entries if entry.task.node_id == case.pinned] or entries
    return min(entries, key=lambda entry: (entry.task.slot, entry.task.id), default=None)


def _sharers(case: Case) -> list[tuple[str, Entry | None]]:
    """Return the placed tasks of its slot that share its container."""
    columns, found = case.fleet.columns, list[tuple[str, Entry | None]]()
    for shape in case.fleet.roster.sharing(case.shape.service_id) if not case.pinned else ():
        for entry in _of_slot(case, shape.service) if shape.service not in case.beside else ():
            if columns.ready[entry.at] and columns.active[entry.at]:
                found.append((shape.service, entry))
    return found


def _of_slot(case: Case, name: str) -> list[Entry]:
    muster = case.fleet.roster.services.get(f"{case.shape.app}/{name}")
    if muster is None or case.task is None or not case.task.slot:
        return []
    return [entry for entry in muster.turns.get(case.task.slot, ()) if entry.stays]


def _staying(case: Case, name: str) -> list[Entry]:
    muster = case.fleet.roster.services.get(f"{case.shape.app}/{name}")
    if muster is None:
        return []
    return [entry for entries in muster.turns.values() for entry in entries if entry.stays]
