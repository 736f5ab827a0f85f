"""The sample app of the demo, with real images made of distribution packages, on a real engine."""

import http.client
import json
import os
import pathlib
import subprocess

import pytest

from tests.engine import until
from tests.platform import platform, settled

pytestmark = [pytest.mark.engine, pytest.mark.slow]

BOOKSHOP = pathlib.Path(__file__).parents[3] / "examples" / "bookshop"
PORT = 18080


@pytest.fixture(scope="module")
def shop(docker_host):
    environment = {**os.environ, "DOCKER_HOST": docker_host.url}
    subprocess.run([BOOKSHOP / "images" / "build"], check=True, env=environment, timeout=600)
    with platform(docker_host) as made:
        yield made
    docker_host.clear()


def _ask(made, method, path):
    with made.host.inside():
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
        connection.request(method, path)
    try:
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def _up(made):
    return made.up(BOOKSHOP / "compose.yaml", environment={"WEB_PORT": str(PORT)})


def _packed(made):
    return json.loads(_ask(made, "GET", "/api/orders")[1])["packed"]


def test_the_shop_runs_heals_keeps_its_orders_and_goes_without_a_trace(shop):
    before = shop.host.inventory()
    _up(shop)
    assert _ask(shop, "GET", "/")[0] == 200

    assert _ask(shop, "POST", "/api/orders")[0] == 201
    until(lambda: _packed(shop) == 1, "the worker packed the order")

    database = next(t for t in shop.tasks("bookshop") if t["service"] == "db")
    shop.host.request("POST", f"/containers/ph.bookshop.db.1.{database['id']}/kill")
    until(lambda: not [t for t in shop.tasks("bookshop") if t["id"] == database["id"]], "the killed task is dead")
    assert settled(shop, "bookshop")["converged"]
    until(lambda: _packed(shop) == 1, "the orders are still there after the database was killed")
    said = shop.command("explain", "bookshop/db").stdout
    assert "SIGKILL" in said or "137" in said

    untouched = {t["id"] for t in shop.tasks("bookshop")}
    _up(shop)
    assert {t["id"] for t in shop.tasks("bookshop")} == untouched

    shop.command("down", "bookshop", "--volumes")
    assert shop.host.inventory() == before


def test_the_password_is_nowhere_in_the_engine(shop):
    _up(shop)
    secret = "a-password-for-the-demo"
    containers = shop.host.request("GET", "/containers/json?all=1")[1]
    inspected = [json.dumps(shop.host.request("GET", f"/containers/{c['Id']}/json")[1]) for c in containers]
    assert len(inspected) >= 5
    assert [text for text in inspected if secret in text] == []
    shop.command("down", "bookshop", "--volumes")
