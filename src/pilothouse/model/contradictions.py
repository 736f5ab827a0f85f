"""Whether constraints can be met together by any node that there could ever be. Pure.

Only what is certain is found: a set of constraints that passes may still have no node, which the scheduler then says.
"""

from collections.abc import Iterable, Sequence

from pilothouse.model.constraints import Constraint, Operator, canonical, holds
from pilothouse.model.versions import version_of

_NAMED = frozenset({Operator.EQUAL, Operator.IN})
_ANY = frozenset({Operator.DIFFERENT, Operator.NOT_IN, Operator.MISSING})
"""Operators that a node meets by not having the thing at all."""

_ABOVE = frozenset({Operator.MORE, Operator.AT_LEAST})
_BELOW = frozenset({Operator.LESS, Operator.AT_MOST})


def contradiction(constraints: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """Return constraints that no node can meet together, in the order they are written; () if none are known."""
    by_key: dict[str, list[Constraint]] = {}
    for constraint in constraints:
        # An address may be asked for as a network, and whether two networks overlap is nobody's worry.
        if canonical(constraint.key) != "node.ip":
            by_key.setdefault(canonical(constraint.key), []).append(constraint)
    return next((found for group in by_key.values() if (found := _of_one_key(group))), ())


def _of_one_key(group: list[Constraint]) -> tuple[Constraint, ...]:
    if len(group) < 2:
        return ()
    if all(constraint.operator in _ANY for constraint in group):
        return ()
    absent = next((each for each in group if each.operator is Operator.MISSING), None)
    if absent is not None:
        return _in_order(group, (absent, next(each for each in group if each.operator not in _ANY)))
    named = next((each for each in group if each.operator in _NAMED), None)
    if named is not None:
        return _of_values(group, named)
    return _of_orders(group)


def _of_values(group: list[Constraint], named: Constraint) -> tuple[Constraint, ...]:
    """Return what leaves none of the values that *named* allows."""
    left = list(named.values)
    against: list[Constraint] = [named]
    for other in group:
        kept = [value for value in left if holds(other, _as_fact(other.key, value))]
        if len(kept) < len(left):
            against.append(other)
        left = kept
        if not left:
            return _in_order(group, against)
    return ()


def _of_orders(group: list[Constraint]) -> tuple[Constraint, ...]:
    """Return a lower and an upper bound with nothing between them; between any two versions there are others."""
    for low in (each for each in group if each.operator in _ABOVE):
        for high in (each for each in group if each.operator in _BELOW):
            bottom, top = version_of(low.values[0]), version_of(high.values[0])
            assert bottom is not None and top is not None, "an order is of a version, or it could not be read"  # noqa: PT018
            touching = low.operator is Operator.AT_LEAST and high.operator is Operator.AT_MOST
            if bottom > top or (bottom == top and not touching):
                return _in_order(group, (low, high))
    return ()


def _in_order(group: list[Constraint], chosen: Iterable[Constraint]) -> tuple[Constraint, ...]:
    wanted = list(chosen)
    return tuple(each for each in group if any(each is one for one in wanted))


def _as_fact(key: str, value: str) -> str:
    """Return what a node would say of itself that is asked for as *value*."""
    return "agent" if canonical(key) == "node.role" and value.casefold() == "worker" else value
