"""Making a cluster, letting machines in, and what a stolen token, a guess, a replay or a rogue node gets: nothing."""

import asyncio
import base64
import json

import pytest
from msgspec.structs import replace

from pilothouse.errors import ConflictError, UnauthorizedError
from pilothouse.governance.identity.authority.verify import verify
from pilothouse.governance.identity.principal import Principal
from pilothouse.link.credentials import leaf_of, new_request, uri_names
from pilothouse.link.tls import Peer
from pilothouse.model.cluster import Authority, AuthorityState, JoinToken, ManagerMember
from pilothouse.model.cluster import Cluster as Stored
from pilothouse.model.kinds import KINDS
from pilothouse.model.node import Availability, Node
from pilothouse.model.objects import AuditRecord, ResolvedImage, Service
from pilothouse.model.states import TaskState, Writer
from pilothouse.server.api.cluster import MAX_JOIN
from pilothouse.server.cluster.admission import allowed
from pilothouse.server.cluster.allow_list import AllowList
from pilothouse.server.cluster.authorities import hash_of
from pilothouse.server.cluster.joining import REFUSED
from pilothouse.server.cluster.renewing import GRACE_SECONDS, MOST_AT_ONCE
from pilothouse.server.cluster.revoked import revoked
from pilothouse.server.cluster.rotating import Own
from tests.server.clustering import Cluster
from tests.server.harness import NOW, World, service, task_of

DAY = 86_400.0


@pytest.fixture
async def bare(tmp_path):
    return Cluster(tmp_path)


@pytest.fixture
async def cluster(bare):
    assert (await bare.init()).status == 200
    return bare


# Making one


async def test_a_platform_becomes_a_cluster_with_this_machine_as_first_manager(bare):
    answer = await bare.init()
    view = answer.json
    assert (view["node_id"], view["nodes"]) == ("m1", 1)
    assert [m["api"] for m in view["managers"]] == ["192.0.2.1:7443"]
    assert [m["sessions"] for m in view["managers"]] == ["192.0.2.1:7444"]
    assert [a["state"] for a in view["authorities"]] == ["active"]
    held = bare.credentials.held()
    assert held.names == (
        f"spiffe://{view['cluster']}/agent/m1",
        f"spiffe://{view['cluster']}/manager/m1",
    )
    assert (await bare.allowed((bare.credentials.directory() / "node.pem").read_text())).id == "m1"
    assert [f.cluster for f in bare.founded] == [view["cluster"]]
    assert len(await bare.records("cluster.create")) == 1


async def test_asking_again_makes_nothing_new(cluster):
    before = cluster.credentials.held()
    again = await cluster.init()
    assert again.status == 200
    assert cluster.credentials.held() == before
    assert len(await cluster.all(Authority)) == 1
    assert len(await cluster.records("cluster.create")) == 1


async def test_a_manager_that_died_in_the_middle_of_it_is_made_whole_by_asking_again(cluster):
    cluster.credentials.remove()
    assert (await cluster.init()).status == 200
    assert cluster.credentials.held().names[1].endswith("/manager/m1")
    assert len(cluster.founded) == 2


async def test_another_address_is_refused_once_there_is_a_cluster(cluster):
    answer = await cluster.init("192.0.2.9:7443")
    assert (answer.status, answer.json["code"]) == (409, "PH104")
    assert "as 192.0.2.1:7443" in answer.json["detail"]


@pytest.mark.parametrize("address", ["", "host:0", "host:65534", "a b", "host:x", "-h", "[::1", "x" * 300])
async def test_an_address_that_is_none_makes_no_cluster(bare, address):
    answer = await bare.init(address)
    assert answer.status == 400
    assert await bare.all(Authority) == []


async def test_a_platform_on_one_host_says_so(bare):
    for method, path, body in (
        ("GET", "/v1/cluster", None),
        ("GET", "/v1/cluster/authority", None),
        ("POST", "/v1/tokens", {}),
        ("POST", "/v1/cluster/rotate-ca", None),
        ("POST", "/v1/cluster/confirm-evictions", None),
    ):
        answer = await bare.call(method, path, body)
        assert (answer.status, answer.json["code"]) == (409, "PH114"), path


# What leaves the server


async def test_no_answer_of_the_api_holds_a_key_or_the_hash_of_a_secret(cluster):
    token = await cluster.token()
    record = await cluster.one(JoinToken, token.token_id)
    sealed = (await cluster.all(Authority))[0].sealed_key
    paths = ["/v1/tokens", "/v1/cluster", "/v1/cluster/authority", "/v1/nodes", "/v1/audit", "/v1/events"]
    for kind in KINDS:
        if kind is AuditRecord:
            continue
        paths += [f"/v1/inspect/{kind.__name__.lower()}/{each.id}" for each in await cluster.all(kind)]
    texts = [(await cluster.get(path)).body for path in paths]
    for text in texts:
        assert b"PRIVATE" not in text
        assert record.secret_hash.encode() not in text
        assert token.secret.encode() not in text
        assert base64.b64encode(sealed)[:40] not in text


async def test_the_authority_is_what_the_tokens_hash_says(cluster):
    token = await cluster.token()
    answer = await cluster.anonymous("GET", "/v1/cluster/authority")
    assert [hash_of(each) for each in answer.json["authorities"]] == [token.authority_hash]


# Joining


async def test_a_machine_joins_with_the_role_and_the_labels_of_its_token(cluster):
    token = await cluster.token(labels={"zone": "a"})
    request = new_request()
    answer = await cluster.join(token, request=request.text)
    assert answer.status == 201, answer
    got = answer.json
    assert (got["node_id"], got["role"], got["managers"]) == ("web1", "agent", ["192.0.2.1:7444"])
    assert "warning" not in got
    found = verify(got["certificate"], [got["authorities"]], NOW)
    assert found.identity.node_id == "web1"
    assert leaf_of(got["certificate"]).public_key().public_numbers()
    node = await cluster.one(Node, "web1")
    assert node.spec.labels == {"zone": "a"}
    assert node.description.address == "198.51.100.7"
    assert (await cluster.allowed(got["certificate"])).id == "web1"
    used = await cluster.one(JoinToken, token.token_id)
    assert (used.used_by, used.used_at) == ("web1", NOW)
    (said,) = await cluster.records("node.join")
    assert (said.principal, said.object, said.outcome) == ("address:198.51.100.7", "node/web1", "done")


@pytest.mark.parametrize(
    ("hostname", "node_id"),
    [("web1.example.org", "web1"), ("WEB1", "web1"), ("we_b", "we_b"), ("--", "node"), ("", "node"), ("ü", "node"),
     ("../../etc", "node"), ("a/b", "a-b"), ("x" * 300, "x" * 40)],
)  # fmt: skip
async def test_a_node_is_called_after_its_host_as_far_as_that_can_be(cluster, hostname, node_id):
    assert (await cluster.join(await cluster.token(), hostname=hostname)).json["node_id"] == node_id


async def test_a_name_that_is_taken_is_not_given_again_and_a_warning_says_so(cluster):
    """A stolen token is no way to become a node that is there already."""
    names = [(await cluster.join(await cluster.token(), hostname="m1")).json for _ in range(2)]
    assert [each["node_id"] for each in names] == ["m1-2", "m1-3"]
    assert "there is a node m1 already" in names[0]["warning"]


async def test_a_token_lets_one_machine_in_and_no_second(cluster):
    token = await cluster.token()
    first, second = await asyncio.gather(*(cluster.join(token, hostname=name) for name in ("a", "b")))
    assert sorted([first.status, second.status]) == [201, 403]
    assert len(await cluster.all(Node)) == 2
    replayed = await cluster.join(token, hostname="a")
    assert replayed.status == 403
    assert replayed.json["detail"] == REFUSED


async def _used(cluster):
    token = await cluster.token()
    await cluster.join(token)
    return token, "used already"


async def _expired(cluster):
    token = await cluster.token(life_seconds=60)
    cluster.clock.at += 60
    return token, "expired"


async def _revoked(cluster):
    token = await cluster.token()
    assert (await cluster.call("DELETE", f"/v1/tokens/{token.token_id}")).status == 200
    return token, "revoked"


async def _unknown(cluster):
    return replace(await cluster.token(), token_id="AAAAAAA2"), "no such token"


async def _wrong(cluster):
    return replace(await cluster.token(), secret="A" * 26), "secret is wrong"


@pytest.mark.parametrize("how", [_used, _expired, _revoked, _unknown, _wrong], ids=lambda f: f.__name__[1:])
async def test_every_wrong_token_gets_one_answer_and_the_record_has_the_reason(cluster, how):
    token, reason = await how(cluster)
    before = await cluster.all(Node)
    answer = await cluster.join(token, hostname="thief")
    assert (answer.status, answer.json["code"], answer.json["detail"]) == (403, "PH113", REFUSED)
    assert await cluster.all(Node) == before
    refused = [each for each in await cluster.records("node.join") if each.outcome == "refused"]
    assert [reason in each.summary for each in refused] == [True]
    assert token.secret not in json.dumps([each.summary for each in refused])


async def test_wrong_guesses_shut_an_address_out_even_with_the_right_token(cluster):
    token = await cluster.token()
    for n in range(5):
        assert (await cluster.join(replace(token, secret="B" * 26))).json["detail"] == REFUSED, n
    shut = await cluster.join(token)
    assert shut.status == 403
    assert "too many wrong tokens" in shut.json["detail"]
    assert (await cluster.join(token, client="198.51.100.8")).status == 201, "others may go on"
    refused = [each for each in await cluster.records("node.join") if each.outcome == "refused"]
    assert len(refused) == 5
    assert "refused for a minute" in refused[-1].summary


async def test_a_flood_of_guesses_from_everywhere_does_not_flood_the_record(cluster):
    token = replace(await cluster.token(), secret="B" * 26)
    for n in range(80):
        await cluster.join(token, client=f"198.51.100.{n}")
    assert len(await cluster.records("node.join")) == 60


async def test_a_request_that_cannot_be_used_does_not_use_the_token_up(cluster):
    token = await cluster.token()
    assert (await cluster.join(token, request="nonsense")).status == 400
    assert (await cluster.join(token)).status == 201


async def test_a_request_that_cannot_be_used_tells_nothing_about_the_token(cluster):
    token = replace(await cluster.token(), secret="C" * 26)
    assert (await cluster.join(token, request="nonsense")).json["detail"] == REFUSED


async def test_the_body_of_a_join_is_bounded(cluster):
    answer = await cluster.anonymous("POST", "/v1/join", raw=b"{" + b" " * MAX_JOIN)
    assert answer.status == 413


async def test_a_token_outlives_no_hour_and_carries_no_label_of_the_platform(cluster):
    assert (await cluster.call("POST", "/v1/tokens", {"life_seconds": 3601})).status == 400
    for labels in ({"pilothouse/x": "y"}, {"a b": "c"}, {"a": "c\n"}, {f"k{n}": "v" for n in range(65)}):
        assert (await cluster.call("POST", "/v1/tokens", {"labels": labels})).status == 400, labels


async def test_a_token_that_was_used_is_not_revoked_afterwards(cluster):
    token = await cluster.token()
    await cluster.join(token)
    assert "revoked_at" not in (await cluster.call("DELETE", f"/v1/tokens/{token.token_id}")).json
    assert (await cluster.call("DELETE", "/v1/tokens/NOSUCH22")).status == 404


# Managers


async def test_a_manager_that_joined_is_an_agent_until_a_person_approves_it(cluster):
    answer = await cluster.join(await cluster.token(role="manager"), hostname="m2", address="192.0.2.2")
    got = answer.json
    assert got["role"] == "manager"
    cluster_id = got["cluster"]
    assert uri_names(leaf_of(got["certificate"])) == (f"spiffe://{cluster_id}/agent/m2",)
    assert (await cluster.one(ManagerMember, "m2")).approved_at is None
    assert got["managers"] == ["192.0.2.1:7444"], "nobody is sent to it"
    renewed = await cluster.renew("m2")
    assert len(uri_names(leaf_of(renewed.certificate))) == 1, "renewing makes it none either"

    assert (await cluster.call("POST", "/v1/nodes/m2/approve")).status == 200
    member = await cluster.one(ManagerMember, "m2")
    assert (member.api, member.sessions, member.approved_by) == ("192.0.2.2:7443", "192.0.2.2:7444", "uid:1000(alice)")
    renewed = await cluster.renew("m2")
    assert uri_names(leaf_of(renewed.certificate))[1] == f"spiffe://{cluster_id}/manager/m2"
    assert (await cluster.allowed(renewed.certificate)).id == "m2"


async def test_an_agent_cannot_be_approved(cluster):
    await cluster.join(await cluster.token())
    answer = await cluster.call("POST", "/v1/nodes/web1/approve")
    assert answer.status == 400
    assert "joined as an agent" in answer.json["detail"]
    assert (await cluster.call("POST", "/v1/nodes/nosuch/approve")).status == 404


async def test_only_an_approved_manager_on_the_list_may_call_the_api_by_its_certificate(cluster):
    await cluster.join(await cluster.token(role="manager"), hostname="m2", address="192.0.2.2")
    agent = (await cluster.join(await cluster.token())).json["certificate"]
    waiting = (await cluster.renew("m2")).certificate
    await cluster.call("POST", "/v1/nodes/m2/approve")
    manager = (await cluster.renew("m2")).certificate
    listed = AllowList(cluster.clock)
    await cluster.store.view(listed.survey)
    revision = await cluster.store.view(lambda tx: tx.revision)

    def who(certificate):
        leaf = leaf_of(certificate)
        return listed.principal(Peer(uri_names(leaf), f"{leaf.serial_number:x}"))

    assert who(manager) == Principal(kind="manager", id="m2")
    assert who(agent) is None
    assert who(waiting) is None
    assert listed.principal(Peer()) is None
    leaf = leaf_of(manager)
    assert listed.principal(Peer(uri_names(leaf), "1234")) is None, "a serial that nobody gave out"
    cluster.clock.at += DAY + 1
    assert who(manager) is None
    cluster.clock.at -= DAY + 1
    assert (await cluster.call("DELETE", "/v1/nodes/m2")).status == 200
    for commit in await cluster.store.history(revision, 100):
        listed.note(commit)
    assert who(manager) is None


# Sessions and renewal


async def test_a_certificate_opens_sessions_only_while_it_is_on_the_list(cluster):
    got = (await cluster.join(await cluster.token())).json
    assert (await cluster.allowed(got["certificate"])).id == "web1"
    cluster.clock.at += DAY
    with pytest.raises(UnauthorizedError, match="has ended"):
        await cluster.allowed(got["certificate"])
    cluster.clock.at -= DAY
    assert (await cluster.call("DELETE", "/v1/nodes/web1")).status == 200
    with pytest.raises(UnauthorizedError, match="was removed"):
        await cluster.allowed(got["certificate"])
    await cluster.join(await cluster.token())
    with pytest.raises(UnauthorizedError, match="taken back"):
        await cluster.allowed(got["certificate"])


async def test_a_certificate_of_another_cluster_or_of_nobody_opens_nothing(cluster):
    got = (await cluster.join(await cluster.token())).json
    serial = f"{leaf_of(got['certificate']).serial_number:x}"
    for names in ((), ("spiffe://" + "d" * 32 + "/agent/web1",), (f"spiffe://{got['cluster']}/manager/web1",)):
        with pytest.raises(UnauthorizedError, match="names no node of this cluster"):
            await cluster.store.view(lambda tx, names=names: allowed(tx, serial, names, NOW))
    both = tuple(f"spiffe://{got['cluster']}/{role}/web1" for role in ("agent", "manager"))
    with pytest.raises(UnauthorizedError, match="manager's certificate and is none"):
        await cluster.store.view(lambda tx: allowed(tx, serial, both, NOW))


async def test_a_renewed_certificate_and_the_one_before_it_both_work_until_they_end(cluster):
    first = (await cluster.join(await cluster.token())).json["certificate"]
    cluster.clock.at += DAY / 2
    second = (await cluster.renew("web1")).certificate
    await cluster.allowed(first)
    await cluster.allowed(second)
    cluster.clock.at += DAY / 2
    with pytest.raises(UnauthorizedError):
        await cluster.allowed(first)
    await cluster.allowed(second)
    await cluster.renew("web1")
    node = await cluster.one(Node, "web1")
    assert len(node.certificates) == 2, "what has ended is forgotten"


async def test_a_rotated_node_gets_a_new_key_and_the_old_one_ends_soon_after(cluster):
    first = (await cluster.join(await cluster.token())).json["certificate"]
    cluster.clock.at += 60
    assert (await cluster.call("POST", "/v1/nodes/web1/rotate")).status == 200
    cluster.clock.at += 60
    await cluster.allowed(first)
    second = (await cluster.renew("web1")).certificate
    await cluster.allowed(first)
    cluster.clock.at += GRACE_SECONDS
    with pytest.raises(UnauthorizedError):
        await cluster.allowed(first)
    await cluster.allowed(second)


async def test_a_clone_that_renews_again_and_again_is_stopped(cluster):
    await cluster.join(await cluster.token())
    for _ in range(MOST_AT_ONCE - 1):
        await cluster.renew("web1")
    with pytest.raises(ConflictError, match="second machine with its disk"):
        await cluster.renew("web1")
    with pytest.raises(UnauthorizedError):
        await cluster.renew("nosuch")


# Authorities in turn


async def test_a_node_that_was_down_while_the_authority_changed_still_comes_and_renews(cluster):
    away = (await cluster.join(await cluster.token(), hostname="away")).json
    here = (await cluster.join(await cluster.token(), hostname="here")).json
    await cluster.change("here", ready=True)
    await cluster.change("m1", ready=True)
    cluster.clock.at += 3600
    made = await cluster.call("POST", "/v1/cluster/rotate-ca")
    assert (made.status, made.json["state"]) == (201, "next")
    assert (await cluster.call("POST", "/v1/cluster/rotate-ca")).status == 409
    await cluster.rotate()
    assert [a.state for a in await cluster.all(Authority)] == [AuthorityState.ACTIVE, AuthorityState.NEXT]

    cluster.clock.at += 1
    before = await cluster.renew("here")
    await cluster.renew("m1")
    await cluster.rotate()
    assert [a.state for a in await cluster.all(Authority)] == [AuthorityState.OLD, AuthorityState.ACTIVE]
    old, new = (each.certificate for each in await cluster.all(Authority))
    assert before.authorities == old + new

    # The manager shows a certificate of the new authority; who was away believes it by way of the old one.
    cluster.clock.at += 1
    shown = (await cluster.renew("m1")).certificate
    assert verify(shown, [away["authorities"]], cluster.clock.at).identity.node_id == "m1"
    # Its own certificate is of the old authority, and still on the list.
    assert verify(away["certificate"], [old, new], cluster.clock.at).authority == 0
    assert (await cluster.allowed(away["certificate"])).id == "away"
    renewed = await cluster.renew("away")
    assert verify(renewed.certificate, [new], cluster.clock.at).authority == 0
    assert (await cluster.allowed(here["certificate"])).id == "here"

    cluster.clock.at += DAY
    await cluster.rotate()
    assert [a.id for a in await cluster.all(Authority)] == ["2"]
    assert [r.action for r in await cluster.all(AuditRecord) if r.action.startswith("authority.")] == [
        "authority.create", "authority.activate", "authority.drop"]  # fmt: skip
    token = await cluster.token()
    assert token.authority_hash == hash_of(new)


async def test_a_manager_keeps_its_own_files_in_step(cluster):
    own = Own(cluster.store, cluster.clock, cluster.context.ids, cluster.context.vault, cluster.credentials, "m1")
    cluster.clock.at += 3600
    await own.act()
    assert not own.renewal.now.is_set()
    await cluster.call("POST", "/v1/cluster/rotate-ca")
    await own.act()
    assert cluster.credentials.held().authorities.count("BEGIN") == 2
    assert own.renewal.now.is_set()
    serial = cluster.credentials.held().serial
    await own.renewal.renew()
    assert cluster.credentials.held().serial != serial


# Nodes


async def test_a_person_labels_taints_and_drains_a_node(cluster):
    await cluster.join(await cluster.token(labels={"zone": "a", "disk": "ssd"}))
    answer = await cluster.call(
        "PATCH",
        "/v1/nodes/web1",
        {"labels": {"zone": "b", "disk": None}, "availability": "drain", "taints": [{"key": "gpu"}]},
    )
    spec = answer.json["spec"]
    assert (spec["labels"], spec["availability"], spec["taints"]) == ({"zone": "b"}, "drain", [{"key": "gpu"}])
    answer = await cluster.call("PATCH", "/v1/nodes/web1", {"untaint": ["gpu"], "availability": "active"})
    assert answer.json["spec"] == {"labels": {"zone": "b"}}
    (first, second) = await cluster.records("node.change")
    assert {(c.path, c.before, c.after) for c in first.changes} == {
        ("availability", "active", "drain"), ("labels.disk", "ssd", ""), ("labels.zone", "a", "b"),
        ("taints.gpu.no-schedule", "", "set"),
    }  # fmt: skip
    assert {c.path for c in second.changes} == {"availability", "taints.gpu.no-schedule"}
    await cluster.call("PATCH", "/v1/nodes/web1", {"availability": "active"})
    assert len(await cluster.records("node.change")) == 2, "what changes nothing is not recorded"


async def test_a_maintenance_drains_and_ends_when_the_node_is_activated(cluster):
    await cluster.join(await cluster.token())
    asked = {"maintenance": {"reason": "new disk", "for_seconds": 600, "deadline_seconds": 300}}
    await cluster.call("PATCH", "/v1/nodes/web1", asked)
    spec = (await cluster.one(Node, "web1")).spec
    assert spec.availability is Availability.DRAIN
    assert (spec.maintenance.until, spec.maintenance.deadline) == (NOW + 600, NOW + 300)
    assert spec.maintenance.requested_by == "uid:1000(alice)"
    assert (await cluster.call("PATCH", "/v1/nodes/web1", {**asked, "availability": "active"})).status == 400
    await cluster.call("PATCH", "/v1/nodes/web1", {"availability": "active"})
    assert (await cluster.one(Node, "web1")).spec.maintenance is None


@pytest.mark.parametrize(
    "body",
    [{"labels": {"pilothouse/x": "y"}}, {"taints": [{"key": "a b"}]}, {"labels": {f"k{n}": "v" for n in range(65)}},
     {"maintenance": {"for_seconds": -1}}, {"taints": [{"key": f"t{n}"} for n in range(33)]}],
)  # fmt: skip
async def test_what_a_node_cannot_be_is_refused(cluster, body):
    assert (await cluster.call("PATCH", "/v1/nodes/m1", body)).status == 400
    assert (await cluster.call("PATCH", "/v1/nodes/nosuch", {"labels": {"a": "b"}})).status == 404


async def _with_task(cluster, node):
    web = Service(id="shop/web", app="shop", name="web", spec=service("web"), image=ResolvedImage(ref="img"))
    task = task_of(web)
    await cluster.store.update(Writer.ORCHESTRATOR, lambda tx: tx.put(task))
    await cluster.store.update(
        Writer.RESOURCES, lambda tx: tx.put(replace(tx.get(type(task), task.id), state=TaskState.PENDING))
    )
    await cluster.store.update(
        Writer.SCHEDULER,
        lambda tx: tx.put(replace(tx.get(type(task), task.id), state=TaskState.ASSIGNED, node_id=node)),
    )


async def test_a_node_with_tasks_is_removed_only_by_force(cluster):
    await cluster.join(await cluster.token())
    await _with_task(cluster, "web1")
    answer = await cluster.call("DELETE", "/v1/nodes/web1")
    assert answer.status == 409
    assert "shop/web among them: drain it first" in answer.json["detail"]
    assert (await cluster.call("DELETE", "/v1/nodes/web1?force=true")).status == 200
    assert await cluster.one(Node, "web1") is None
    assert len(await cluster.records("node.remove")) == 1


async def test_the_manager_that_answers_and_the_only_one_are_not_removed(cluster):
    assert "cannot remove itself" in (await cluster.call("DELETE", "/v1/nodes/m1")).json["detail"]
    cluster.context = None
    other = World(store=cluster.store, node_id="m9")
    assert "only manager" in (await other.call("DELETE", "/v1/nodes/m1")).json["detail"]


async def test_a_manager_is_made_an_agent_and_takes_another_certificate_but_the_only_one_stays(cluster):
    await cluster.join(await cluster.token(role="manager"), hostname="m2")
    await cluster.call("POST", "/v1/nodes/m2/approve")
    assert (await cluster.call("POST", "/v1/nodes/m2/demote")).status == 200
    node = await cluster.one(Node, "m2")
    assert (node.role, node.rotated_at, await cluster.one(ManagerMember, "m2")) == ("agent", NOW, None)
    # What it has opens the store's members as long as it needs that to fetch another one, and no longer.
    known = (await cluster.one(Stored, "cluster")).revoked
    serials = tuple(sorted(each.serial for each in node.certificates))
    assert revoked(known, NOW) == ((), NOW + GRACE_SECONDS)
    assert revoked(known, NOW + GRACE_SECONDS)[0] == serials
    assert revoked(known, max(each.not_after for each in node.certificates)) == ((), None)
    assert len(await cluster.records("node.demote")) == 1
    again = await cluster.call("POST", "/v1/nodes/m2/demote")
    assert (again.status, "is an agent already" in again.json["detail"]) == (400, True)
    only = await cluster.call("POST", "/v1/nodes/m1/demote")
    assert (only.status, "only manager" in only.json["detail"]) == (409, True)


async def test_what_a_removed_manager_has_opens_the_store_no_more_at_once(cluster):
    await cluster.join(await cluster.token(role="manager"), hostname="m2")
    await cluster.call("POST", "/v1/nodes/m2/approve")
    node = await cluster.one(Node, "m2")
    await cluster.call("DELETE", "/v1/nodes/m2")
    known = (await cluster.one(Stored, "cluster")).revoked
    assert revoked(known, NOW)[0] == tuple(sorted(each.serial for each in node.certificates))


async def test_lost_nodes_are_confirmed_by_a_person(cluster):
    assert (await cluster.call("POST", "/v1/cluster/confirm-evictions")).status == 200
    assert (await cluster.one(Stored, "cluster")).evictions_confirmed_at == NOW
    assert len(await cluster.records("cluster.confirm-evictions")) == 1
