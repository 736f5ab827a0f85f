"""The client: values in, values out, and every error as its class."""

import pytest

from pilothouse import errors
from pilothouse.cli.client import Client, Gone
from pilothouse.cli.failure import problem_of
from pilothouse.cli.transport import Transport
from pilothouse.model import api as values
from pilothouse.model.spec import AppSpec
from pilothouse.model.wire import ImageProgress, Stream
from tests.cli.fake_api import events, ndjson, page, problem
from tests.cli.views import app, service, task


@pytest.fixture
def client(api):
    return Client(Transport(api.path, timeout_seconds=5.0))


def _classes(root=errors.PilothouseError):
    yield root
    for sub in root.__subclasses__():
        if sub.__module__ == errors.__name__:
            yield from _classes(sub)


@pytest.mark.parametrize("error", [c for c in _classes() if "code" in vars(c)], ids=lambda c: c.code)
def test_every_error_arrives_as_the_class_it_left_as(api, client, error):
    api.answers["GET", "/v1/info"] = problem(error("what, where, why, what to do"))
    with pytest.raises(error) as raised:
        client.info()
    assert type(raised.value) is error
    assert str(raised.value) == "what, where, why, what to do"


def test_refusals_travel_with_the_error(api, client):
    refusal = values.Refusal(
        service="web", key="services.web.privileged", value="true", grant="privileged", reason="why"
    )
    api.answers["PUT", "/v1/apps/shop"] = problem(errors.PolicyDeniedError("no"), refusals=(refusal,))
    with pytest.raises(errors.PolicyDeniedError) as raised:
        client.deploy(values.DeployRequest(spec=AppSpec(name="shop")))
    assert problem_of(raised.value).refusals == (refusal,)


def test_a_list_is_read_to_its_last_page(api, client):
    pages = {None: page(task(id="t00000000001"), after="1"), "1": page(task(id="t00000000002"))}
    api.answers["GET", "/v1/tasks"] = lambda query, _: pages[query.get("after")]
    assert [each.id for each in client.tasks("shop")] == ["t00000000001", "t00000000002"]
    assert api.asked[0][2] == {"app": "shop", "all": "false", "limit": "1000"}


def test_contents_of_secrets_arrive_as_they_were(api, client):
    request = values.DeployRequest(spec=AppSpec(name="shop"), secrets={"key": b"\x00\xff"})
    api.answers["PUT", "/v1/apps/shop"] = values.DeployResult(app="shop", revision=1)
    client.deploy(request, key="once")
    assert api.bodies("PUT", "/v1/apps/shop", values.DeployRequest) == [request]


def test_names_cannot_leave_their_place_in_a_path(api, client):
    with pytest.raises(errors.NotFoundError):
        client.app("../../healthz?x#y")
    assert api.asked[0][1] == "/v1/apps/..%2F..%2Fhealthz%3Fx%23y"


def test_a_watch_yields_views_heartbeats_and_the_end(api, client):
    api.answers["GET", "/v1/apps/shop/watch"] = events(("app", app(service())), ("", ""), ("gone", {"name": "shop"}))
    assert list(client.watch_app("shop")) == [app(service()), None, Gone()]


def test_streams_of_lines_are_decoded_one_by_one(api, client):
    entry = values.LogEntry(task_id="t1", service="web", slot=1, at=1.5, stream=Stream.ERR, text="a\nb")
    api.answers["GET", "/v1/apps/shop/logs"] = ndjson(entry, entry)
    assert list(client.logs("shop", ("web", "db"), tail=5)) == [entry, entry]
    assert api.asked[0][2] == {"services": "web,db", "tail": "5", "follow": "false"}


def test_a_stream_that_breaks_off_is_no_success(api, client):
    step = ImageProgress(ref="web:1", phase="pulling")
    api.answers["POST", "/v1/images/ensure"] = [*ndjson(step), None]
    steps = client.ensure_image(values.ImageRequest(ref="web:1"))
    assert next(steps) == step
    with pytest.raises(errors.ServerUnavailableError, match="may or may not have been done"):
        next(steps)


def test_something_else_on_the_socket_is_told_apart(api, client):
    api.answers["GET", "/v1/info"] = lambda *_: values.Problem(type="", title="", status=500, detail="", code="")
    api.answers["GET", "/v1/doctor"] = b"<html>"
    with pytest.raises(errors.PilothouseError):
        client.info()
    with pytest.raises(errors.ServerUnavailableError, match="of another version"):
        client.doctor()


def test_a_silent_server_is_given_up(api, client):
    api.answers["GET", "/v1/apps/shop/watch"] = lambda *_: _Slow()
    api_wait = iter([5.0, 0.05, 0.05, 0.05])
    with pytest.raises(errors.ServerUnavailableError, match="did not answer in time"):
        list(client.watch_app("shop", lambda: next(api_wait)))


class _Slow(list):
    """One event, then silence until the reader has gone."""

    def __iter__(self):
        import threading

        yield events(("app", app(service())))[0]
        threading.Event().wait(1.0)
