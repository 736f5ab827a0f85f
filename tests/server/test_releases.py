"""Everything that changes an app is a release: recorded with the change, numbered, with what it replaced kept."""

from msgspec.structs import replace

from pilothouse.model.objects import App, AuditRecord, Config, Secret, Service
from pilothouse.model.release import FileVersion, ReleaseKind, ReleaseState
from pilothouse.model.states import Writer
from tests.server.harness import NOW, SimulatedNode, World, service, shop
from tests.server.releasing import deploy, end, releases, stored, with_files


async def test_a_deployment_writes_its_release_in_the_same_commit():
    world = World()
    assert (await deploy(world, message="first try")).json["revision"] == 1
    (made,) = await releases(world)
    app = await stored(world, App, "shop")
    record = await stored(world, AuditRecord, "000000000001")
    assert made.version == app.version == record.version, "one transaction"
    assert (made.id, made.number, made.kind) == ("shop/000001", 1, ReleaseKind.DEPLOY)
    assert (made.base, made.copies, made.undoes) == (0, 0, 0)
    assert (made.created_by, made.created_at, made.message) == ("uid:1000(alice)", NOW, "first try")
    assert (made.state, made.since) == (ReleaseState.ROLLING, NOW)
    assert made.spec == app.spec
    assert made.images["web"].id == "sha256:web:1"
    assert made.changes == record.changes != ()


async def test_what_changes_nothing_makes_no_release():
    world = World()
    await deploy(world)
    assert (await deploy(world)).json["revision"] == 1
    assert (await deploy(world, dry_run=True)).json["revision"] == 1
    assert len(await releases(world)) == 1


async def test_a_release_goes_back_to_the_newest_stable_one():
    world = World(node=SimulatedNode(images=("web:1", "web:2", "web:3", "web:4", "db:1")))
    for number in (1, 2, 3, 4):
        await deploy(world, shop(service("web", f"web:{number}")))
        if number in {1, 2}:
            await end(world, number)
        if number == 3:
            await end(world, 3, ReleaseState.FAILED)
    assert [each.base for each in await releases(world)] == [0, 1, 2, 2]


async def test_an_app_from_before_there_were_releases_goes_on_with_its_numbers():
    world = World()
    spec = shop(service("web", "web:1"))
    old = App(id="shop", spec=spec, revision=7, deployed_by="uid:0(root)")
    await world.store.update(Writer.API, lambda tx: tx.put(old))
    assert (await deploy(world, expect=7)).json["revision"] == 8
    (made,) = await releases(world)
    assert (made.number, made.base) == (8, 0)


async def test_a_plan_that_has_gone_stale_is_refused_and_changes_nothing():
    world = World(node=SimulatedNode(images=("web:1", "web:2", "db:1")))
    assert (await deploy(world, expect=1)).json["code"] == "PH110"
    assert (await deploy(world, expect=0)).status == 200
    await deploy(world, shop(service("web", "web:2")))
    for dry_run in (False, True):
        refused = await deploy(world, expect=1, dry_run=dry_run)
        assert (refused.status, refused.json["code"]) == (409, "PH110")
        assert "is at release 2 and the plan is of release 1" in refused.json["detail"]
    assert [each.number for each in await releases(world)] == [1, 2]


async def test_a_plan_that_goes_stale_while_images_are_pulled_is_refused():
    class Slow(SimulatedNode):
        overtaken = False

        async def ensure_image(self, ref, policy, platform=""):
            if not self.overtaken:
                self.overtaken = True
                await deploy(world, shop(service("web", "web:2")))
            async for step in super().ensure_image(ref, policy, platform):
                yield step

    world = World(node=Slow(images=("web:1", "web:2", "db:1")))
    assert (await deploy(world, expect=0)).json["code"] == "PH110"
    (made,) = await releases(world)
    assert made.spec.services[0].task.container.image == "web:2"


async def test_a_release_lets_a_paused_app_go_on_and_says_that_it_is_no_rollback():
    world = World(node=SimulatedNode(images=("web:1", "web:2", "db:1")))
    await deploy(world)

    def change(tx):
        tx.put(replace(tx.get(App, "shop"), paused=True, paused_by="uid:0(root)"))
        for each in tx.find(Service, app="shop"):
            tx.put(replace(each, rolling_back=True))

    await world.store.update(Writer.API, change)
    result = (await deploy(world, shop(service("web", "web:2"), service("db", "db:1")))).json
    app = await stored(world, App, "shop")
    assert (app.paused, app.paused_by) == (False, "")
    assert [(await stored(world, Service, f"shop/{name}")).rolling_back for name in ("web", "db")] == [False, False]
    assert (result["changed"], result["unchanged"]) == (["web"], ["db"])


async def test_the_content_that_a_deployment_replaces_is_kept_sealed():
    world = World()
    await deploy(world, with_files(), secrets={"key": b"old"}, configs={"conf": b"a=1"})
    was = await stored(world, Secret, "shop/key"), await stored(world, Config, "shop/conf")
    await deploy(world, with_files(), secrets={"key": b"new"}, configs={"conf": b"a=2"})
    kept = {each.kind: each for each in await world.store.view(lambda tx: tx.find(FileVersion, app="shop"))}
    assert (kept["secret"].content_version, kept["secret"].stored) == (was[0].content_version, was[0].sealed)
    assert (kept["config"].content_version, kept["config"].stored) == (was[1].content_version, b"a=1")
    first, second = await releases(world)
    assert first.secret_versions == {"key": was[0].content_version} != second.secret_versions
    assert first.config_versions == {"conf": was[1].content_version} != second.config_versions


async def test_a_content_that_comes_and_goes_is_kept_once():
    world = World()
    for content in (b"a", b"b", b"a", b"b", b"c"):
        answer = await deploy(world, with_files(), secrets={"key": content}, configs={"conf": b""})
        assert answer.status == 200
    kept = await world.store.view(lambda tx: tx.find(FileVersion, app="shop"))
    assert {world.context.vault.open("shop", "key", v.content_version, v.stored) for v in kept} == {b"a", b"b"}


async def test_the_content_of_a_file_that_leaves_the_manifest_is_kept():
    world = World()
    await deploy(world, with_files(), secrets={"key": b"old"}, configs={"conf": b"a=1"})
    await deploy(world, with_files("other", "more"), secrets={"other": b"new"}, configs={"more": b"a=2"})
    kept = await world.store.view(lambda tx: tx.find(FileVersion, app="shop"))
    assert [(each.kind, each.key) for each in kept] == [("config", "conf"), ("secret", "key")]


async def test_nothing_secret_is_shown_of_a_release_or_a_kept_content():
    world = World()
    spec = replace(with_files(), services=(service("web", "web:1", environment={"PASSWORD": "hunter2"}),))
    await deploy(world, spec, secrets={"key": b"hunter3"}, configs={"conf": b"hunter4"})
    await deploy(world, spec, secrets={"key": b"x"}, configs={"conf": b"y"})
    kept = [f"fileversion/{each.id}" for each in await world.store.view(lambda tx: tx.find(FileVersion, app="shop"))]
    shown = [await world.get(f"/v1/inspect/{name}") for name in ("release/shop/000001", *kept)]
    assert [answer.status for answer in shown] == [200, 200, 200]
    assert not any(b"hunter" in answer.body or "aHVudGVy" in str(answer.body) for answer in shown)
    assert [answer.json["stored"] for answer in shown[1:]] == ["", ""]
