"""What was can be again: an earlier release is repeated whole, or refused with the reason."""

import asyncio

import pytest
from msgspec.structs import replace

from pilothouse.errors import (
    ConflictError,
    ImageMissingError,
    NodeUnavailableError,
    NotFoundError,
    PlanStaleError,
    PolicyDeniedError,
)
from pilothouse.model.objects import App, Config, Grant, Secret, Service
from pilothouse.model.release import FileVersion, ReleaseKind, ReleaseState
from pilothouse.model.release_api import RestartRequest, RollbackRequest
from pilothouse.model.spec import Hook
from pilothouse.model.states import Writer
from pilothouse.server.deploy.pause import pause, resume
from pilothouse.server.deploy.pipeline import take_down
from pilothouse.server.deploy.restart import restart
from pilothouse.server.deploy.rollback import restore, roll_back
from pilothouse.server.sessions.registry import Nodes
from tests.server.harness import SimulatedNode, World, service, shop
from tests.server.releasing import CALLER, deploy, end, fingerprints, records, releases, stored, with_files


def worlds():
    return World(node=SimulatedNode(images=("web:1", "web:2", "web:3", "db:1")))


async def two(world=None):
    """An app at release 2, after a stable release 1."""
    world = world or worlds()
    assert (await deploy(world, shop(service("web", "web:1"), service("db", "db:1")))).status == 200
    await end(world, 1)
    assert (await deploy(world, shop(service("web", "web:2"), service("db", "db:1")))).status == 200
    return world


async def back(world, release=0, **fields):
    return await roll_back(world.context, CALLER, "shop", RollbackRequest(release=release, **fields))


async def test_a_rollback_is_a_new_release_that_repeats_an_earlier_one():
    world = await two()
    await end(world, 2)
    result = await back(world, 1, message="2 is slow")
    assert (result.revision, result.changed, result.unchanged) == (3, ("web",), ("db",))
    first, second, third = await releases(world)
    assert (third.kind, third.copies, third.undoes, third.base) == (ReleaseKind.ROLLBACK, 1, 0, 2)
    assert (third.spec, third.images, third.restarts) == (first.spec, first.images, first.restarts)
    assert (third.message, third.created_by) == ("2 is slow", "uid:7")
    assert second.images["web"].id == "sha256:web:2"
    web = await stored(world, Service, "shop/web")
    assert (web.spec, web.image, web.rolling_back) == (first.spec.services[0], first.images["web"], True)
    assert [c.path for c in third.changes] == ["services.web.image", "services.web.task.container.image"]
    record = (await records(world))[-1]
    assert (record.action, record.summary) == ("app.rollback", "release 3 repeats release 1")
    assert (await deploy(world, shop(service("web", "web:3"), service("db", "db:1")))).status == 200
    assert [(await stored(world, Service, f"shop/{n}")).rolling_back for n in ("web", "db")] == [False, False]


async def test_a_tag_that_means_another_image_now_does_not_matter():
    world = worlds()
    await deploy(world)
    was = await fingerprints(world)
    await end(world, 1)
    world.node.images["web:1"] = "sha256:rebuilt"
    world.node.images["kept"] = "sha256:web:1"
    await deploy(world)
    assert await fingerprints(world) != was
    await back(world)
    assert await fingerprints(world) == was


async def test_contents_of_secrets_and_configs_come_back_and_the_replaced_ones_are_kept():
    world = worlds()
    await deploy(world, with_files(), secrets={"key": b"old"}, configs={"conf": b"a=1"})
    was = await fingerprints(world)
    await end(world, 1)
    await deploy(world, with_files(), secrets={"key": b"new"}, configs={"conf": b"a=2"})
    now = await fingerprints(world)
    await back(world, 1)
    assert await fingerprints(world) == was != now
    secret, config = await stored(world, Secret, "shop/key"), await stored(world, Config, "shop/conf")
    assert world.context.vault.open("shop", "key", secret.content_version, secret.sealed) == b"old"
    assert config.content == b"a=1"
    kept = await world.store.view(lambda tx: tx.find(FileVersion, app="shop"))
    assert len(kept) == 4
    await back(world, 2)
    assert await fingerprints(world) == now


async def test_a_file_that_had_left_the_manifest_comes_back():
    world = worlds()
    await deploy(world, with_files(), secrets={"key": b"old"}, configs={"conf": b"a=1"})
    await end(world, 1)
    was = await fingerprints(world)
    await deploy(world, shop(service("web", "web:2")))

    def reap(tx):
        tx.delete(tx.get(Secret, "shop/key"))
        tx.delete(tx.get(Config, "shop/conf"))

    await world.store.update(Writer.REAPER, reap)
    await back(world, 1)
    assert await fingerprints(world) == was
    assert (await stored(world, Config, "shop/conf")).content == b"a=1"


async def test_a_content_that_is_not_kept_any_more_is_said():
    world = worlds()
    await deploy(world, with_files(), secrets={"key": b"old"}, configs={"conf": b""})
    await deploy(world, with_files(), secrets={"key": b"new"}, configs={"conf": b""})
    await world.store.update(Writer.REAPER, lambda tx: tx.delete(tx.find(FileVersion)[0]))
    with pytest.raises(NotFoundError, match="the content that the secret key had in release 1 of shop is not kept"):
        await back(world, 1)
    assert len(await releases(world)) == 2


async def test_without_a_number_the_newest_stable_release_that_differs_is_meant():
    world = await two()
    await back(world)
    await end(world, 2, ReleaseState.ROLLED_BACK)
    await end(world, 3)
    with pytest.raises(NotFoundError, match="no stable release before release 3 that differs"):
        await back(world)
    await deploy(world, shop(service("web", "web:3"), service("db", "db:1")))
    assert (await back(world)).revision == 5
    assert (await releases(world))[-1].copies == 3


async def test_rolling_back_to_what_is_changes_nothing():
    world = await two()
    before = await world.store.view(lambda tx: tx.revision)
    assert (await back(world, 2)).revision == 2
    assert await world.store.view(lambda tx: tx.revision) == before


async def test_services_come_and_go_with_a_rollback_and_kept_orphans_stay():
    world = worlds()
    await deploy(world, shop(service("web", "web:1"), service("extra", "db:1")))
    await deploy(world, shop(service("web", "web:1")), keep_orphans=True)
    await end(world, 2)
    await deploy(world, shop(service("web", "web:1"), service("db", "db:1")), keep_orphans=True)
    result = await back(world, 2)
    assert result.removed == ("db",)
    assert not (await stored(world, Service, "shop/extra")).removing
    result = await back(world, 3)
    assert result.created == ("db",)


async def test_a_rollback_of_what_does_not_exist_says_so():
    world = worlds()
    with pytest.raises(NotFoundError, match="no app called 'shop'"):
        await back(world)
    await two(world)
    with pytest.raises(NotFoundError, match="shop has no release 9"):
        await back(world, 9)
    with pytest.raises(PlanStaleError):
        await back(world, 1, expect=1)
    await take_down(world.context, CALLER, "shop", volumes=False)
    with pytest.raises(ConflictError, match="is being taken down"):
        await back(world, 1)


async def granted(world):
    """A stable release 1 that needs a grant, and a release 2 that does not."""
    grant = Grant(id="g1", app="shop", kind="network-host", granted_by="uid:0", reason="because", granted_at=1.0)
    await world.store.update(Writer.API, lambda tx: tx.put(grant))
    assert (await deploy(world, shop(service("web", "web:1", network_mode="host")))).status == 200
    await end(world, 1)
    await deploy(world, shop(service("web", "web:2")))


async def revoke(world):
    await world.store.update(Writer.API, lambda tx: tx.put(replace(tx.get(Grant, "g1"), revoked_at=2.0)))


async def test_what_no_grant_covers_any_more_is_not_restored_whoever_asks():
    world = worlds()
    await granted(world)
    await revoke(world)
    for attempt in (back(world, 1), restore(world.context, "shop", 2, 1, "it crashed")):
        with pytest.raises(PolicyDeniedError, match="network_mode"):
            await attempt
    person, platform = (await records(world))[-2:]
    assert [(r.action, r.outcome) for r in (person, platform)] == [("app.rollback", "refused")] * 2
    assert (person.principal, platform.principal) == ("uid:7", "system")
    assert len(await releases(world)) == 2


async def test_a_grant_taken_back_while_images_are_looked_for_does_not_count():
    class Slow(SimulatedNode):
        revoking = False

        async def ensure_image(self, ref, policy, platform=""):
            if self.revoking:
                await revoke(world)
                self.revoking = False
            async for step in super().ensure_image(ref, policy, platform):
                yield step

    world = World(node=Slow(images=("web:1", "web:2")))
    await granted(world)
    world.node.revoking = True
    with pytest.raises(PolicyDeniedError):
        await restore(world.context, "shop", 2, 1, "it crashed")
    assert len(await releases(world)) == 2


async def test_an_image_that_is_gone_is_pulled_by_its_digest_or_refused():
    world = await two()
    del world.node.images["web:1"]
    with pytest.raises(ImageMissingError, match=r"the image that services\.web had in release 1 of shop"):
        await back(world, 1)
    assert len(await releases(world)) == 2

    digest = "web@sha256:d1"
    world = worlds()
    world.node.digests["web:1"] = digest
    await two(world)
    del world.node.images["web:1"]
    world.node.pullable[digest] = "sha256:other"
    with pytest.raises(ImageMissingError, match="another image under that digest"):
        await back(world, 1)
    world.node.pullable[digest] = "sha256:web:1"
    del world.node.images[digest]
    assert (await back(world, 1)).revision == 3


async def test_what_may_not_be_pulled_is_not_pulled_for_a_rollback():
    world = worlds()
    world.node.digests["web:1"] = "web@sha256:d1"
    await deploy(world, shop(service("web", "web:1", pull_policy="never")))
    await deploy(world, shop(service("web", "web:2")))
    del world.node.images["web:1"]
    world.node.pullable["web@sha256:d1"] = "sha256:web:1"
    with pytest.raises(ImageMissingError):
        await back(world, 1)


async def test_the_images_of_steps_come_back_as_they_were_and_are_not_looked_for():
    def spec(tag, image):
        steps, kept = (Hook(command=("x",), image=tag),), (Hook(command=("y",), image="setup", per_replica=True),)
        made = service("web", image)
        return shop(replace(made, task=replace(made.task, pre_start=(*steps, *kept))))

    world = worlds()
    world.node.images |= {"migrate": "sha256:m1", "setup": "sha256:s1"}
    await deploy(world, spec("migrate", "web:1"))
    world.node.images["migrate"] = "sha256:m2"
    await deploy(world, spec("migrate", "web:2"))
    assert (await stored(world, Service, "shop/web")).step_images["migrate"].id == "sha256:m2"
    del world.node.images["migrate"]
    await back(world, 1)
    assert (await stored(world, Service, "shop/web")).step_images["migrate"].id == "sha256:m1"
    del world.node.images["setup"]
    with pytest.raises(ImageMissingError, match="setup"):
        await back(world, 2)


async def test_the_platform_undoes_a_failed_release_once():
    world = await two()
    assert await restore(world.context, "shop", 2, 1, "web.1 exited with code 1") == 3
    made = (await releases(world))[-1]
    assert (made.kind, made.copies, made.undoes, made.base) == (ReleaseKind.ROLLBACK, 1, 2, 1)
    assert (made.created_by, made.message) == ("system", "web.1 exited with code 1")
    record = (await records(world))[-1]
    assert (record.principal, record.action) == ("system", "app.rollback")
    assert record.summary == "release 3 repeats release 1, because web.1 exited with code 1"
    assert await restore(world.context, "shop", 2, 1, "again, after a crash") is None
    assert len(await releases(world)) == 3


async def test_a_release_that_came_meanwhile_is_not_undone():
    world = await two()
    node, hold, asked = world.node, asyncio.Event(), asyncio.Event()
    look = node.ensure_image

    async def slow(ref, policy, platform=""):
        asked.set()
        await hold.wait()
        async for step in look(ref, policy, platform):
            yield step

    node.ensure_image = slow
    async with asyncio.TaskGroup() as group:
        undoing = group.create_task(restore(world.context, "shop", 2, 1, "it crashed"))
        await asked.wait()
        node.ensure_image = look
        await deploy(world, shop(service("web", "web:3"), service("db", "db:1")))
        hold.set()
    assert undoing.result() is None
    assert (await releases(world))[-1].spec.services[0].task.container.image == "web:3"


async def test_a_failed_release_is_undone_by_a_release_even_if_nothing_differs():
    world = await two()
    await deploy(world, shop(service("web", "web:1"), service("db", "db:1")))
    assert await restore(world.context, "shop", 3, 1, "it crashed again") == 4
    assert (await releases(world))[-1].changes == ()


async def test_nothing_is_undone_of_an_app_that_is_gone_or_going():
    world = await two()
    await take_down(world.context, CALLER, "shop", volumes=False)
    assert await restore(world.context, "shop", 2, 1, "it crashed") is None
    assert await restore(world.context, "none", 2, 1, "it crashed") is None


async def test_without_a_node_nobody_knows_whether_the_images_are_there():
    world = await two()
    context = replace(world.context, nodes=Nodes())
    with pytest.raises(NodeUnavailableError):
        await restore(context, "shop", 2, 1, "it crashed")


async def test_a_restart_is_a_release_and_undoing_it_gives_the_old_tasks_their_place_back():
    world = worlds()
    await deploy(world)
    await end(world, 1)
    was = await fingerprints(world)
    result = await restart(world.context, CALLER, "shop", RestartRequest(services=("web",), message="stuck"))
    assert (result.revision, result.changed, result.unchanged) == (2, ("web",), ("db",))
    made = (await releases(world))[-1]
    assert (made.kind, made.restarts, made.message, made.base) == (ReleaseKind.RESTART, {"web": 2}, "stuck", 1)
    assert [(c.path, c.after) for c in made.changes] == [("services.web.restarts_requested", "2")]
    now = await fingerprints(world)
    assert (now["web"] != was["web"], now["db"]) == (True, was["db"])
    assert await restore(world.context, "shop", 2, 1, "it crashed") == 3
    assert await fingerprints(world) == was
    await restart(world.context, CALLER, "shop", RestartRequest())
    assert (await releases(world))[-1].restarts == {"web": 4, "db": 4}
    assert (await fingerprints(world))["web"] not in {was["web"], now["web"]}


async def test_a_count_of_restarts_from_before_there_were_releases_is_overtaken():
    world = worlds()
    await deploy(world)
    behind = {"restarts_requested": 2}
    await world.store.update(Writer.API, lambda tx: tx.put(replace(tx.get(Service, "shop/web"), **behind)))
    was = await fingerprints(world)
    await restart(world.context, CALLER, "shop", RestartRequest(services=("web",)))
    assert (await fingerprints(world))["web"] != was["web"]


async def test_a_service_that_is_kept_although_it_left_the_manifest_can_be_restarted():
    world = worlds()
    await deploy(world)
    await deploy(world, shop(service("web", "web:1")), keep_orphans=True)
    result = await restart(world.context, CALLER, "shop", RestartRequest(services=("db",)))
    assert result.revision == 3
    assert (await stored(world, Service, "shop/db")).restarts_requested == 3


async def test_only_what_is_there_is_restarted():
    world = worlds()
    with pytest.raises(NotFoundError):
        await restart(world.context, CALLER, "shop", RestartRequest())
    await deploy(world)
    with pytest.raises(NotFoundError, match="no service 'nope' in 'shop'"):
        await restart(world.context, CALLER, "shop", RestartRequest(services=("nope",)))
    await deploy(world, shop(service("web", "web:1")))
    with pytest.raises(ConflictError, match="shop/db is being removed"):
        await restart(world.context, CALLER, "shop", RestartRequest(services=("db",)))
    await take_down(world.context, CALLER, "shop", volumes=False)
    with pytest.raises(ConflictError, match="is being taken down"):
        await restart(world.context, CALLER, "shop", RestartRequest())


async def test_a_rollout_is_paused_once_and_resumed():
    world = await two()
    for _ in range(2):
        await pause(world.context, CALLER, "shop")
    app = await stored(world, App, "shop")
    assert (app.paused, app.paused_by, app.revision) == (True, "uid:7", 2)
    world.clock.at += 5
    await resume(world.context, CALLER, "shop")
    app = await stored(world, App, "shop")
    assert (app.paused, app.paused_by, app.resumed_at) == (False, "", world.clock.at)
    assert [r.action for r in (await records(world))[2:]] == ["app.pause", "app.resume"]


async def test_there_is_nothing_to_pause_or_resume_once_a_release_is_over():
    world = await two()
    await end(world, 2)
    with pytest.raises(ConflictError, match="release 2 of shop is stable: nothing is being replaced"):
        await pause(world.context, CALLER, "shop")
    await resume(world.context, CALLER, "shop")
    assert (await stored(world, App, "shop")).resumed_at == 0.0
    await end(world, 2, ReleaseState.ROLLED_BACK)
    with pytest.raises(ConflictError, match="rolled-back, so it cannot go on"):
        await resume(world.context, CALLER, "shop")
    await end(world, 2, ReleaseState.FAILED)
    await resume(world.context, CALLER, "shop")
    assert (await stored(world, App, "shop")).resumed_at == world.clock.at
    with pytest.raises(NotFoundError):
        await resume(world.context, CALLER, "none")
    await take_down(world.context, CALLER, "shop", volumes=False)
    with pytest.raises(ConflictError, match="is being taken down"):
        await pause(world.context, CALLER, "shop")
