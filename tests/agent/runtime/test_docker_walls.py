"""What only a real engine can show: walls that hold, names that resolve, crashes that leave nothing."""

import asyncio
import contextlib
import json
import pathlib
import urllib.request

import msgspec
import pytest

from pilothouse.agent.runtime.docker.engine import DockerEngine
from pilothouse.agent.runtime.docker.fields import CONFIG, HOST_CONFIG
from pilothouse.agent.runtime.interface import EndpointPlan, NetworkPlan, PlannedMount
from pilothouse.agent.runtime.specimens import BROKEN, DEAF, HEALTHY, SLEEPER, plan, running, state_of
from pilothouse.clock import SystemClock
from pilothouse.errors import PermanentError, RuntimeUnavailableError
from pilothouse.ids import SystemIds
from pilothouse.model.container import ContainerSpec, Healthcheck, Limits, Ulimit
from pilothouse.model.hardening import DEFAULT_CAPABILITIES
from pilothouse.model.objects import PortBinding
from pilothouse.model.spec import IpamPool, NetworkSpec
from pilothouse.model.wire import LogQuery
from tests.engine import BASE, ORDINARY_USER, WEB

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("nothing_left_behind")]
UNIFIED = pathlib.Path("/sys/fs/cgroup/cgroup.controllers").exists()
_CAPABILITY_BITS = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "NET_BIND_SERVICE": 10,
}


@pytest.fixture(params=["docker_host", "podman_host"])
async def both(request):
    """Each engine in turn, with its host."""
    host = request.getfixturevalue(request.param)
    engine = DockerEngine(host.url, SystemClock(), SystemIds())
    yield engine, host
    await engine.close()


@pytest.fixture
async def docker(docker_host):
    engine = DockerEngine(docker_host.url, SystemClock(), SystemIds())
    yield engine
    await engine.close()


async def said(engine, name, script):
    code, output = await engine.exec(name, ("sh", "-c", script), timeout_seconds=10.0)
    assert code == 0, output
    return output.strip()


def own_namespaces():
    return [str(each.readlink()) for each in pathlib.Path("/proc/self/ns").iterdir()]


def fetched(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read()


@contextlib.asynccontextmanager
async def networks(engine, **subnets):
    for name, subnet in subnets.items():
        ipam = (IpamPool(subnet=subnet),) if subnet else ()
        spec = NetworkSpec(key=name, name=f"check_{name}", ipam=ipam)
        await engine.ensure_network(spec.name, NetworkPlan(app="check", spec=spec))
    try:
        yield
    finally:
        for name in subnets:
            await engine.remove_network(f"check_{name}")


def on(*names, alias="web", **changes):
    return tuple(EndpointPlan(network=f"check_{name}", key=name, aliases=(alias,), **changes) for name in names)


async def test_a_container_has_seven_capabilities_a_filter_a_limit_and_its_own_namespaces(both):
    engine, host = both
    wanted = plan("walls")
    async with running(engine, wanted):
        lines = (await said(engine, wanted.name, "cat /proc/1/status")).splitlines()
        status = dict(line.split(":", 1) for line in lines if ":" in line)
        assert status["NoNewPrivs"].strip() == "1"
        assert status["Seccomp"].strip() == "2"
        kept = sum(1 << _CAPABILITY_BITS[name] for name in DEFAULT_CAPABILITIES)
        assert int(status["CapBnd"], 16) == kept
        assert int(status["CapEff"], 16) == kept
        # Podman gives no cgroup namespace on a host with the older hierarchy; the files are read-only there.
        kinds = "ipc mnt net pid uts" + (" cgroup" if host.kind == "docker" or UNIFIED else "")
        inside = await said(engine, wanted.name, f"for n in {kinds}; do readlink /proc/1/ns/$n; done")
        assert len(inside.split()) == len(kinds.split())
        assert not set(inside.split()) & set(own_namespaces())


async def test_the_pids_limit_holds(docker):
    wanted = plan("bomb")
    spec = msgspec.structs.replace(wanted.spec, limits=Limits(pids=16))
    async with running(docker, msgspec.structs.replace(wanted, spec=spec)):
        script = "for i in $(seq 40); do sleep 5 & done 2>&1 | head -1; echo; ls -d /proc/[0-9]* | wc -l"
        _, output = await docker.exec(wanted.name, ("sh", "-c", script), timeout_seconds=10.0)
        assert "fork" in output


async def test_running_out_of_memory_is_told_as_such(docker):
    spec = ContainerSpec(image=SLEEPER, command=("sh", "-c", "tail /dev/zero"), limits=Limits(memory_bytes=16 << 20))
    wanted = plan("oom", spec=spec)
    async with asyncio.timeout(30), running(docker, wanted):
        ended = await docker.wait(wanted.name)
        assert (ended.code, ended.oom) == (137, True)


async def test_every_field_a_real_engine_knows_was_decided_on(docker, docker_host):
    wanted = plan("fields")
    async with running(docker, wanted):
        _, seen = docker_host.request("GET", f"/containers/{wanted.name}/json")
    assert set(seen["HostConfig"]) <= set(HOST_CONFIG)
    assert set(seen["Config"]) <= set(CONFIG)


async def test_an_ordinary_user_stays_one_and_a_file_can_be_read_only(both, tmp_path):
    engine, _ = both
    secret = tmp_path / "password"
    secret.write_text("open sesame")
    mounts = (
        PlannedMount(kind="bind", source=str(secret), target="/run/secrets/password", read_only=True),
        PlannedMount(kind="tmpfs", target="/scratch", size_bytes=1 << 20, mode=0o1777),
    )
    spec = ContainerSpec(image=ORDINARY_USER, ulimits={"nofile": Ulimit(soft=256, hard=256)}, read_only=True)
    wanted = plan("user", ORDINARY_USER, spec=spec, mounts=mounts)
    async with running(engine, wanted):
        assert await said(engine, wanted.name, "id -u; cat /run/secrets/password; ulimit -n") == "1000\nopen sesame256"
        assert "ok" in await said(engine, wanted.name, "echo x > /scratch/f && echo ok")
        code, output = await engine.exec(
            wanted.name, ("sh", "-c", "echo x > /run/secrets/password"), timeout_seconds=5.0
        )
        assert code != 0
        assert "Read-only" in output


async def test_services_find_each_other_by_alias_and_are_reached_by_published_port(both):
    engine, host = both
    web = plan("web", WEB, ports=(PortBinding(target=80, host_port=18080),))
    client = plan("client")
    async with networks(engine, front="", back=""):
        web = msgspec.structs.replace(web, endpoints=on("front", "back"))
        client = msgspec.structs.replace(client, endpoints=on("back", alias="client"))
        async with asyncio.timeout(60), running(engine, web, client):
            page = await said(engine, client.name, "until wget -qO- http://web/ 2>/dev/null; do :; done")
            assert page == "hello from busybox"
            state = await engine.inspect(web.name)
            with host.inside():
                for url in ("http://127.0.0.1:18080/", f"http://{state.addresses['check_back']}/"):
                    assert fetched(url) == b"hello from busybox\n"


async def test_a_fixed_address_is_the_address(both):
    engine, _ = both
    wanted = plan("fixed", endpoints=on("front", ipv4_address="10.219.7.77"))
    async with networks(engine, front="10.219.7.0/24"), running(engine, wanted):
        assert (await engine.inspect(wanted.name)).addresses == {"check_front": "10.219.7.77"}


async def test_a_container_that_was_created_on_one_of_its_networks_is_connected_to_the_others(docker, docker_host):
    wanted = plan("crashed", endpoints=on("front", "back"))
    async with networks(docker, front="", back=""):
        body = {"Image": BASE, "HostConfig": {"NetworkMode": "check_front"}}
        _, made = docker_host.request("POST", f"/containers/create?name={wanted.name}", body)
        async with running(docker, wanted):
            state = await docker.inspect(wanted.name)
            assert state.id == made["Id"]
            assert set(state.addresses) == {"check_front", "check_back"}


async def test_a_port_that_is_taken_fails_the_start_for_good(docker):
    ports = (PortBinding(target=80, host_port=18081),)
    first, second = (plan(name, ports=ports, endpoints=on("front")) for name in ("first", "second"))
    async with networks(docker, front=""), running(docker, first):
        try:
            await docker.prepare(second)
            with pytest.raises(PermanentError, match="18081"):
                await docker.start(second.name)
        finally:
            await docker.remove(second.name)


async def test_a_signal_of_ones_own_is_sent_first(both):
    engine, _ = both
    spec = ContainerSpec(image=SLEEPER, command=("sh", "-c", "trap 'exit 9' USR1; while :; do sleep 1 & wait $!; done"))
    wanted = plan("signal", spec=spec)
    async with running(engine, wanted):
        await asyncio.sleep(0)
        for _ in range(200):  # the shell sets its trap a moment after the start
            caught = (await said(engine, wanted.name, "grep SigCgt /proc/1/status")).split()[1]
            if int(caught, 16) & (1 << 9):
                break
        await engine.stop(wanted.name, 20.0, "SIGUSR1")
        assert (await engine.wait(wanted.name)).code == 9


async def test_exec_in_the_background_does_not_outlive_its_time(docker):
    wanted = plan("slow")
    async with running(docker, wanted):
        with pytest.raises(Exception, match="did not end"):
            await docker.exec(wanted.name, ("sleep", "333"), timeout_seconds=0.3)
        async with asyncio.timeout(10):
            while "sleep 333" in await said(docker, wanted.name, "ps"):
                pass


async def test_a_command_that_is_not_there_is_told_apart_from_one_that_fails(both):
    engine, _ = both
    wanted = plan("nocommand")
    async with running(engine, wanted):
        with pytest.raises(PermanentError, match="no-such-thing"):
            await engine.exec(wanted.name, ("/no-such-thing",), timeout_seconds=10.0)
        assert await engine.exec(wanted.name, ("sh", "-c", "exit 127"), timeout_seconds=10.0) == (127, "")


async def test_long_and_split_lines_come_back_whole(docker):
    script = "head -c 40000 /dev/zero | tr '\\0' x; echo; echo short; echo bad >&2; printf unfinished"
    wanted = plan("lines", spec=ContainerSpec(image=SLEEPER, command=("sh", "-c", script)))
    async with asyncio.timeout(30), running(docker, wanted):
        await docker.wait(wanted.name)
        query = LogQuery(task_id=wanted.task_id)
        lines = [(line.stream.value, line.text) async for line in docker.logs(wanted.name, query)]
    assert ("stdout", "x" * 40000) in lines
    assert {("stdout", "short"), ("stderr", "bad"), ("stdout", "unfinished")} <= set(lines)
    assert len(lines) == 4


async def test_a_terminals_lines_are_read_too(docker):
    wanted = plan("tty", spec=ContainerSpec(image=SLEEPER, command=("sh", "-c", "echo one; echo two"), tty=True))
    async with asyncio.timeout(30), running(docker, wanted):
        await docker.wait(wanted.name)
        query = LogQuery(task_id=wanted.task_id)
        assert [line.text async for line in docker.logs(wanted.name, query)] == ["one", "two"]


async def test_a_health_check_of_the_plan_replaces_the_images(docker):
    check = Healthcheck(test=("CMD", "false"), interval_seconds=0.2, timeout_seconds=5.0, retries=1)
    wanted = plan("sick", HEALTHY, spec=ContainerSpec(image=HEALTHY, healthcheck=check))
    async with asyncio.timeout(30), running(docker, wanted):
        async for _ in docker.events():
            if (await docker.inspect(wanted.name)).health == "unhealthy":
                break


async def test_containers_of_others_are_listed_and_can_become_ours_without_a_restart(both):
    engine, host = both
    labels = {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
    _, made = host.request("POST", "/containers/create?name=shop-web-1", {"Image": BASE, "Labels": labels})
    host.request("POST", f"/containers/{made['Id']}/start")
    wanted = plan("adopted")
    try:
        (found,) = await engine.list_foreign()
        assert (found.name, found.project, found.service, found.running) == ("shop-web-1", "shop", "web", True)
        assert await engine.status() == ()
        before = host.request("GET", f"/containers/{made['Id']}/json")[1]["State"]["Pid"]
        await engine.rename(found.id, wanted.name)
        await engine.rename(found.id, wanted.name)
        state = await state_of(engine, wanted.name)
        assert (state.id, state.pid, state.phase) == (made["Id"], before, "running")
        assert await engine.list_foreign() == ()
    finally:
        await engine.remove(wanted.name)


async def test_a_label_does_not_make_a_container_ours(docker, docker_host):
    labels = {"io.pilothouse.task": "t00000000000"}
    _, made = docker_host.request("POST", "/containers/create?name=spoof", {"Image": BASE, "Labels": labels})
    try:
        assert await docker.status() == ()
        assert [each.name for each in await docker.list_foreign()] == ["spoof"]
    finally:
        docker_host.request("DELETE", f"/containers/{made['Id']}?force=1")


async def test_a_volume_keeps_its_content_and_an_anonymous_one_goes_with_its_container(docker, docker_host):
    data = PlannedMount(kind="volume", source="check_data", target="/data")
    anonymous = PlannedMount(kind="volume", target="/cache")
    await docker.ensure_volume("check_data", "check", "", {})
    for name, script in (("writer", "echo kept > /data/f"), ("reader", "cat /data/f")):
        wanted = plan(name, mounts=(data, anonymous))
        async with running(docker, wanted):
            output = await said(docker, wanted.name, script)
    assert output == "kept"
    assert docker_host.inventory() == {"volume check_data"}
    assert await docker.remove_volume("check_data")


async def test_a_pull_that_cannot_work_fails_with_what_to_do(both):
    engine, _ = both
    steps = [step async for step in engine.ensure_image("127.0.0.1:1/no/such:image", "never")]
    assert (steps[-1].phase, steps[-1].id) == ("failed", "")
    assert "pull_policy" in steps[-1].message
    steps = []
    async for step in engine.ensure_image("127.0.0.1:1/no/such:image", "missing"):
        steps.append(step.phase)
        if step.phase in {"waiting", "failed"}:
            break
    assert steps == ["pulling", "waiting"], "a registry that refuses connections may come back"


async def test_a_network_of_compose_is_used_by_the_app_of_its_project_and_never_removed(docker, docker_host):
    body = {"Name": "check_default", "Labels": {"com.docker.compose.project": "check"}}
    docker_host.request("POST", "/networks/create", body)
    spec = NetworkSpec(key="default", name="check_default")
    try:
        await docker.ensure_network("check_default", NetworkPlan(app="check", spec=spec))
        with pytest.raises(PermanentError, match="is not of app other"):
            await docker.ensure_network("check_default", NetworkPlan(app="other", spec=spec))
        assert await docker.remove_network("check_default"), "nothing of ours is there to remove"
        assert docker_host.request("GET", "/networks/check_default")[0] == 200
    finally:
        docker_host.request("DELETE", "/networks/check_default")


async def test_a_dead_engine_is_unavailable_and_events_say_look_when_it_is_back(docker, docker_host):
    wanted = plan("survivor", DEAF)
    config = docker_host.directory / "daemon.json"
    before = config.read_text()
    config.write_text(json.dumps({"live-restore": True}))
    docker_host.kill()
    docker_host.start()
    try:
        assert not any("live-restore" in sentence for sentence in (await docker.describe()).warnings)
        async with asyncio.timeout(60), running(docker, wanted):
            pid = (await docker.inspect(wanted.name)).pid
            async with contextlib.aclosing(docker.events()) as events:
                assert await anext(events) == ""
                docker_host.kill()
                with pytest.raises(RuntimeUnavailableError, match="does not answer"):
                    await docker.status()
                docker_host.start()
                async for name in events:
                    if name == "":
                        break
            state = await docker.inspect(wanted.name)
            assert (state.phase, state.pid) == ("running", pid), "live-restore keeps containers over a crash"
    finally:
        config.write_text(before)
        docker_host.kill()
        docker_host.start()
    assert any("live-restore" in sentence for sentence in (await docker.describe()).warnings)


async def test_a_command_that_could_not_start_leaves_a_container_that_can_be_removed(both):
    engine, _ = both
    wanted = plan("broken", BROKEN)
    await engine.prepare(wanted)
    with pytest.raises(PermanentError):
        await engine.start(wanted.name)
    assert (await engine.inspect(wanted.name)).phase in {"created", "exited"}
    await engine.remove(wanted.name)


async def test_what_an_installation_makes_carries_its_id_and_only_it_can_remove_it(docker, docker_host):
    spec = NetworkSpec(key="own", name="check_own")
    try:
        await docker.ensure_network("check_own", NetworkPlan(app="check", installation="one", spec=spec))
        await docker.ensure_volume("check_own", "check", "", {}, "one")
        assert "check_own" not in await docker.list_networks("two")
        assert "check_own" in await docker.list_networks("one")
        for remove in (docker.remove_network, docker.remove_volume):
            assert await remove("check_own", "two")
        assert docker_host.request("GET", "/networks/check_own")[0] == 200
        assert docker_host.request("GET", "/volumes/check_own")[0] == 200
    finally:
        for remove in (docker.remove_network, docker.remove_volume):
            assert await remove("check_own", "one")
    assert docker_host.request("GET", "/networks/check_own")[0] == 404
    assert docker_host.request("GET", "/volumes/check_own")[0] == 404
