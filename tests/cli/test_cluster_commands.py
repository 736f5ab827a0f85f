"""The commands about the cluster ask what the person meant, and say what came of it."""

import json

import pytest
from msgspec.structs import replace

from pilothouse.cli import lifecycle, membership
from pilothouse.cli.membership import Membership
from pilothouse.cli.promotion import stage
from pilothouse.errors import ConflictError, NotClusteredError, NotYetError
from pilothouse.model.api import StoreMember, StoreStatus
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import JoinToken, ManagerMember, Role
from pilothouse.model.cluster_api import (
    AuthorityView,
    ClusterView,
    FormatView,
    InitRequest,
    MaintenanceRequest,
    NodePatch,
    RunningVersion,
    TokenMade,
    TokenRequest,
)
from pilothouse.model.images import NodeImage, NodeImages, Reclaimed
from pilothouse.model.node import Availability, Maintenance, Node, NodeDescription, NodeSpec
from pilothouse.model.placement import Taint, TaintEffect
from tests.cli.fake_api import page

FAR = 4_000_000_000.0
CLUSTER = ClusterView(
    cluster="c" * 32,
    created_at=1.0,
    node_id="m1",
    authorities=(AuthorityView(id="1", state="active", hash="ab", created_at=1.0, not_after=FAR),),
    managers=(
        ManagerMember(id="m1", api="10.0.0.5:7443", sessions="10.0.0.5:7444", approved_at=1.0),
        ManagerMember(id="m2", api="10.0.0.6:7443", sessions="10.0.0.6:7444"),
    ),
    nodes=2,
)


def token(**fields):
    return JoinToken(**{
        "id": "ABCDEFG2", "secret_hash": "", "role": Role.AGENT, "created_at": 1.0, "expires_at": FAR,
        "created_by": "me", **fields,
    })  # fmt: skip


MADE = TokenMade(token="PH1-ABCDEFG2-SECRET-HASH", address="10.0.0.5:7443", record=token())


def test_init_makes_the_cluster_and_prints_the_command_to_join_with(api, command):
    api.answers["POST", "/v1/cluster"] = CLUSTER
    api.answers["POST", "/v1/tokens"] = MADE
    done = command("init", "--advertise", "10.0.0.5")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].strip() == "pilothouse join 10.0.0.5:7443 PH1-ABCDEFG2-SECRET-HASH"
    assert api.bodies("POST", "/v1/cluster", InitRequest) == [InitRequest(advertise="10.0.0.5:7443")]


def test_init_finds_an_address_by_itself(api, command, monkeypatch):
    from pilothouse.cli import joining

    monkeypatch.setattr(joining, "own_address", lambda: "fd00::7")
    api.answers["POST", "/v1/cluster"] = CLUSTER
    api.answers["POST", "/v1/tokens"] = MADE
    assert json.loads(command("init", "--json").out)["token"] == MADE.token
    assert api.bodies("POST", "/v1/cluster", InitRequest) == [InitRequest(advertise="[fd00::7]:7443")]


def test_an_address_that_is_none_is_refused_before_a_server_is_started(here, command):
    assert command("init", "--advertise", "a b").code == 3


def test_a_refusal_of_the_server_is_told(api, command):
    api.answers["POST", "/v1/cluster"] = ConflictError("there is a cluster already")
    done = command("init", "--advertise", "10.0.0.5")
    assert (done.code, "PH104" in done.err) == (3, True)


def test_a_token_is_asked_for_with_role_labels_and_time(api, command):
    api.answers["POST", "/v1/tokens"] = MADE
    done = command("token", "create", "--role", "manager", "--label", "zone=b", "--label", "x=", "--ttl", "10m")
    assert done.out == "pilothouse join 10.0.0.5:7443 PH1-ABCDEFG2-SECRET-HASH\n"
    asked = TokenRequest(role=Role.MANAGER, labels={"zone": "b", "x": ""}, life_seconds=600.0)
    assert api.bodies("POST", "/v1/tokens", TokenRequest) == [asked]


@pytest.mark.parametrize("labels", [("zone",), ("=b",), ("a=b", "a=c")])
def test_a_label_of_another_form_is_refused(api, command, labels):
    arguments = [word for label in labels for word in ("--label", label)]
    assert command("token", "create", *arguments).code == 3


def test_tokens_that_can_be_used_are_listed_and_the_others_on_request(api, command):
    api.answers["GET", "/v1/tokens"] = page(
        token(), token(id="USED2222", used_by="web1"), token(id="GONE2222", revoked_at=2.0),
        token(id="LATE2222", expires_at=2.0),
    )  # fmt: skip
    assert [line.split()[0] for line in command("token", "ls").out.splitlines()] == ["TOKEN", "ABCDEFG2"]
    everything = command("token", "ls", "--all").out
    assert [" used by web1 " in everything, " revoked " in everything, " expired " in everything] == [True] * 3


def test_a_token_is_revoked_and_a_used_one_points_at_its_node(api, command):
    api.answers["DELETE", "/v1/tokens/ABCDEFG2"] = token(revoked_at=2.0)
    assert command("token", "revoke", "ABCDEFG2").out == "revoked ABCDEFG2\n"
    api.answers["DELETE", "/v1/tokens/ABCDEFG2"] = token(used_by="web1")
    assert "pilothouse node remove web1" in command("token", "revoke", "ABCDEFG2").out


@pytest.mark.parametrize(
    ("words", "patch"),
    [
        (("label", "web1", "zone=b", "disk-"), NodePatch(labels={"zone": "b", "disk": None})),
        (("label", "web1", "a=-"), NodePatch(labels={"a": "-"})),
        (("taint", "web1", "gpu=yes"), NodePatch(taints=(Taint(key="gpu", value="yes"),))),
        (("taint", "web1", "old:evict"), NodePatch(taints=(Taint(key="old", effect=TaintEffect.EVICT),))),
        (("taint", "web1", "gpu-"), NodePatch(untaint=("gpu",))),
        (("drain", "web1"), NodePatch(availability=Availability.DRAIN)),
        (
            ("drain", "web1", "--for", "2h", "--deadline", "30m", "--reason", "disk"),
            NodePatch(maintenance=MaintenanceRequest(reason="disk", for_seconds=7200.0, deadline_seconds=1800.0)),
        ),
        (("pause", "web1"), NodePatch(availability=Availability.PAUSE)),
        (("activate", "web1"), NodePatch(availability=Availability.ACTIVE)),
    ],
)
def test_what_a_person_decides_about_a_node_is_one_patch(api, command, words, patch):
    api.answers["PATCH", "/v1/nodes/web1"] = Node(id="web1")
    assert command("node", *words).code == 0
    assert api.bodies("PATCH", "/v1/nodes/web1", NodePatch) == [patch]


def test_an_effect_that_is_none_is_refused(api, command):
    done = command("node", "taint", "web1", "gpu:sometimes")
    assert (done.code, "no-schedule or evict" in done.err) == (3, True)


def test_a_change_says_what_holds_now(api, command):
    kept = Maintenance(reason="disk", until=FAR)
    spec = NodeSpec(labels={"zone": "b"}, taints=(Taint(key="gpu"),), availability=Availability.DRAIN, maintenance=kept)
    api.answers["PATCH", "/v1/nodes/web1"] = Node(id="web1", spec=spec)
    said = command("node", "drain", "web1").out
    assert said.startswith("web1: drain; labels zone=b; taints gpu:no-schedule; in maintenance until 2096-")


def test_a_node_is_shown_with_its_certificates(api, command):
    certificates = (Certificate(serial="ab12", not_before=1.0, not_after=2.0, authority="1"),)
    api.answers["GET", "/v1/nodes/web1"] = Node(id="web1", role="agent", certificates=certificates)
    said = command("node", "inspect", "web1").out
    assert "ab12 of authority 1, ended" in said
    assert json.loads(command("node", "inspect", "web1", "--json").out)["id"] == "web1"


MIB = 1 << 20
DONE = Reclaimed(at=1.0, reason="the engine's disk (/d) was 86 % full", images=("old:1",), count=1, freed_bytes=3 * MIB)
STOCK = NodeImages(
    path="/d",
    total_bytes=100 * MIB,
    free_bytes=14 * MIB,
    begins_percent=85,
    ends_percent=80,
    images=(
        NodeImage(id="sha256:1", names=("old:1",), size_bytes=2 * MIB, used_at=1.0),
        NodeImage(id="sha256:" + "2" * 64, size_bytes=5 * MIB, kept="a container is made from it"),
    ),
)


def test_the_images_of_a_node_are_listed_with_why_they_stay(api, command):
    api.answers["GET", "/v1/nodes/web1/images"] = STOCK
    rows = command("node", "images", "web1").out.splitlines()
    assert [row.split()[0] for row in rows[1:3]] == ["old:1", "2" * 12]
    assert rows[1].endswith("- (may be removed)")
    assert rows[2].endswith("a container is made from it")
    assert "1 image may be removed, 2.0 MiB at most" in rows[3]
    assert "the disk (/d) is 86 % full: removing begins at 85 % and ends below 80 %" in rows[3]
    plan = command("node", "images", "web1", "--plan").out
    assert ("old:1" in plan, "a container" in plan) == (True, False)
    shown = json.loads(command("node", "images", "web1", "--plan", "--json").out)
    assert [each["id"] for each in shown["images"]] == ["sha256:1"]


def test_what_was_removed_from_a_node_is_said_and_shown_afterwards(api, command):
    api.answers["POST", "/v1/nodes/web1/prune"] = DONE
    said = "1 image (old:1) removed, 3 MiB freed: the engine's disk (/d) was 86 % full"
    assert command("node", "prune", "web1").out == f"{said}\n"
    assert json.loads(command("node", "prune", "web1", "--json").out)["count"] == 1
    about = NodeDescription(reclaimed=DONE, warnings=("its clock is 3.0 s behind the manager's",))
    api.answers["GET", "/v1/nodes/web1"] = Node(id="web1", description=about)
    shown = command("node", "inspect", "web1").out
    assert said in shown
    assert "warning:       its clock is 3.0 s behind" in shown


@pytest.mark.parametrize(
    ("words", "method", "path", "said"),
    [
        (("rotate", "web1"), "POST", "/v1/nodes/web1/rotate", "asked for a new key"),
        (("approve", "web1", "--no-wait"), "POST", "/v1/nodes/web1/approve", "approved as a manager"),
        (("demote", "web1"), "POST", "/v1/nodes/web1/demote", "is an agent"),
        (("remove", "web1"), "DELETE", "/v1/nodes/web1", "pilothouse leave"),
    ],
)
def test_what_is_done_to_a_node_is_said(api, command, words, method, path, said):
    api.answers[method, path] = Node(id="web1")
    assert said in command("node", *words).out
    assert json.loads(command("node", *words, "--json").out)["id"] == "web1"


def test_force_is_asked_for_in_words(api, command):
    api.answers["DELETE", "/v1/nodes/web1"] = Node(id="web1")
    command("node", "remove", "web1")
    command("node", "remove", "web1", "--force")
    assert [query["force"] for *_, query, _ in api.asked] == ["false", "true"]


def test_the_cluster_is_shown_with_managers_and_authorities(api, command):
    api.answers["GET", "/v1/cluster"] = CLUSTER
    said = command("cluster", "show").out
    assert ["approved" in said, "waits for approval" in said, "active" in said] == [True] * 3


def test_a_platform_on_one_host_says_so(api, command):
    api.answers["GET", "/v1/cluster"] = NotClusteredError("this platform runs on one host")
    done = command("cluster", "show")
    assert (done.code, "PH114" in done.err) == (3, True)


def test_the_authority_is_changed_and_evictions_are_confirmed(api, command):
    api.answers["POST", "/v1/cluster/rotate-ca"] = CLUSTER.authorities[0]
    api.answers["POST", "/v1/cluster/confirm-evictions"] = CLUSTER
    assert "authority 1 is made" in command("cluster", "rotate-ca").out
    assert "confirmed" in command("cluster", "confirm-evictions").out


FORMAT = FormatView(
    number=1,
    newest=2,
    version="0.2.0",
    managers=(RunningVersion(name="m1", version="0.2.0", format=2),),
    agents=(RunningVersion(name="web1", version="0.1.0"),),
    held_back_by=("the agent of web1 (down) runs 0.1.0, which knows format 1: upgrade it",),
)


def test_an_upgrade_says_who_holds_it_back_and_is_finished_by_hand(api, command):
    api.answers["GET", "/v1/format"] = FORMAT
    shown = command("cluster", "format").out
    assert "format 1; this manager runs 0.2.0, which knows up to format 2" in shown
    assert "! held back: the agent of web1 (down) runs 0.1.0" in shown
    assert ["web1", "agent", "0.1.0", "1"] in [line.split() for line in shown.splitlines()]
    api.answers["POST", "/v1/format/raise"] = NotYetError(FORMAT.held_back_by[0])
    done = command("cluster", "format", "--raise")
    assert (done.code, "PH117" in done.err) == (3, True)
    api.answers["POST", "/v1/format/raise"] = replace(FORMAT, held_back_by=())
    assert "it is being raised" in command("cluster", "format", "--raise").out


# This machine


def joined(tmp_path, role=Role.AGENT):
    data = tmp_path / "data"
    data.mkdir()
    membership.save(data, Membership(role=role, node_id="web1", cluster="c" * 32, managers=("10.0.0.5:7444",)))
    return data


def test_an_agents_machine_starts_no_server(here, command, tmp_path):
    joined(tmp_path)
    for words in (("server", "start"), ("server", "run"), ("init", "--advertise", "10.0.0.7")):
        done = command(*words)
        assert (done.code, "is an agent (web1) of a cluster" in done.err) == (3, True), words


def test_a_token_can_come_from_standard_input(here, command):
    for stdin, said in (("PH1-short\n", "2 parts"), ("", "begins with PH1-")):
        done = command("join", "127.0.0.1:1", "-", stdin=stdin)
        assert (done.code, said in done.err) == (3, True), done.err


def test_a_token_can_come_from_a_file_and_who_else_can_read_it_is_said(here, command, tmp_path):
    file = tmp_path / "token"
    file.write_text("PH1-short\n")
    file.chmod(0o644)
    done = command("join", "127.0.0.1:1", "--token-file", str(file))
    assert (done.code, "2 parts" in done.err, "can be read by other users" in done.err) == (3, True, True)
    file.chmod(0o600)
    assert "can be read" not in command("join", "127.0.0.1:1", "--token-file", str(file)).err
    missing = command("join", "127.0.0.1:1", "--token-file", str(tmp_path / "none"))
    assert (missing.code, "No such file" in missing.err) == (3, True)


def test_a_token_is_named_in_one_way(here, command, tmp_path):
    for words in ((), ("PH1-a", "--token-file", "token")):
        done = command("join", "127.0.0.1:1", *words)
        assert (done.code, "in one way" in done.err) == (3, True)


def test_leaving_forgets_everything(here, command, tmp_path):
    data = joined(tmp_path)
    done = command("leave")
    assert (done.code, "pilothouse node remove web1" in done.out) == (0, True)
    assert list(data.iterdir()) == []
    assert command("leave").code == 3


def test_the_manager_that_has_the_state_leaves_only_by_force(here, command, tmp_path):
    data = joined(tmp_path, Role.MANAGER)
    (data / "store.db").write_text("the state")
    assert "without it there is no cluster" in command("leave").err
    assert membership.load(data) is not None
    assert command("leave", "--force").code == 0
    assert (data / "store.db").read_text() == "the state"


def test_a_manager_that_does_not_run_leaves_only_by_force_and_keeps_its_share_aside(here, command, tmp_path):
    data = joined(tmp_path, Role.MANAGER)
    (data / "etcd").mkdir()
    (data / "etcd" / "member.json").write_text("{}")
    assert "its server does not run" in command("leave").err
    assert membership.load(data) is not None
    assert command("leave", "--force").code == 0
    assert (data / "etcd.left" / "member.json").exists()


def test_a_machine_that_waits_to_be_a_manager_leaves_as_an_agent_does(here, command, tmp_path):
    data = joined(tmp_path, Role.MANAGER)
    assert command("leave").code == 0
    assert list(data.iterdir()) == []


def test_an_agent_says_what_it_waits_for_before_it_is_a_manager(here, command, tmp_path):
    joined(tmp_path, Role.MANAGER)
    (tmp_path / "becoming").write_text("its member follows the others")
    assert "becomes a manager: its member follows the others" in command("agent", "status").out


STATUS = StoreStatus(kind="etcd", revision=1, members=(StoreMember(id="a", name="m1"),))


def test_approving_says_that_the_state_must_be_shared_first(api, command):
    api.answers["POST", "/v1/nodes/m2/approve"] = Node(id="m2")
    api.answers["GET", "/v1/store"] = StoreStatus(kind="sqlite", revision=1)
    done = command("node", "approve", "m2")
    assert (done.code, "pilothouse store migrate --to etcd" in done.out) == (0, True)


def test_approving_waits_until_the_new_member_has_its_vote(api, command):
    api.answers["POST", "/v1/nodes/m2/approve"] = Node(id="m2")
    api.answers["GET", "/v1/store"] = replace(STATUS, members=(*STATUS.members, StoreMember(id="b", name="m2")))
    done = command("node", "approve", "m2")
    assert (done.code, "m2 is a manager" in done.out) == (0, True)


def test_each_stage_of_becoming_a_manager_has_its_words():
    def with_member(**fields):
        return stage(replace(STATUS, members=(*STATUS.members, StoreMember(**{"id": "b", "name": "", **fields}))), "m2")

    said = [stage(STATUS, "m2"), with_member(), with_member(name="m2", learner=True), with_member(name="m2")]
    assert said[-1] == ""
    assert len(set(said)) == 4


def test_a_member_that_nobody_needs_is_removed_by_name(api, command):
    api.answers["DELETE", "/v1/store/members/b"] = page(StoreMember(id="b", name="", peers=("https://10.0.0.9:7445",)))
    assert "removed the member b (never started, https://10.0.0.9:7445)" in command("store", "remove-member", "b").out


def test_a_machine_whose_engine_does_not_answer_stays_a_member_until_told_to_keep_what_runs(
    here, command, tmp_path, monkeypatch
):
    data = joined(tmp_path)
    monkeypatch.setenv("PILOTHOUSE_ENGINE", str(tmp_path / "none.sock"))
    (data / "installation-id").write_text("i00000000001\n")
    failed = command("leave")
    assert (failed.code, "--keep-running" in failed.err) == (2, True)
    assert membership.load(data) is not None
    assert "nobody looks after them" in command("leave", "--keep-running").out
    assert membership.load(data) is None


def test_a_machine_in_no_cluster_runs_no_agent(here, command):
    done = command("agent", "run")
    assert (done.code, "PH114" in done.err) == (3, True)
    assert command("agent", "status").code == 2


def test_the_unit_of_the_agent_runs_the_agent():
    text = lifecycle.unit_text("/opt/ph/bin/python", lifecycle.AGENT_UNIT)
    assert 'ExecStart="/opt/ph/bin/python" -m pilothouse agent run\n' in text
    assert "KillMode=process" in text
