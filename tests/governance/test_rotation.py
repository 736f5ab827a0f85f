"""One authority follows another, and no node that has a valid certificate is ever locked out."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from pilothouse.errors import ConflictError, NotClusteredError
from pilothouse.governance.identity.authority.issue import LIFE_SECONDS
from pilothouse.governance.identity.authority.make import BACKDATE_SECONDS
from pilothouse.governance.identity.authority.rotation import (
    BOUND_SECONDS,
    LEAST_LEFT_SECONDS,
    Activate,
    Drop,
    Succeed,
    check_may_rotate,
    must_renew,
    next_look,
    rotation,
    signer,
    trusts,
    valid,
)
from pilothouse.link.renewal import EARLIEST, LATEST, renewal_at
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import Authority, AuthorityState
from pilothouse.model.node import Node, NodeState

NOW = 1_800_000_000.0
HOUR = 3600.0
YEARS = 730 * 86_400.0


def authority(number, state, created=NOW - HOUR, cross=""):
    return Authority(
        id=str(number), certificate=f"CA{number}", sealed_key=b"", state=state, created_at=created,
        not_after=created + YEARS, cross=cross,
    )  # fmt: skip


def certificate(of, issued, serial="s"):
    return Certificate(
        serial=serial, not_before=issued - BACKDATE_SECONDS, not_after=issued + LIFE_SECONDS, authority=str(of)
    )


def node(id, *certificates, ready=True):
    return Node(id=id, certificates=certificates, ready=ready, state=NodeState.READY if ready else NodeState.DOWN)


ACTIVE = authority(1, AuthorityState.ACTIVE, NOW - 30 * 86_400)
NEXT = authority(2, AuthorityState.NEXT)


def test_nothing_is_due_with_one_authority_that_lasts():
    assert rotation([ACTIVE], [node("a", certificate(1, NOW))], NOW) == ()


def test_the_next_one_waits_for_every_node_that_is_there():
    heard, not_yet = node("a", certificate(1, NOW - 60)), node("b", certificate(1, NOW - 2 * HOUR))
    assert rotation([ACTIVE, NEXT], [heard, not_yet], NOW) == ()
    (step,) = rotation([ACTIVE, NEXT], [heard, replace(not_yet, certificates=(certificate(1, NOW - 30),))], NOW)
    assert isinstance(step, Activate)
    assert (step.next_id, step.old_id) == ("2", "1")


def test_a_node_that_is_down_is_not_waited_for():
    away = node("b", certificate(1, NOW - 2 * HOUR), ready=False)
    (step,) = rotation([ACTIVE, NEXT], [node("a", certificate(1, NOW)), away], NOW)
    assert isinstance(step, Activate)


def test_a_node_that_never_renews_is_waited_for_no_longer_than_a_certificate_lasts():
    stubborn = node("b", certificate(1, NEXT.created_at - 1))
    end = NEXT.created_at + BOUND_SECONDS
    assert rotation([ACTIVE, NEXT], [stubborn], end - 2) == ()
    (step,) = rotation([ACTIVE, NEXT], [stubborn], end)
    assert isinstance(step, Activate)


def test_the_old_one_is_trusted_until_its_last_certificate_ended():
    old, new = replace(ACTIVE, state=AuthorityState.OLD), replace(NEXT, state=AuthorityState.ACTIVE)
    last = certificate(1, NOW)
    nodes = [node("a", certificate(2, NOW)), node("b", last, ready=False)]
    assert rotation([old, new], nodes, last.not_after - 1) == ()
    (step,) = rotation([old, new], nodes, last.not_after)
    assert step == Drop(id="1", reason=step.reason)


def test_an_authority_that_has_ended_itself_is_dropped():
    old, new = replace(ACTIVE, state=AuthorityState.OLD, not_after=NOW), replace(NEXT, state=AuthorityState.ACTIVE)
    assert [type(s) for s in rotation([old, new], [node("b", certificate(1, NOW))], NOW)] == [Drop]


def test_an_authority_that_ends_before_long_is_followed_without_being_asked():
    late = ACTIVE.not_after - LEAST_LEFT_SECONDS
    assert rotation([ACTIVE], [], late - 1) == ()
    assert [type(s) for s in rotation([ACTIVE], [], late + 1)] == [Succeed]
    assert next_look([ACTIVE], [], NOW) == late


def test_a_second_change_waits_for_the_first():
    assert check_may_rotate([ACTIVE], [], NOW) == ACTIVE
    for other in (NEXT, replace(NEXT, state=AuthorityState.OLD)):
        with pytest.raises(ConflictError, match="not over"):
            check_may_rotate([ACTIVE, other], [], NOW)
    with pytest.raises(NotClusteredError):
        signer([])


def test_a_node_is_told_to_renew_when_there_is_something_to_hear():
    young = node("a", certificate(1, NOW - 60))
    assert not must_renew(young, [ACTIVE], NOW)
    assert must_renew(young, [ACTIVE, replace(NEXT, created_at=NOW - 30)], NOW)
    assert not must_renew(young, [ACTIVE, NEXT], NOW), "it was issued since"
    old = [replace(ACTIVE, state=AuthorityState.OLD), replace(NEXT, state=AuthorityState.ACTIVE)]
    assert must_renew(young, old, NOW)
    assert not must_renew(node("a", certificate(1, NOW - 60), certificate(2, NOW - 30)), old, NOW)
    assert must_renew(replace(young, rotated_at=NOW - 30), [ACTIVE], NOW)
    assert not must_renew(replace(young, rotated_at=NOW - 90), [ACTIVE], NOW)
    assert not must_renew(node("a"), [ACTIVE, NEXT], NOW)


@given(st.floats(0, 1, exclude_max=True), st.floats(60, 1e6))
def test_a_certificate_is_renewed_about_half_way(fraction, life):
    at = renewal_at(NOW, NOW + life, fraction)
    assert EARLIEST - 0.001 <= (at - NOW) / life <= LATEST + 0.001
    assert abs((EARLIEST + LATEST) / 2 - 0.5) < 0.001


@dataclasses.dataclass
class Machine:
    """A node as it is itself: the authorities it has heard of, and its newest certificate."""

    heard: frozenset
    up: bool = True


class Rotations(RuleBasedStateMachine):
    """Nodes come, go and renew at random while authorities change; what must hold does so at every moment."""

    @initialize()
    def begin(self):
        self.now = NOW
        self.authorities = {"1": authority(1, AuthorityState.ACTIVE, NOW - HOUR)}
        self.machines, self.nodes = {}, {}
        for name in "abc":
            self._certify(name)

    def _certify(self, name):
        active = signer(self.authorities.values())
        before = self.nodes.get(name) or node(name)
        kept = tuple(c for c in before.certificates if c.not_after > self.now)
        fresh = certificate(active.id, self.now, serial=f"{name}{self.now}")
        self.nodes[name] = replace(before, certificates=(*kept, fresh), ready=True, state=NodeState.READY)
        self.machines[name] = Machine(heard=frozenset(self.authorities))

    @rule(name=st.sampled_from("abc"))
    def goes_away(self, name):
        self.machines[name].up = False
        self.nodes[name] = replace(self.nodes[name], ready=False, state=NodeState.DOWN)

    @rule(name=st.sampled_from("abc"))
    def comes_back_and_renews(self, name):
        if valid(self.nodes[name], self.now):
            self._certify(name)

    @rule()
    def a_person_asks_for_another_authority(self):
        if len(self.authorities) == 1:
            number = str(max(map(int, self.authorities)) + 1)
            self.authorities[number] = authority(number, AuthorityState.NEXT, self.now, cross=f"by {int(number) - 1}")

    @rule(hours=st.floats(0.1, 13))
    def time_passes(self, hours):
        self.now += hours * HOUR
        for name, machine in self.machines.items():
            newest = self.nodes[name].certificates[-1]
            if (
                machine.up
                and self.now >= renewal_at(newest.not_before, newest.not_after, 0.5)
                and valid(self.nodes[name], self.now)
            ):
                self._certify(name)

    @rule()
    def steps_are_taken(self):
        self._step()
        assert self._due() == (), "and then nothing is due"

    def _due(self):
        return rotation(list(self.authorities.values()), list(self.nodes.values()), self.now)

    def _step(self):
        while due := self._due():
            for step in due:
                match step:
                    case Activate():
                        self._put(step.old_id, AuthorityState.OLD)
                        self._put(step.next_id, AuthorityState.ACTIVE)
                    case Drop():
                        del self.authorities[step.id]
                    case Succeed():
                        self.a_person_asks_for_another_authority()

    def _put(self, id, state):
        self.authorities[id] = replace(self.authorities[id], state=state)

    @invariant()
    def one_authority_signs(self):
        states = [each.state for each in self.authorities.values()]
        assert states.count(AuthorityState.ACTIVE) == 1
        assert len(states) <= 2

    @invariant()
    def every_valid_certificate_is_of_an_authority_that_is_trusted(self):
        """So a node that was down during the change can still come and renew."""
        for each in self.nodes.values():
            for held in valid(each, self.now):
                assert held.authority in self.authorities

    @invariant()
    def every_machine_with_a_valid_certificate_believes_the_managers(self):
        """It knows the authority that signs, or the one before it, which certified that."""
        active = signer(self.authorities.values())
        for name, machine in self.machines.items():
            if valid(self.nodes[name], self.now):
                known = active.id in machine.heard or active.cross.removeprefix("by ") in machine.heard
                assert known, f"{name} has heard of {sorted(machine.heard)}, and {active.id} signs"

    @invariant()
    def whoever_is_said_to_trust_an_authority_has_heard_of_it(self):
        for name, machine in self.machines.items():
            for each in self.authorities.values():
                if trusts(self.nodes[name], each, self.now):
                    assert each.id in machine.heard


TestRotations = Rotations.TestCase
