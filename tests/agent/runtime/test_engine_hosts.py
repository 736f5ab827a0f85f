"""The engines that tests are given are private and leave nothing."""

import socket
import subprocess

import pytest

from tests.engine import BASE, IMAGES, SPARE

pytestmark = pytest.mark.engine


@pytest.fixture(params=["docker_host", "podman_host"])
def host(request):
    return request.getfixturevalue(request.param)


def test_every_test_image_is_there(host):
    # The spare one is there to be removed by other tests.
    there = IMAGES.keys() - {SPARE}
    assert {ref: host.request("GET", f"/images/{ref}/json")[0] for ref in there} == dict.fromkeys(there, 200)


def test_the_hosts_network_is_not_touched(host):
    def interfaces(*prefix):
        return subprocess.run([*prefix, "ip", "-o", "link"], capture_output=True, text=True, check=True).stdout

    outside = socket.if_nameindex()
    with host.inside():
        within = socket.if_nameindex()
    assert socket.if_nameindex() == outside
    assert within != outside
    assert all(name in interfaces(*host.enter()) for _, name in within)
    assert not {"docker0", "podman0"} & {name for _, name in outside}


def test_what_a_test_leaves_is_told_and_removed(host):
    made, answer = host.request("POST", "/containers/create?name=left", {"Image": BASE})
    assert made == 201, answer
    assert host.inventory() == {"container /left"}
    host.clear()
    assert host.inventory() == set()
