"""A bad release is undone by the platform itself through the API's own door; manager and agent joined, in real time."""

import json

import msgspec
import pytest
from msgspec.structs import replace

from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.governance.secrets.seal import KEY_BYTES, Vault
from pilothouse.model.container import FileGrant
from pilothouse.model.objects import AuditRecord, Grant, Secret, Task
from pilothouse.model.release import Release, ReleaseKind, ReleaseState
from pilothouse.model.spec import AppSpec, FileSpec, UpdatePolicy
from pilothouse.model.states import TaskState, Writer
from tests.scenarios.test_one_process import OneProcess
from tests.server.harness import call, service


@pytest.fixture
def process(tmp_path):
    good = [FakeImage(ref=ref, id=f"sha256:{ref}") for ref in ("web:1", "web:3")]
    return OneProcess(tmp_path, *good, FakeImage(ref="web:2", id="sha256:web:2", exit_after_seconds=0.05, exit_code=7))


def spec(image, **fields):
    grants = (FileGrant(source="key", target="/run/secrets/key"),)
    web = service("web", image, secrets=grants, rollback=UpdatePolicy(monitor_seconds=0.0), **fields)
    return AppSpec(name="shop", services=(web,), secrets=(FileSpec(key="key", name="key"),))


async def deploy(process, image, content, **fields):
    body = json.loads(msgspec.json.encode({"spec": spec(image, **fields), "secrets": {"key": content}}))
    answer = await call(process.manager.api, "PUT", "/v1/apps/shop", body)
    assert answer.status == 200, answer
    return answer.json["revision"]


async def becomes(process, number, state):
    await process.until(lambda tx: (found := _release(tx, number)) is not None and found.state is state)
    return await process.store.view(lambda tx: _release(tx, number))


def _release(tx, number):
    return tx.get(Release, f"shop/{number:06d}")


async def running(process):
    found = await process.store.view(lambda tx: tx.find(Task, app="shop"))
    return [task for task in found if task.state is TaskState.RUNNING and task.spec.container.image != "web:2"]


async def test_a_release_that_crashes_is_undone_with_its_secrets_and_the_old_task_is_never_touched(process):
    async with process.running():
        await deploy(process, "web:1", b"old")
        await becomes(process, 1, ReleaseState.STABLE)
        (before,) = await running(process)
        await deploy(process, "web:2", b"new")
        failed = await becomes(process, 2, ReleaseState.ROLLED_BACK)
        assert failed.evidence.service == "web"
        assert "exited with code 7" in failed.sentence
        third = await becomes(process, 3, ReleaseState.STABLE)
        assert (third.kind, third.copies, third.undoes, third.created_by) == (ReleaseKind.ROLLBACK, 1, 2, "system")
        (after,) = await running(process)
        assert (after.id, after.status.started_at) == (before.id, before.status.started_at)
        secret = await process.store.view(lambda tx: tx.get(Secret, "shop/key"))
        assert Vault(b"k" * KEY_BYTES).open("shop", "key", secret.content_version, secret.sealed) == b"old"
        records = await process.store.view(lambda tx: tx.find(AuditRecord, object="app/shop"))
        assert [(r.principal, r.action) for r in records][-1] == ("system", "app.rollback")


async def test_a_server_that_dies_while_it_rolls_back_makes_one_rollback(process):
    async with process.running():
        await deploy(process, "web:1", b"old")
        await becomes(process, 1, ReleaseState.STABLE)
        await deploy(process, "web:2", b"new")
        await process.until(lambda tx: _release(tx, 2).state in {ReleaseState.ROLLING_BACK, ReleaseState.ROLLED_BACK})
    async with process.running():
        await becomes(process, 3, ReleaseState.STABLE)
        await becomes(process, 2, ReleaseState.ROLLED_BACK)
    releases = await process.store.view(lambda tx: tx.find(Release, app="shop"))
    assert [(r.number, r.undoes) for r in releases] == [(1, 0), (2, 0), (3, 2)]


async def test_what_no_grant_covers_any_more_is_not_rolled_back_to_and_the_release_says_so(process):
    grant = Grant(id="g1", app="shop", kind="network-host", granted_by="uid:0", reason="because", granted_at=1.0)
    await process.store.update(Writer.API, lambda tx: tx.put(grant))
    async with process.running():
        await deploy(process, "web:1", b"old", network_mode="host")
        await becomes(process, 1, ReleaseState.STABLE)
        await process.store.update(Writer.API, lambda tx: tx.put(replace(tx.get(Grant, "g1"), revoked_at=2.0)))
        await deploy(process, "web:2", b"new")
        failed = await becomes(process, 2, ReleaseState.FAILED)
    assert "network_mode" in failed.sentence
    assert await process.store.view(lambda tx: _release(tx, 3)) is None


async def test_a_person_goes_back_and_restarts_while_the_platform_watches(process):
    async with process.running():
        await deploy(process, "web:1", b"old", stop_grace_seconds=1.0)
        await becomes(process, 1, ReleaseState.STABLE)
        answer = await call(process.manager.api, "POST", "/v1/apps/shop/restart", {"message": "stuck"})
        assert answer.json["revision"] == 2
        answer = await call(process.manager.api, "POST", "/v1/apps/shop/rollback", {})
        assert answer.json["revision"] == 3
        third = await becomes(process, 3, ReleaseState.STABLE)
        assert (third.copies, third.undoes, third.base) == (1, 0, 1)
        assert (await process.store.view(lambda tx: _release(tx, 2))).state is ReleaseState.SUPERSEDED
