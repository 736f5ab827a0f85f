"""A plan over the API: it looks, says what would be refused, and leaves no trace."""

import msgspec
from msgspec.structs import replace

from pilothouse.model.api import DeployRequest
from pilothouse.model.container import FileGrant, Mount, MountKind
from pilothouse.model.objects import AuditRecord
from pilothouse.model.release_api import PlannedAction, PlanView
from pilothouse.model.spec import FileSpec
from tests.server.harness import World, service, shop

PLAN = "/v1/apps/shop/plan"


def body(spec, **fields):
    return msgspec.to_builtins(DeployRequest(spec=spec, **fields))


async def plan(world, spec, **fields):
    answer = await world.call("POST", PLAN, body(spec, **fields))
    assert answer.status == 200, answer
    return msgspec.json.decode(answer.body, type=PlanView)


async def test_a_plan_changes_nothing_and_leaves_no_record():
    world = World()
    before = await world.store.view(lambda tx: tx.revision)
    view = await plan(world, shop())
    assert {s.name: s.action for s in view.services} == {"web": PlannedAction.CREATE, "db": PlannedAction.CREATE}
    assert (view.base, view.release, view.refusals, view.errors) == (0, 1, (), ())
    assert await world.store.view(lambda tx: (tx.revision, tx.find(AuditRecord))) == (before, [])


async def test_a_plan_tells_what_the_deployment_after_it_does():
    world = World()
    await world.call("PUT", "/v1/apps/shop", body(shop()))
    view = await plan(world, shop(service("web", "img")))
    assert {s.name: s.action for s in view.services} == {"web": PlannedAction.REPLACE, "db": PlannedAction.REMOVE}
    done = (await world.call("PUT", "/v1/apps/shop", body(shop(service("web", "img"))))).json
    assert (done["changed"], done["removed"], done["revision"]) == (["web"], ["db"], view.release)
    again = await plan(world, shop(service("web", "img")))
    assert (again.base, again.release) == (view.release, view.release)


async def test_what_policy_refuses_is_part_of_the_plan_with_the_command_that_grants_it():
    world = World()
    mount = Mount(kind=MountKind.BIND, source="/srv/data", target="/data")
    view = await plan(world, shop(service("web", "web:1", mounts=(mount,))))
    (refusal,) = view.refusals
    assert refusal.grant == "host-path"
    assert refusal.command.startswith("pilothouse grant create shop host-path")
    assert [s.action for s in view.services] == [PlannedAction.CREATE], "the rest of the plan is told all the same"
    assert await world.store.view(lambda tx: tx.find(AuditRecord)) == []


async def test_a_manifest_with_faults_is_a_plan_of_nothing_but_its_faults():
    world = World()
    view = await plan(world, shop(service("web", "web:1", replicas=-1)))
    assert view.services == ()
    assert any("services.web" in error and "replicas" in error for error in view.errors)
    view = await plan(world, shop(secrets=(FileSpec(key="key", name="key"),)))
    assert view.errors == ("secrets.key has no content; the request must bring it",)


async def test_an_image_that_is_not_there_is_a_warning_and_is_not_pulled():
    world = World()
    view = await plan(world, shop(service("web", "far:1")))
    assert view.warnings == ("services.web.image: the image far:1 is not on the node and would have to be pulled",)
    assert [s.image for s in view.services] == [""]
    assert {policy for _, policy, _ in world.node.asked} == {"never"}


async def test_an_image_that_is_not_there_and_must_not_be_pulled_is_refused():
    view = await plan(World(), shop(service("web", "far:1", pull_policy="never")))
    assert view.errors == (
        "services.web.image: the image far:1 is not on the node, and `pull_policy: never` does not have it pulled",
    )  # fmt: skip
    assert [s.action for s in view.services] == [PlannedAction.CREATE]


async def test_an_image_that_is_pulled_each_time_may_become_another_one():
    for policy in ("always", "every_24h"):
        (warning,) = (await plan(World(), shop(service("web", "web:1", pull_policy=policy)))).warnings
        assert warning.endswith(f"may mean another one by then, as `pull_policy: {policy}` has it pulled")
    assert (await plan(World(), shop(service("web", "web:1", pull_policy="missing")))).warnings == ()


async def test_the_digest_is_that_of_the_request_and_shows_no_content():
    world, files = World(), (FileSpec(key="key", name="key"),)
    web = service("web", "web:1", secrets=(FileGrant(source="key", target="/run/secrets/key"),))

    async def planned(spec, content, **fields):
        return await plan(world, spec, secrets={"key": content}, **fields)

    async def digest(spec, content, **fields):
        return (await planned(spec, content, **fields)).digest

    spec = shop(web, secrets=files)
    first = await digest(spec, b"hunter2")
    assert first == await digest(spec, b"hunter2", message="again")
    others = [
        await digest(spec, b"hunter3"),
        await digest(spec, b"hunter2", keep_orphans=True),
        await digest(replace(spec, services=(replace(web, replicas=2),)), b"hunter2"),
    ]
    assert len({first, *others}) == 4
    assert b"hunter2" not in msgspec.json.encode(await planned(spec, b"hunter2"))


async def test_the_path_and_the_spec_must_name_the_same_app():
    answer = await World().call("POST", "/v1/apps/other/plan", body(shop()))
    assert (answer.status, answer.json["code"]) == (400, "PH105")
