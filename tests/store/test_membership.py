"""What `doctor` says of the store's members, and how what stands in the cluster is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pilothouse.errors import StoreCorruptError, StoreUnavailableError
from pilothouse.model.api import StoreMember
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.states import Writer
from pilothouse.server.leftovers import leftovers
from pilothouse.store import rows
from pilothouse.store.conformance import sample_task
from pilothouse.store.copy import Whole, chained, digest_of
from pilothouse.store.etcd import rpc_pb2 as rpc
from pilothouse.store.etcd.layout import Head, Layout, commit_of, decode_head, decode_record, encode_head, encode_record
from pilothouse.store.etcd.membership import findings, remove, why_not_remove
from pilothouse.store.etcd.replica import digits
from pilothouse.store.interface import Change, Commit
from tests.examples import examples

GOOD = StoreMember(id="1", name="m1", version="3.5.29", bytes=1 << 20)


def three(**changed):
    return (replace(GOOD, **changed), replace(GOOD, id="2", name="m2"), replace(GOOD, id="3", name="m3"))


def levels(members):
    return [finding.level for finding in findings(members)]


def test_three_good_members_are_fine():
    assert levels(three()) == ["ok"] * 3


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        ({"version": "3.4.23"}, "warning", "runs etcd 3.4.23"),
        ({"version": "3.5.27"}, "warning", "3.5.27"),
        ({"version": "3.6.8"}, "warning", "3.6.8"),
        ({"trouble": "connection refused"}, "error", "does not answer"),
        ({"alarms": ("no space",)}, "error", "no more room"),
        ({"alarms": ("corrupt",)}, "error", "differ"),
        ({"bytes": 3 << 30}, "warning", "3072 MiB"),
    ],
)
def test_what_is_wrong_with_one_member_is_said_with_what_to_do(changed, level, words):
    (found,) = [each for each in findings(three(**changed)) if each.level != "ok"]
    assert (found.level, words in found.message, bool(found.advice)) == (level, True, True)


@pytest.mark.parametrize("version", ["3.5.28", "3.5.40", "3.6.9", "3.7.0", "4.0.0"])
def test_versions_without_the_known_faults_are_fine(version):
    assert levels(three(version=version)) == ["ok"] * 3


def test_a_lost_majority_and_an_even_number_are_said():
    lost = [replace(each, trouble="gone") for each in three()[:2]] + [three()[2]]
    assert "nothing can be written" in findings(tuple(lost))[0].message
    assert any("survive the loss of no more" in each.message for each in findings(three()[:2]))
    # One that only follows has no vote.
    assert levels((*three(), replace(GOOD, id="4", name="m4", learner=True))) == ["ok"] * 4


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30))
@examples(50)
def test_what_was_committed_is_read_back_and_its_digests_follow_from_each_other(numbers):
    objects, commits = {}, []
    for revision, number in enumerate(numbers, start=1):
        name = f"t{number}"
        before = objects.pop(name, None)
        after = None if before is not None and revision % 3 == 0 else sample_task(name)
        if after is not None:
            after = objects[name] = replace(after, version=revision, desired_reason="x" * (100 * number))
        commits.append(Commit(revision, float(revision), Writer.ORCHESTRATOR, (Change(before, after),)))
    whole = Whole(len(commits), tuple(objects.values()), tuple(commits), 1)
    found = chained(whole)
    assert [prepared.commit for prepared, _ in found] == commits
    assert found[-1][1] == digest_of(whole.objects)
    record = decode_record(encode_record("token", digits(found[-1][1]), [prepared for prepared, _ in found]))
    assert (record.first, record.last, record.token) == (1, len(commits), "token")
    digest, hashes = 0, {}
    for logged, commit, (_, expected) in zip(record.commits, commits, found, strict=True):
        read, left = commit_of(logged)
        assert read == commit
        for key, hashed in left.items():
            digest ^= hashes.get(key, 0) ^ hashed
            hashes[key] = hashed
        assert digest == expected


def test_keys_are_in_the_order_of_revisions_and_name_their_objects():
    layout = Layout()
    assert sorted([layout.record(10), layout.record(9), layout.record(100)]) == [
        layout.record(9), layout.record(10), layout.record(100)]  # fmt: skip
    task = sample_task("a/b c")
    assert layout.name_of(layout.object(*rows.key_of(task))) == ("task", "a/b c")


def test_a_sequence_of_another_format_is_refused():
    head = Head(revision=3, digest=digits(5), token="t")
    assert decode_head(encode_head(head)) == head
    with pytest.raises(StoreCorruptError, match="install a newer one"):
        decode_head(encode_head(replace(head, layout=2)))
    with pytest.raises(StoreCorruptError):
        decode_head(b"[]")


@given(
    voters=st.lists(st.booleans(), min_size=1, max_size=7),
    learners=st.lists(st.booleans(), max_size=2),
    chosen=st.integers(0, 8),
)
def test_no_member_is_taken_out_that_the_others_cannot_do_without(voters, learners, chosen):
    kinds = [(answers, False) for answers in voters] + [(answers, True) for answers in learners]
    members = [
        StoreMember(id=str(n), name=f"m{n}", learner=learner, trouble="" if answers else "gone")
        for n, (answers, learner) in enumerate(kinds)
    ]
    gone = members[chosen % len(members)]
    left = [each for each in members if each is not gone and not each.learner]
    goes_on = 2 * sum(not each.trouble for each in left) > len(left)
    why = why_not_remove(members, gone.id)
    assert bool(why) is not (gone.learner or goes_on)
    assert why_not_remove(members, "another") == ""


def manager(name, host, **fields):
    return ManagerMember(id=name, api=f"{host}:7443", sessions=f"{host}:7444", **{"approved_at": 1.0, **fields})


def member(name, host, number="1"):
    return StoreMember(id=number, name=name, peers=(f"https://{host}:7445",))


def test_managers_and_members_that_belong_together_leave_nothing_to_say():
    managers = [manager("m1", "10.0.0.1"), manager("m2", "10.0.0.2"), manager("m3", "10.0.0.3", approved_at=None)]
    assert leftovers(managers, [member("m1", "10.0.0.1"), member("m2", "10.0.0.2", "2")]) == ()
    assert leftovers(managers[:1], [StoreMember(id="1", name="manager", peers=("http://127.0.0.1:7445",))]) == ()
    assert leftovers([], [member("m0", "127.0.0.1")]) == (), "before there is a cluster"


def test_what_is_left_over_is_named_with_what_takes_it_away():
    managers = [manager("m1", "10.0.0.1"), manager("m2", "10.0.0.2"), manager("m3", "10.0.0.3")]
    members = [member("m1", "10.0.0.1"), member("", "10.0.0.2", "b"), member("m9", "10.0.0.9", "c")]
    waits, stranger, bare = leftovers(managers, members)
    assert ("never started" in waits.message, "node remove m2" in waits.advice) == (True, True)
    assert stranger.advice == "pilothouse store remove-member c"
    assert (bare.subject, "no share of the state" in bare.message) == ("manager m3", True)


class Answering:
    """Members that say there is one, and then what they said last."""

    def __init__(self, said):
        self.asked = []
        self._said = said

    async def call(self, method, request, seconds, attempt=0.0):
        self.asked.append(method.path.rpartition("/")[2])
        if self.asked[-1] == "MemberList":
            return rpc.MemberListResponse(members=[rpc.Member(ID=0xA, name="m1")])
        raise StoreUnavailableError(self._said)


async def test_a_member_that_was_taken_out_by_a_try_whose_answer_was_lost_is_out():
    gone = Answering("the store has no such member (etcdserver: member not found)")
    await remove(gone, "a")
    assert gone.asked == ["MemberList", "MemberRemove"]
    with pytest.raises(StoreUnavailableError, match="no answer"):
        await remove(Answering("no answer"), "a")
