"""The platform's own state can be copied and examined through the API while it runs."""

import msgspec
import pytest

from pilothouse.governance.secrets.seal import load_vault
from pilothouse.model.api import CheckResult
from pilothouse.model.objects import AuditRecord, Service
from pilothouse.model.spec import FileSpec
from pilothouse.store.backup import restore
from pilothouse.store.sqlite import SQLiteStore
from tests.server.harness import World, service, shop
from tests.server.test_api import deployed


@pytest.fixture
async def durable(tmp_path):
    store = await SQLiteStore.open(tmp_path / "data")
    yield World(store=store, keeping=store, data_directory=tmp_path / "data", store_name="sqlite")
    await store.close()


async def test_a_backup_is_the_whole_store_without_the_key_and_leaves_a_record(durable, tmp_path):
    spec = shop(service("web", "web:1"), secrets=(FileSpec(key="key", name="shop_key"),))
    load_vault(tmp_path / "data")
    await deployed(durable, spec, secrets={"key": "aHVudGVyMg=="})
    answer = await durable.call("POST", "/v1/backup")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert b"hunter2" not in answer.body
    assert (tmp_path / "data" / "secrets.key").read_bytes() not in answer.body
    assert not list((tmp_path / "data").glob(".backup-*"))
    copy = tmp_path / "backup.db"
    copy.write_bytes(answer.body)
    restore(copy, tmp_path / "other")
    restored = await SQLiteStore.open(tmp_path / "other")
    try:
        assert [s.name for s in await restored.view(lambda tx: tx.find(Service))] == ["web"]
        actions = [r.action for r in await restored.view(lambda tx: tx.find(AuditRecord))]
        assert actions == ["app.deploy", "store.backup"]
    finally:
        await restored.close()


async def test_a_check_says_whether_the_store_is_whole(durable):
    await deployed(durable)
    answer = await durable.call("POST", "/v1/check")
    assert msgspec.json.decode(answer.body, type=CheckResult).ok
    assert (await durable.get("/v1/info")).json["store"] == "sqlite"


async def test_doctor_looks_at_disk_and_permissions(durable, tmp_path):
    load_vault(tmp_path / "data")
    (tmp_path / "data").chmod(0o755)
    found = {f["subject"]: f["level"] for f in (await durable.get("/v1/doctor")).json["items"]}
    assert found[f"permissions of {tmp_path / 'data'}"] == "error"
    assert found[f"permissions of {tmp_path / 'data' / 'secrets.key'}"] == "ok"
    assert f"disk at {tmp_path / 'data'}" in found
