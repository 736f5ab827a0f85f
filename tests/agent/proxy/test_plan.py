"""What Envoy is told follows from what should be served."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.agent.proxy import watches
from pilothouse.agent.proxy.bootstrap import bootstrap, buckets_ms
from pilothouse.agent.proxy.clusters import BYTES, NEW, OLD, cluster_names, endpoints
from pilothouse.agent.proxy.document import CLUSTERS, LISTENERS, resource_file, version_of, version_statistic
from pilothouse.agent.proxy.interface import Backend, Door
from pilothouse.agent.proxy.plan import plan
from pilothouse.agent.proxy.protocols import Manner, manner_of, peek_seconds
from pilothouse.agent.proxy.shares import served, shares
from pilothouse.agent.proxy.table import Table, Wanted
from pilothouse.model.objects import PortBinding
from pilothouse.model.wire import Split


def backend(task_id="a", **changes):
    port = PortBinding(
        target=80, host_port=changes.pop("host_port", 8080), host_ip=changes.pop("host_ip", ""), ingress=True
    )
    plain = Backend(
        task_id=task_id, service_id="shop/web", fingerprint="one", port=port, address="10.0.0.1", door=Door.OPEN
    )
    return msgspec.structs.replace(plain, **changes)


def split(weight, fingerprint="two"):
    return Split(app="shop", service="web", fingerprint=fingerprint, weight=weight)


def one(*backends, splits=()):
    (port,) = served(Wanted(backends=backends, splits=splits))
    return port


def text(value):
    return msgspec.json.encode(value).decode()


@pytest.mark.parametrize(
    ("said", "client_address", "manner"),
    [
        ("", "", Manner.SEEN),
        ("http", "", Manner.HTTP),
        ("HTTP", "", Manner.HTTP),
        ("grpc", "", Manner.HTTP2),
        ("h2c", "", Manner.HTTP2),
        ("tcp", "", Manner.BYTES),
        ("https", "", Manner.BYTES),
        ("something-new", "", Manner.BYTES),
        ("", "proxy-protocol", Manner.BYTES),
        ("http", "proxy-protocol", Manner.HTTP),
    ],
)
def test_how_a_port_is_proxied_follows_from_what_is_spoken(said, client_address, manner):
    assert manner_of(one(backend(app_protocol=said, client_address=client_address))) is manner


@pytest.mark.parametrize(
    ("target", "manner"), [(3306, Manner.BYTES), (25, Manner.BYTES), (80, Manner.SEEN), (6379, Manner.SEEN)]
)
def test_programs_that_speak_first_are_not_kept_waiting(target, manner):
    port = one(backend(port=PortBinding(target=target, host_port=1, ingress=True)))
    assert manner_of(port) is manner
    assert peek_seconds(port) == (10.0 if target == 80 else 0.15)


def test_the_newest_task_says_what_is_spoken():
    assert manner_of(one(backend("a", app_protocol="tcp"), backend("b", app_protocol="http"))) is Manner.HTTP


def test_a_port_is_listened_on_at_every_address_the_host_has():
    listening = plan([one(backend())], ipv6=True).listeners["p8080"]
    assert listening["address"]["socket_address"] == {"address": "0.0.0.0", "port_value": 8080}
    assert listening["additional_addresses"] == [{"address": {"socket_address": {"address": "::", "port_value": 8080}}}]
    assert "additional_addresses" not in plan([one(backend())], ipv6=False).listeners["p8080"]
    at_one = plan([one(backend(host_ip="192.0.2.1"))], ipv6=True).listeners["p8080-192_0_2_1"]
    assert at_one["address"]["socket_address"]["address"] == "192.0.2.1"
    assert "additional_addresses" not in at_one


def test_bytes_are_not_looked_into_where_the_manifest_says_so():
    listening = plan([one(backend(app_protocol="tcp"))], ipv6=False).listeners["p8080"]
    assert "listener_filters" not in listening
    assert "http_connection_manager" not in text(listening)


def test_only_a_port_that_asks_for_it_has_its_callers_told_by_proxy_protocol():
    assert "proxy_protocol" in text(plan([one(backend(client_address="proxy-protocol"))], ipv6=False).clusters)
    assert "proxy_protocol" not in text(plan([one(backend())], ipv6=False).clusters)


def test_a_new_release_changes_no_listener_and_no_cluster():
    before = plan([one(backend("a"))], ipv6=True)
    later = plan(
        [
            one(
                backend("a", door=Door.DRAINING),
                backend("b", fingerprint="two", address="10.0.0.2"),
                splits=(split(10),),
            )
        ],
        ipv6=True,
    )
    assert later.listeners == before.listeners
    assert later.clusters == before.clusters
    assert later.routes != before.routes


def test_a_draining_task_stays_an_endpoint_on_both_sides_and_gets_nothing():
    port = one(backend("a", door=Door.DRAINING), backend("b", address="10.0.0.2"))
    assert [(each.address, each.weight) for each in endpoints(port, OLD)] == [("10.0.0.1", 0), ("10.0.0.2", 1)]
    assert [(each.address, each.weight) for each in endpoints(port, NEW)] == [("10.0.0.1", 0)]
    assert [each.weight for each in endpoints(port, BYTES)] == [0, 10_000]


def test_a_closed_task_and_one_without_an_address_are_no_endpoints():
    port = one(backend("a", door=Door.CLOSED), backend("b", address=""))
    assert all(endpoints(port, part) == () for part in cluster_names(port))


def test_bytes_are_divided_by_the_weights_of_endpoints():
    port = one(backend("a"), backend("b", address="10.0.0.2", fingerprint="two"), splits=(split(20),))
    assert [each.weight for each in endpoints(port, BYTES)] == [8000, 2000]


def test_a_version_says_what_is_in_a_file():
    assert version_of(resource_file([{"a": 1}])) == version_of(resource_file([{"a": 1}]))
    assert version_of(resource_file([{"a": 1}])) != version_of(resource_file([{"a": 2}]))
    assert version_of(resource_file([{"a": 1}], 1)) != version_of(resource_file([{"a": 1}]))
    assert version_statistic("config/eds-p80-old.json") == "cluster.p80-old.version_text"
    assert version_statistic("config/rds-p80.json") == "http.p80.rds.p80.version_text"


def test_nothing_that_is_started_with_listens_on_tcp():
    assert "socket_address" not in text(bootstrap("admin.sock", 1000))
    assert bootstrap("admin.sock", 1000)["admin"]["address"]["pipe"]["mode"] == 0o600


def test_latencies_are_told_apart_by_a_quarter():
    bounds = buckets_ms()
    assert bounds == sorted(set(bounds))
    assert all(above <= max(below + 1, below * 1.34) for below, above in itertools.pairwise(bounds))


def test_the_earlier_of_two_services_has_the_port():
    ports = served(Wanted(backends=(backend("a"), backend("b", service_id="shop/other"))))
    assert [(port.service_id, len(port.backends)) for port in ports] == [("shop/web", 1)]


def test_what_an_earlier_agent_put_counts_until_it_is_put_anew_or_known_to_be_gone():
    table = Table(Wanted(backends=(backend("a"), backend("b"), backend("c"))))
    assert table.put("a", [])
    assert [each.task_id for each in table.wanted.backends] == ["b", "c"]
    assert table.settle(["b"])
    assert not table.settle(["b"])
    assert [each.task_id for each in table.wanted.backends] == ["b"]


def test_ports_of_the_engine_are_none_of_the_proxys():
    table = Table()
    assert not table.put("a", [backend(port=PortBinding(target=80, host_port=80))])


doors = st.sampled_from(Door)
tasks = st.lists(
    st.tuples(doors, st.sampled_from(["one", "two"]), st.sampled_from(["", "10.0.0.7"]), st.integers(8080, 8082)),
    max_size=8,
)


@given(tasks, st.one_of(st.none(), st.integers(0, 100)), st.sampled_from(["", "http", "tcp", "grpc"]))
def test_traffic_goes_to_open_tasks_alone_and_whole(tasks, weight, said):
    backends = tuple(
        backend(
            f"t{n}",
            door=door,
            fingerprint=mark,
            address=f"10.0.1.{n}" if known else "",
            host_port=number,
            app_protocol=said,
        )
        for n, (door, mark, known, number) in enumerate(tasks)
    )
    ports = served(Wanted(backends=backends, splits=() if weight is None else (split(weight),)))
    assert {port.host_port for port in ports} == {each.port.host_port for each in backends}
    for port in ports:
        ready = {each.task_id for each in port.backends if each.door is Door.OPEN and each.address}
        parts = shares(port)
        assert set(parts) <= ready
        assert sum(parts.values()) == pytest.approx(1.0 if ready else 0.0)
        assert sum(port.weights) == 100
        for part, share in zip((OLD, NEW), port.weights, strict=True):
            if part in cluster_names(port) and share and ready:
                assert any(each.weight for each in endpoints(port, part)), "requests are sent where nobody is"
    made = plan(ports, ipv6=True)
    assert made == plan(ports, ipv6=True)
    assert {LISTENERS, CLUSTERS} <= set(made.files)
    assert made.usable <= set(made.endpoints)


def test_no_more_ports_are_served_than_files_can_be_watched_and_the_first_have_precedence():
    ports = served(Wanted(backends=tuple(backend(f"t{n}", host_port=n) for n in range(1, 5))))
    assert [watches.needed(port) for port in ports] == [4] * 4
    assert [port.host_port for port in watches.too_many(ports, 9)] == [3, 4]
    assert watches.too_many(ports, 16) == ()
