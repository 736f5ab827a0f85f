"""Check that a recorded history of operations could have happened one after the other.

A history is linearizable if each operation can be given one moment between its call and its return, so that in the
order of these moments every answer is right (M. Herlihy and J. Wing, "Linearizability: a correctness condition for
concurrent objects", 1990). The search is the one of J. Wing and C. Gong ("Testing and verifying concurrent objects",
1993) with the memory of G. Lowe ("Testing for linearizability", 2017): a set of operations that led to a state once is
not followed a second time. Objects are independent, so each is checked by itself (Herlihy and Wing: locality).

An operation whose answer was lost has no return: it may have happened at any time after its call, or not yet.
"""

import asyncio
import itertools
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

LOST = object()
"""The answer of an operation whose answer was lost."""


@dataclass(frozen=True)
class Operation:
    """One call: *what* with *argument* was called at *called* and returned *answer* at *returned*."""

    what: str
    argument: Any
    answer: Any
    called: float
    returned: float = math.inf
    by: str = ""


class Register:
    """A value that is read, written, and changed from one value into another."""

    start = None

    @staticmethod
    def step(state, operation):
        """Return the state after *operation*, or raise ValueError if its answer is not possible in *state*."""
        if operation.what == "read":
            if operation.answer not in (state, LOST):
                raise ValueError
            return state
        if operation.what == "write":
            return operation.argument
        old, new = operation.argument
        if operation.answer is not LOST and operation.answer != (state == old):
            raise ValueError
        return new if state == old else state


class AppendList:
    """A list that is appended to and read whole; a state is its length and a hash of its items in order."""

    start = (0, 0)

    @staticmethod
    def _after(state, item):
        return state[0] + 1, hash((state[1], item))

    @classmethod
    def step(cls, state, operation):
        """As `Register.step`."""
        if operation.what == "append":
            return cls._after(state, operation.argument)
        if operation.answer is not LOST:
            read = cls.start
            for item in operation.answer:
                read = cls._after(read, item)
            if read != state:
                raise ValueError
        return state


@dataclass
class Verdict:
    """Whether a history is linearizable; if not, how many operations fit at most and which could not come next."""

    ok: bool
    fitting: int = 0
    stuck: tuple = ()


class _Entry:
    """A call or a return, in a list in the order of time."""

    def __init__(self, number, operation, partner=None):
        self.number, self.operation, self.partner = number, operation, partner
        self.before = self.next = None

    def lift(self):
        """Take a call and its return out of the list."""
        for each in (self, self.partner):
            each.before.next = each.next
            if each.next is not None:
                each.next.before = each.before

    def put_back(self):
        """Undo `lift`."""
        for each in (self.partner, self):
            each.before.next = each
            if each.next is not None:
                each.next.before = each


def _listed(operations):
    events = []
    for number, operation in enumerate(operations):
        end = _Entry(number, operation)
        events.append((operation.called, 0, number, _Entry(number, operation, end)))
        events.append((operation.returned, 1, number, end))
    head = last = _Entry(-1, None)
    for *_, entry in sorted(events, key=lambda event: event[:3]):
        last.next, entry.before = entry, last
        last = entry
    return head


def _telling(operations):
    """Leave out changes whose answer was lost and whose value nobody read: they may as well not have happened yet.

    Where values are compared this does not hold: a comparison that failed may have seen such a value.
    """
    if any(operation.what == "cas" for operation in operations):
        return list(operations)
    read = set()
    for operation in operations:
        if operation.what == "read":
            read.update(operation.answer if isinstance(operation.answer, tuple) else [operation.answer])
    return [each for each in operations if each.answer is not LOST or each.argument in read]


def check(model, operations):
    """Return the verdict on one object's history, in which each value is written once."""
    operations = _telling(operations)
    head = _listed(operations)
    state, done, taken = model.start, 0, []
    seen = {(0, state)}
    best = Verdict(ok=False)
    entry = head.next
    while head.next is not None:
        if entry.partner is not None:
            try:
                after = model.step(state, entry.operation)
            except ValueError:
                entry = entry.next
                continue
            place = (done | 1 << entry.number, after)
            if place in seen:
                entry = entry.next
                continue
            seen.add(place)
            taken.append((entry, state))
            done, state = place
            entry.lift()
            entry = head.next
            continue
        # Something returned before it was given its moment: whatever was decided last was wrong.
        if len(taken) >= best.fitting:
            best = Verdict(ok=False, fitting=len(taken), stuck=(entry.operation,))
        if not taken:
            return best
        entry, state = taken.pop()
        done &= ~(1 << entry.number)
        entry.put_back()
        entry = entry.next
    return Verdict(ok=True, fitting=len(operations))


@dataclass
class History:
    """Records what is done to several objects, each with a model of its own.

    Attributes:
        clock: Gives the time of calls and returns; one for all who take part.
    """

    clock: Any
    operations: dict = field(default_factory=lambda: defaultdict(list))

    async def record(self, key, what, argument, work, *, lost, refused=(), by=""):
        """Await *work* and record it; what raises *lost* may have happened, what raises *refused* has not."""
        called = self.clock()
        try:
            answer = await work
        except refused:
            return None
        except lost:
            if what != "read":
                self.operations[key].append(Operation(what, argument, LOST, called, by=by))
            await asyncio.sleep(0)
            return None
        self.operations[key].append(Operation(what, argument, answer, called, self.clock(), by))
        return answer

    def count(self):
        """Return how many operations were recorded."""
        return sum(map(len, self.operations.values()))

    def violations(self, model_of):
        """Return the objects whose history is not linearizable, with what could not be explained."""
        found = {}
        for key, operations in self.operations.items():
            verdict = check(model_of(key), operations)
            if not verdict.ok:
                found[key] = verdict
        return found


def by_trying_every_order(model, operations):
    """Say the same as `check`, slowly and plainly: for small histories, to check the checker."""
    for order in itertools.permutations(operations):
        if any(later.returned < earlier.called for earlier, later in itertools.combinations(order, 2)):
            continue
        state = model.start
        try:
            for operation in order:
                state = model.step(state, operation)
        except ValueError:
            continue
        return True
    return False
