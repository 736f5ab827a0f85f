"""When one authority takes the place of another: decided from the authorities, the nodes' certificates and the time.

NEXT: handed out with every new certificate, trusted, does not sign. ACTIVE: signs. OLD: still trusted, until no node
has a valid certificate of it. A node that was away meanwhile finds the old one still trusted here, and the new one
certified by the old one; so it can renew as long as its own certificate lasts.
"""

from collections.abc import Iterable, Sequence

from pilothouse.errors import ConflictError, NotClusteredError
from pilothouse.governance.identity.authority.issue import LIFE_SECONDS, issued_at
from pilothouse.model.base import Value
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import Authority, AuthorityState
from pilothouse.model.node import Node, NodeState

BOUND_SECONDS = LIFE_SECONDS
"""A NEXT authority signs after this time in any case; whoever was there has a certificate made since, and so knows."""
LEAST_LEFT_SECONDS = 90 * 86_400.0
"""An authority that ends sooner is followed by another without being asked."""


class Activate(Value, frozen=True, kw_only=True):
    """The NEXT authority signs from now on, and the one that did is OLD."""

    next_id: str
    old_id: str
    reason: str


class Drop(Value, frozen=True, kw_only=True):
    """An OLD authority is not trusted any more."""

    id: str
    reason: str


class Succeed(Value, frozen=True, kw_only=True):
    """The ACTIVE authority ends before long: make the NEXT one."""

    reason: str


Step = Activate | Drop | Succeed


def rotation(authorities: Sequence[Authority], nodes: Sequence[Node], now: float) -> tuple[Step, ...]:
    """Return what is due now; nothing most of the time, and nothing again once it was done."""
    steps: list[Step] = []
    following = _in(authorities, AuthorityState.NEXT)
    active = _in(authorities, AuthorityState.ACTIVE)
    if following is not None and active is not None:
        steps.extend(_activation(following, active, nodes, now))
    steps.extend(
        Drop(id=old.id, reason="no node has a valid certificate of it any more")
        for old in authorities
        if old.state is AuthorityState.OLD and not _in_use(old, nodes, now)
    )
    if active is not None and len(authorities) == 1 and active.not_after - now < LEAST_LEFT_SECONDS:
        steps.append(Succeed(reason=f"authority {active.id} ends in {(active.not_after - now) / 86_400:.0f} days"))
    return tuple(steps)


def next_look(authorities: Sequence[Authority], nodes: Sequence[Node], now: float) -> float | None:
    """Return when time alone will make something due, or None."""
    following = _in(authorities, AuthorityState.NEXT)
    times = [] if following is None else [following.created_at + BOUND_SECONDS]
    for authority in authorities:
        if authority.state is AuthorityState.OLD:
            times.extend(c.not_after for node in nodes for c in node.certificates if c.authority == authority.id)
        if authority.state is AuthorityState.ACTIVE:
            times.append(authority.not_after - LEAST_LEFT_SECONDS)
    return min((at for at in times if at > now), default=None)


def signer(authorities: Iterable[Authority]) -> Authority:
    """Return the authority that signs.

    Raises:
        NotClusteredError: There is none.
    """
    found = _in(authorities, AuthorityState.ACTIVE)
    if found is None:
        raise NotClusteredError("this platform runs on one host and has no authority; make a cluster: pilothouse init")
    return found


def chain(issued: str, authority: Authority) -> str:
    """Return a certificate with what a machine needs that knows only the authority before this one."""
    return issued + authority.cross


def check_may_rotate(authorities: Sequence[Authority], nodes: Sequence[Node], now: float) -> Authority:
    """Return the authority that signs, if another may follow it now.

    Raises:
        ConflictError: The last change is not over.
        NotClusteredError: There is none.
    """
    active = signer(authorities)
    others = [each for each in authorities if each.id != active.id]
    if others:
        at = next_look(authorities, nodes, now)
        left = "" if at is None else f", at the latest in {max(0.0, at - now) / 3600:.1f} h"
        raise ConflictError(
            f"authority {others[0].id} is {others[0].state.value}: the change before this one is not over{left}; a "
            "machine that is away may still have a certificate from before it. `pilothouse node ls` shows which is"
        )
    return active


def trusts(node: Node, authority: Authority, now: float) -> bool:
    """Whether a node got a certificate by *authority* or, and with it every authority, since that was there."""
    return any(each.authority == authority.id or issued_at(each) > authority.created_at for each in valid(node, now))


def must_renew(node: Node, authorities: Iterable[Authority], now: float) -> bool:
    """Whether a node should ask for another certificate now, before half of its newest one's life is over.

    That is so when a person asked for new keys, when an authority is there that the node has not heard of, and when
    its certificate is of an old one.
    """
    newest = max(valid(node, now), key=issued_at, default=None)
    if newest is None:
        return False
    known = list(authorities)
    of_old = any(each.id == newest.authority and each.state is AuthorityState.OLD for each in known)
    unheard = not all(trusts(node, each, now) for each in known if each.state is not AuthorityState.OLD)
    return of_old or unheard or node.rotated_at > issued_at(newest)


def valid(node: Node, now: float) -> tuple[Certificate, ...]:
    """Return those certificates of a node that it may present now."""
    return tuple(each for each in node.certificates if each.not_before <= now < each.not_after)


def _activation(following: Authority, active: Authority, nodes: Iterable[Node], now: float) -> list[Step]:
    here = [node for node in nodes if _here(node) and valid(node, now)]
    waiting = [node.id for node in here if not trusts(node, following, now)]
    if not waiting:
        reason = "every node that is there trusts it"
    elif now >= following.created_at + BOUND_SECONDS:
        reason = f"the time is over, although {waiting[0]} has not renewed since"
    else:
        return []
    return [Activate(next_id=following.id, old_id=active.id, reason=reason)]


def _here(node: Node) -> bool:
    return node.ready or node.state is NodeState.READY


def _in_use(authority: Authority, nodes: Iterable[Node], now: float) -> bool:
    if authority.not_after <= now:
        return False
    return any(each.authority == authority.id and each.not_after > now for n in nodes for each in n.certificates)


def _in(authorities: Iterable[Authority], state: AuthorityState) -> Authority | None:
    return next((each for each in authorities if each.state is state), None)
