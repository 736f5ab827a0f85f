"""What tests of releases do to an app again and again: deploy it, end its releases, look at what is stored."""

import json

import msgspec
from msgspec.structs import replace

from pilothouse.control.orchestrators.scenes import Scenes
from pilothouse.governance.identity.principal import Principal
from pilothouse.model.container import FileGrant
from pilothouse.model.objects import AuditRecord, Service
from pilothouse.model.release import Release, ReleaseState
from pilothouse.model.spec import FileSpec
from pilothouse.model.states import Writer
from pilothouse.server.deploy.pipeline import Caller
from tests.server.harness import service, shop

CALLER = Caller(Principal(kind="uid", id="7"), "r1")


async def deploy(world, spec=None, **fields):
    body = json.loads(msgspec.json.encode({"spec": spec or shop(), **fields}))
    return await world.call("PUT", "/v1/apps/shop", body)


async def releases(world):
    return await world.store.view(lambda tx: tx.find(Release, app="shop"))


async def end(world, number, state=ReleaseState.STABLE):
    """What the releaser says of a release."""
    at = f"shop/{number:06d}"
    return await world.store.update(Writer.RELEASER, lambda tx: tx.put(replace(tx.get(Release, at), state=state)))


async def stored(world, kind, id):
    return await world.store.view(lambda tx: tx.get(kind, id))


async def records(world):
    return await world.store.view(lambda tx: tx.find(AuditRecord))


async def fingerprints(world):
    """What the tasks of each service should be made from now."""

    def read(tx):
        scenes = Scenes(tx)
        return {s.name: scenes.fingerprint(s) for s in tx.find(Service, app="shop") if not s.removing}

    return await world.store.view(read)


def with_files(secret="key", config="conf", **fields):
    grants = {"secrets": (FileGrant(source=secret, target="/k"),), "configs": (FileGrant(source=config, target="/c"),)}
    return shop(
        service("web", "web:1", **grants, **fields),
        secrets=(FileSpec(key=secret, name=secret),),
        configs=(FileSpec(key=config, name=config),),
    )
